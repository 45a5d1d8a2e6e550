"""ESC-50 (Piczak 2015): meta/esc50.csv and audio/. Its five folds are recordings of different authors.

The setting fold (5) is test, the fold before it dev (of fold 1: fold 5), the other three train. Captions are
the categories ("vacuum cleaner"). File names hold the Freesound id: FOLD-ID-TAKE-CATEGORY.wav.
"""

from __future__ import annotations

from pathlib import Path

from qsep.evaluation.items.published import choose
from qsep.evaluation.protocols.esc50 import FOLDS, read_clips

from ..listing import Listed, Listing
from ..overlaps import origins_of
from ..tree import Tree


def read(tree: Tree, fold: str = "5") -> Listing:
    """See sources. fold: "1" to "5", the test fold."""
    tested = choose("fold", fold, FOLDS)
    splits = {tested: "test", FOLDS[FOLDS.index(tested) - 1]: "dev"}
    clips, _ = read_clips(tree.need_list("meta/esc50.csv", "esc50.csv"), "esc50")
    listed = []
    for clip in clips:
        stem = Path(clip.file).stem
        caption = clip.category.replace("_", " ")
        origin = next(origins_of(stem), f"esc50:{stem}")
        split = splits.get(clip.fold, "train")
        listed.append(Listed(split, stem, (caption,), origin, (clip.category,)))
    return Listing(listed)
