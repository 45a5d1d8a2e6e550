"""own: the user's recordings, in a folder that `qsep data folder` made.

Each recording of the split, at most NUM_ITEMS of a label, is mixed with one of another label at 0 dB SNR,
drawn by a hash of the file names, so that equal folders give equal mixtures. The query is the label's name
in phrases.toml. Held-out wordings come from wordings.toml, if the user has written one: [wordings] with
LABEL = ["…", "…"], and [absent] with phrases = ["…"].
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qsep.queries.files.tables import Rows, as_table

from ..items.corpus import CONDITIONS as CONDITIONS
from ..items.corpus import Corpus, CorpusItems, drawn_number, items_of, load_corpus
from ..items.manifest import Cut, MixtureRow, check_recordings

SECONDS = 5.0
SNR_DB = 0.0
NUM_ITEMS = 20


class Clip(NamedTuple):
    """A recording of the user's folder. file: relative to it."""

    file: str
    label: str


def load(
    data: Path,
    manifest: Path | None = None,
    condition: str = "plain",
    split: str = "dev",
) -> CorpusItems:
    """Items of a split of clips.csv. manifest: a CSV of mixtures to use in place of those drawn.

    Raises ValueError for bad lists, FileNotFoundError for missing files.
    """
    corpus = Corpus("own", (), wording_stride=1, wordings_path=data / "wordings.toml")
    if manifest is not None:
        return load_corpus(corpus, data, manifest, condition)
    clips = read_clips(data / "clips.csv", split)
    rows = draw_rows(clips, names_of(data / "phrases.toml"))
    check_recordings(rows, data)
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()
    return items_of(corpus, f"own {split}", digest, data, rows, condition)


def read_clips(path: Path, split: str) -> list[Clip]:
    """The clips of a split of clips.csv; ValueError for missing columns or fewer than two labels."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `qsep data folder` makes such a folder")
    with path.open(newline="", encoding="utf-8-sig") as file, as_table(path):
        rows = Rows(file)
        missing = {"file", "label", "split"} - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        clips = [Clip(row["file"], row["label"]) for row in rows if row["split"] == split]
    if len({clip.label for clip in clips}) < 2:
        raise ValueError(f"{path}: split {split!r} has recordings of fewer than two labels to mix")
    return clips


def names_of(path: Path) -> dict[str, str]:
    """The name of each label in phrases.toml; empty if there is no such file, ValueError for a bad one."""
    if not path.is_file():
        return {}
    try:
        entries: dict[str, Any] = tomllib.loads(path.read_text("utf-8")).get("labels", {})
        return {label: str(entry["name"]) for label, entry in entries.items()}
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a phrase book: {error}") from None


def draw_rows(clips: Sequence[Clip], names: dict[str, str]) -> tuple[MixtureRow, ...]:
    """A mixture for each clip, at most NUM_ITEMS of a label. names: of labels, for the queries."""
    order = sorted(clips, key=lambda clip: (clip.label, drawn_number(clip.file), clip.file))
    rows, num_items = [], dict.fromkeys((clip.label for clip in order), 0)
    for clip in order:
        if num_items[clip.label] == NUM_ITEMS:
            continue
        others = sorted(label for label in num_items if label != clip.label)
        label = others[drawn_number(f"label {clip.file}") % len(others)]
        partners = [other.file for other in order if other.label == label]
        partner = partners[drawn_number(f"file {clip.file}") % len(partners)]
        query = names.get(clip.label, clip.label.replace("_", " "))
        rows.append(
            MixtureRow(
                *(f"{clip.label}-{num_items[clip.label]}", query, SECONDS, clip.label),
                *((Cut(clip.file, 0.0),), (Cut(partner, 0.0),), (label,), SNR_DB),
            )
        )
        num_items[clip.label] += 1
    return tuple(rows)
