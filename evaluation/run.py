"""One estimator over one set of items: items.csv as it goes, summary.json from its rows."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from qsep.separation.checkpoint import write_atomically

from .interface import Estimator, Item, ItemSet, TextSeparator
from .oracle import named_estimator
from .sdr import leakage_db, sdr, si_sdr
from .statistics import Statistics, describe_groups, describe_rows

METRICS = ("si_sdr", "si_sdr_i", "sdr", "sdr_i", "leakage_db")
COLUMNS = ("id", "label", "query", *METRICS)
Row = dict[str, Any]  # COLUMNS; a metric is a float in dB, or None where it does not apply


@dataclass(frozen=True)
class RunIdentity:
    """What must be equal for two runs to share a folder."""

    model: str
    model_fingerprint: str
    manifest: str
    manifest_sha256: str
    condition: str
    items_fingerprint: str


@dataclass(frozen=True)
class Summary:
    """overall: per metric; labels: per label, per metric; failed: item id to its error."""

    run: RunIdentity
    num_items: int
    num_scored: int
    num_failed: int
    failed: Mapping[str, str]
    overall: Mapping[str, Statistics]
    labels: Mapping[str, Mapping[str, Statistics]]


@dataclass(frozen=True)
class ModelEstimator:
    """A model of qsep.separation asked in words, as an estimator."""

    model: TextSeparator

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    def __call__(self, item: Item) -> Any:
        result = self.model.separate(item.mixture, item.query, sample_rate=item.sample_rate)
        return result.target


def as_estimator(model: TextSeparator | Estimator | str) -> Estimator:
    """A model is wrapped; "mixture" and "irm" are the oracles; an estimator stays itself."""
    if isinstance(model, str):
        return named_estimator(model)
    return ModelEstimator(model) if isinstance(model, TextSeparator) else model


def evaluate(
    model: TextSeparator | Estimator | str,
    items: ItemSet,
    out_dir: Path,
    overwrite: bool = False,
) -> Summary:
    """Score every item and write out_dir/items.csv and out_dir/summary.json.

    Rows already in items.csv are kept, so an interrupted run continues; items that failed are tried
    again. A folder of another run is refused, unless overwrite, which starts it anew.
    A bad item is listed in `failed` and does not stop the others.
    """
    estimator = as_estimator(model)
    identity = RunIdentity(
        estimator.name,
        estimator.fingerprint,
        items.name,
        items.manifest_sha256,
        items.condition,
        items.fingerprint,
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    rows_path, summary_path = out_dir / "items.csv", out_dir / "summary.json"
    if overwrite:
        rows_path.unlink(missing_ok=True)
        summary_path.unlink(missing_ok=True)
    rows = _resume(rows_path, summary_path, identity)
    # The identity lies there before the first row, or an interrupted run could not be recognised.
    _write(summary_path, summarise(identity, items, rows, {}))
    failed: dict[str, str] = {}
    with rows_path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        for index, item_id in enumerate(items.ids):
            _show_progress(index, len(items.ids), len(failed))
            if item_id in rows:
                continue
            try:
                item = items.render(index)
                row = score(item, estimator(item))
            except Exception as error:  # whatever is wrong with one item, the others go on
                failed[item_id] = f"{type(error).__name__}: {error}"
                continue
            writer.writerow(row)
            file.flush()
            rows[item_id] = row
    _show_progress(len(items.ids), len(items.ids), len(failed))
    summary = summarise(identity, items, rows, failed)
    _write(summary_path, summary)
    return summary


def score(item: Item, estimate: Any) -> Row:
    """estimate: (t,). A target of silence is scored by leakage_db alone, others by SDRs alone.

    Values are rounded to 1e-6 dB, so that a row read back equals the row that was written;
    + 0.0 makes -0.0 plain zero.
    """
    estimate = torch.as_tensor(estimate, device="cpu").detach().double()
    if estimate.shape != item.mixture.shape:
        expected = tuple(item.mixture.shape)
        raise ValueError(f"the estimate has shape {tuple(estimate.shape)}, expected {expected}")
    if not estimate.isfinite().all():
        raise ValueError("the estimate contains NaN or infinity")
    row: Row = {"id": item.id, "label": item.label, "query": item.query}
    row |= dict.fromkeys(METRICS)
    if item.target.any():
        values = {
            "si_sdr": si_sdr(estimate, item.target),
            "si_sdr_i": si_sdr(estimate, item.target) - si_sdr(item.mixture, item.target),
            "sdr": sdr(estimate, item.target),
            "sdr_i": sdr(estimate, item.target) - sdr(item.mixture, item.target),
        }
    else:
        values = {"leakage_db": leakage_db(estimate, item.mixture)}
    if not all(value.isfinite() for value in values.values()):
        raise ValueError("the mixture or its target contains NaN or infinity")
    return row | {metric: round(float(value), 6) + 0.0 for metric, value in values.items()}


def summarise(
    identity: RunIdentity, items: ItemSet, rows: Mapping[str, Row], failed: Mapping[str, str]
) -> Summary:
    """rows: by item id. The order of items, not of scoring, makes the resampling reproducible."""
    ordered = [rows[item_id] for item_id in items.ids if item_id in rows]
    return Summary(
        run=identity,
        num_items=len(items.ids),
        num_scored=len(ordered),
        num_failed=len(failed),
        failed=dict(failed),
        overall=describe_rows(ordered, METRICS),
        labels=describe_groups(ordered, METRICS, "label"),
    )


def _resume(rows_path: Path, summary_path: Path, identity: RunIdentity) -> dict[str, Row]:
    """Rows of this same run, by id; leaves a file of whole rows under the fixed header."""
    remedy = "choose another folder or overwrite it"
    if summary_path.exists():
        try:
            found = json.loads(summary_path.read_text(encoding="utf-8"))["run"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{summary_path} is not a summary of a run; {remedy}") from None
        differing = [key for key, value in asdict(identity).items() if found.get(key) != value]
        if differing:
            raise ValueError(
                f"{summary_path.parent} holds another run "
                f"(different {', '.join(differing).replace('_', ' ')}); {remedy}"
            )
    elif rows_path.exists():
        raise ValueError(f"{rows_path} is there without its summary.json; {remedy}")
    header = ",".join(COLUMNS) + "\n"
    text = rows_path.read_bytes().decode("utf-8", "replace") if rows_path.exists() else header
    whole = text[: text.rfind("\n") + 1] or header  # a killed run may leave half a row
    if not whole.startswith(header):
        raise ValueError(f"{rows_path} has other columns than {', '.join(COLUMNS)}; {remedy}")
    _write_text(rows_path, whole)
    return {row["id"]: row for row in map(_parse, csv.DictReader(io.StringIO(whole, newline="")))}


def _parse(cells: Mapping[str, str]) -> Row:
    numbers = {metric: float(cells[metric]) if cells[metric] else None for metric in METRICS}
    return {**cells, **numbers}


def _write(path: Path, summary: Summary) -> None:
    _write_text(path, json.dumps(asdict(summary), indent=1, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8", newline="\n")

    write_atomically(path, write)


def _show_progress(done: int, total: int, num_failed: int) -> None:
    if sys.stderr.isatty():
        failed = f", {num_failed} failed" if num_failed else ""
        end = "\n" if done == total else ""
        print(f"\r{done}/{total} items{failed}", end=end, file=sys.stderr, flush=True)
