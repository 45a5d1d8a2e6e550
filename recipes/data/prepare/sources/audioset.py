"""AudioSet (Gemmeke et al. 2017): balanced_train_segments.csv, unbalanced_train_segments.csv or both (train),
and eval_segments.csv (test); recordings named by YouTube id.

Without such lists of train or test, those of the temporally strong labels are read
(audioset_train_strong.tsv, audioset_eval_strong.tsv, mid_to_display_name.tsv; Hershey et al. 2021). A
caption consists of the names of the clip's labels in the order of the list, joined by commas; the AudioSep
paper, which trains on "text labels", does not say how it combines several.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from qsep.queries.audioset import audioset
from qsep.queries.files.tables import as_table

from ..listing import Listed, Listing, read_rows
from ..tree import Tree

WEAK = {
    "train": ("balanced_train_segments.csv", "unbalanced_train_segments.csv"),
    "test": ("eval_segments.csv",),
}
STRONG = {"train": "audioset_train_strong.tsv", "test": "audioset_eval_strong.tsv"}
NUM_COLUMNS = 4  # YTID, start_seconds, end_seconds, positive_labels


def read(tree: Tree) -> Listing:
    """See sources."""
    clips: list[Listed] = []
    names = {node.mid: node.name for node in audioset().values()}
    if more := tree.find_list("mid_to_display_name.tsv"):
        names = read_display_names(more) | names
    for split in ("train", "test"):
        rows = [row for name in WEAK[split] for row in weak_rows(tree.find_list(name))]
        rows = rows or list(strong_rows(tree.find_list(STRONG[split])))
        clips += [listed(split, video_id, mids, names) for video_id, mids in rows]
    if not any(clip.split == "train" for clip in clips):
        tree.need_list(WEAK["train"][0])
    return Listing(clips)


def listed(split: str, video_id: str, mids: list[str], names: dict[str, str]) -> Listed:
    """The entry of a clip. mids: of its labels. names: by mid. ValueError for a mid without a name."""
    unknown = [mid for mid in mids if mid not in names]
    if unknown:
        raise ValueError(
            f"AudioSet's list gives {video_id} the label {unknown[0]}, which has no name; "
            "mid_to_display_name.tsv, which comes with the strong labels, may have one"
        )
    labels = tuple(names[mid] for mid in mids)
    return Listed(split, video_id, (", ".join(labels),), f"youtube:{video_id}", labels)


def weak_rows(path: Path | None) -> Iterator[tuple[str, list[str]]]:
    """YouTube id and labels of each row, after three lines of comments; a space follows each comma."""
    if path is None:
        return
    with path.open(newline="", encoding="utf-8-sig") as file, as_table(path):
        for row in csv.reader(file, skipinitialspace=True):
            if not row or row[0].startswith("#"):
                continue
            if len(row) != NUM_COLUMNS or not row[3]:
                raise ValueError(
                    f"{path}: expected rows of YouTube id, start, end, quoted labels; "
                    f"got {','.join(row)!r}"
                )
            yield row[0], row[3].split(",")


def strong_rows(path: Path | None) -> Iterator[tuple[str, list[str]]]:
    """YouTube id and labels in the order of their first events; segment ids are ID_MILLISECONDS."""
    if path is None:
        return
    labels: dict[str, dict[str, None]] = {}
    for row in read_rows(path, ("segment_id", "label"), delimiter="\t"):
        labels.setdefault(row["segment_id"].rpartition("_")[0], {})[row["label"]] = None
    yield from ((video_id, list(mids)) for video_id, mids in labels.items())


def read_display_names(path: Path) -> dict[str, str]:
    """Names by mid, from the table of the strong labels, which has no header."""
    with path.open(newline="", encoding="utf-8-sig") as file, as_table(path):
        rows = list(csv.reader(file, delimiter="\t"))
    if not rows or any(len(row) != 2 for row in rows):
        raise ValueError(f"{path}: expected rows of mid and name, separated by a tab")
    return {row[0]: row[1] for row in rows}
