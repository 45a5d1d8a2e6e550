"""own: one's own recordings, in a folder that `qsep data folder` made.

Every recording of the split (NUM_ITEMS at most of a label) is asked for in a mixture with one of another
label, at 0 dB. Partners are drawn by a hash of the names, so that equal folders give equal mixtures. The
query is the label's name in phrases.toml; held-out wordings are those of wordings.toml, where somebody has
written one: [wordings] LABEL = ["…", "…"], and [absent] phrases = ["…"].
"""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..items.corpus import CONDITIONS as CONDITIONS
from ..items.corpus import Corpus, CorpusItems, drawn_number, items_of, load_corpus
from ..items.manifest import Cut, MixtureRow, check_recordings

SECONDS = 5.0
SNR_DB = 0.0
NUM_ITEMS = 20


class Clip(NamedTuple):
    """A recording of the user's folder: file relative to it, label."""

    file: str
    label: str


def load(
    data: Path,
    manifest: Path | None = None,
    condition: str = "plain",
    split: str = "dev",
) -> CorpusItems:
    """manifest: a CSV of mixtures in place of those drawn; split: of clips.csv."""
    corpus = Corpus("own", (), wording_stride=1, wordings_path=data / "wordings.toml")
    if manifest is not None:
        return load_corpus(corpus, data, manifest, condition)
    clips = read_clips(data / "clips.csv", split)
    rows = draw_rows(clips, names_of(data / "phrases.toml"))
    check_recordings(rows, data)
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()
    return items_of(corpus, f"own {split}", digest, data, rows, condition)


def read_clips(path: Path, split: str) -> list[Clip]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `qsep data folder` makes such a folder")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        lacking = {"file", "label", "split"} - set(rows.fieldnames or ())
        if lacking:
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(lacking))}")
        clips = [Clip(row["file"], row["label"]) for row in rows if row["split"] == split]
    if len({clip.label for clip in clips}) < 2:
        raise ValueError(f"{path}: split {split!r} has recordings of fewer than two labels to mix")
    return clips


def names_of(path: Path) -> dict[str, str]:
    """The name of each label; none where there is no such file."""
    if not path.is_file():
        return {}
    try:
        entries: dict[str, Any] = tomllib.loads(path.read_text("utf-8")).get("labels", {})
        return {label: str(entry["name"]) for label, entry in entries.items()}
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a phrase book: {error}") from None


def draw_rows(clips: Sequence[Clip], names: dict[str, str]) -> tuple[MixtureRow, ...]:
    order = sorted(clips, key=lambda clip: (clip.label, drawn_number(clip.file), clip.file))
    rows, taken = [], dict.fromkeys((clip.label for clip in order), 0)
    for clip in order:
        if taken[clip.label] == NUM_ITEMS:
            continue
        others = sorted(label for label in taken if label != clip.label)
        label = others[drawn_number(f"label {clip.file}") % len(others)]
        partners = [other.file for other in order if other.label == label]
        partner = partners[drawn_number(f"file {clip.file}") % len(partners)]
        query = names.get(clip.label, clip.label.replace("_", " "))
        rows.append(
            MixtureRow(
                *(f"{clip.label}-{taken[clip.label]}", query, SECONDS, clip.label),
                *((Cut(clip.file, 0.0),), (Cut(partner, 0.0),), (label,), SNR_DB),
            )
        )
        taken[clip.label] += 1
    return tuple(rows)
