"""Contents of a corpus: clips, groups and minutes by label, family, source and licence."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qsep.queries.files.tables import Rows, as_table

from .faults import NARROW_SHARE
from .measuring import Facts

BY = ("label", "family", "dataset", "licence")
LEAST_HIGH = 1e-10  # share of the energy that counts as nothing at all
BAR_WIDTH = 240  # pixels, of the longest
STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .15rem .6rem; border-bottom: 1px solid #8883 }
th:first-child, td:first-child { text-align: left }
svg { display: block } rect { fill: #4a78b5 }
"""


@dataclass
class Amount:
    """The amount of data with one label, family, source or licence.

    seconds: total duration. groups: names. splits: number of clips in each. high: of each decoded clip, the
    share of its energy above 8 kHz.
    """

    clips: int = 0
    seconds: float = 0.0
    groups: set[str] = field(default_factory=set)
    splits: dict[str, int] = field(default_factory=dict)
    high: list[float] = field(default_factory=list)

    def add(self, row: Mapping[str, str], facts: Facts | None) -> None:
        """Count one clip. row: of clips.csv. facts: if it was decoded."""
        self.clips += 1
        self.seconds += facts.seconds if facts else float(row.get("seconds") or 0)
        self.groups.add(row.get("group") or row["file"])
        self.splits[row["split"]] = self.splits.get(row["split"], 0) + 1
        if facts:
            self.high.append(facts.high)

    @property
    def narrow(self) -> float | None:
        """Share of the decoded clips with nothing above 8 kHz; None if none was decoded."""
        if not self.high:
            return None
        return sum(share < NARROW_SHARE for share in self.high) / len(self.high)

    @property
    def high_db(self) -> float | None:
        """The median share of the energy above 8 kHz, in dB; None if no clip was decoded."""
        if not self.high:
            return None
        return 10 * math.log10(max(statistics.median(self.high), LEAST_HIGH))


Counts = Mapping[str, Mapping[str, Amount]]


def count(folder: Path, facts: Mapping[Path, Facts | str] | None = None) -> Counts:
    """Amounts by each of BY, then by its values, in falling order of clips.

    facts: of `measure_all`, for actual durations and bandwidths; else those of the list are used.
    Families are read from folder/kinds.csv (columns kind, families), if it exists.
    """
    families = families_of(folder / "kinds.csv")
    counts: dict[str, dict[str, Amount]] = {key: {} for key in BY}
    path = folder / "clips.csv"
    with path.open(newline="", encoding="utf-8-sig") as file, as_table(path):
        for row in Rows(file):
            measured = (facts or {}).get(folder / row["file"])
            known = measured if isinstance(measured, Facts) else None
            values = {key: [row.get(key) or "unknown"] for key in BY}
            values["family"] = families.get(row["label"], [])
            for key, names in values.items():
                for name in names:
                    counts[key].setdefault(name, Amount()).add(row, known)
    return {
        key: dict(sorted(amounts.items(), key=lambda item: (-item[1].clips, item[0])))
        for key, amounts in counts.items()
        if amounts
    }


def families_of(path: Path) -> dict[str, list[str]]:
    """Families by label, of a table with columns kind and families; empty if there is no table."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file, as_table(path):
        rows = Rows(file)
        return {row["kind"]: [name for name in row["families"].split(",") if name] for row in rows}


def table_of(key: str, amounts: Mapping[str, Amount]) -> list[list[str]]:
    """A header and a row for each value of `key`, as text."""
    splits = sorted({split for amount in amounts.values() for split in amount.splits})
    decoded = any(amount.high for amount in amounts.values())
    header = [key, "clips", *splits, "groups", "minutes"]
    header += ["above 8 kHz, dB", "narrow, %"] if decoded else []
    rows = [header]
    for name, amount in amounts.items():
        row = [name, str(amount.clips), *(str(amount.splits.get(split, 0)) for split in splits)]
        row += [str(len(amount.groups)), f"{amount.seconds / 60:.1f}"]
        if decoded:
            high_db, narrow = amount.high_db, amount.narrow
            if high_db is None or narrow is None:
                row += ["", ""]
            else:
                row += [f"{high_db:.0f}", f"{100 * narrow:.0f}"]
        rows.append(row)
    return rows


def text_of(counts: Counts) -> str:
    """Plain-text tables with aligned columns, one for each of BY."""
    parts = []
    for key, amounts in counts.items():
        table = table_of(key, amounts)
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        parts.append("\n".join(aligned(row, widths) for row in table))
    return "\n\n".join(parts)


def aligned(row: Sequence[str], widths: Iterable[int]) -> str:
    """The cells padded to the widths: the first to the right, the others to the left."""
    cells = zip(row, widths, strict=True)
    return "  ".join(
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(cells)
    ).rstrip()


def page_of(name: str, counts: Counts) -> str:
    """An HTML page of the tables, with a bar for each value proportional to its duration."""
    parts = [f"<h1>{html.escape(name)}</h1>"]
    for key, amounts in counts.items():
        header, *rows = table_of(key, amounts)
        longest = max(amount.seconds for amount in amounts.values()) or 1.0
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in [*header, ""])
        body = []
        for row, amount in zip(rows, amounts.values(), strict=True):
            width = BAR_WIDTH * amount.seconds / longest
            bar = f'<svg width="{BAR_WIDTH}" height="12"><rect width="{width:.1f}" height="12"/></svg>'
            cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            body.append(f"<tr>{cells}<td>{bar}</td></tr>")
        parts.append(
            f"<h2>By {key}</h2>\n<table>\n<tr>{head}</tr>\n" + "\n".join(body) + "</table>"
        )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(name)}</title>\n'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )
