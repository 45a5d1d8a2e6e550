"""VGGSound (Chen et al. 2020): vggsound.csv with YouTube id, start, label, train or test, without a header,
and recordings or videos named by YouTube id, as ID_000030.wav.

The caption is the unchanged label, as in AudioSep's evaluation ("race car, auto racing").
"""

from __future__ import annotations

from ..listing import Listed, Listing
from ..tree import Tree
from ..videos import read_vggsound


def read(tree: Tree) -> Listing:
    """See sources."""
    listed = read_vggsound(tree.need_list("vggsound.csv"))
    return Listing(
        [
            Listed(split, video_id, (label,), f"youtube:{video_id}", (label,))
            for video_id, (label, split) in listed.items()
        ]
    )
