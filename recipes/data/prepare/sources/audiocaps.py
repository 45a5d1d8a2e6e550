"""AudioCaps (Kim et al. 2019): train.csv, val.csv and test.csv with youtube_id and caption, and recordings
named by YouTube id, often as YID.wav in a folder for each split.

The recordings of val.csv and test.csv have five captions, a row each; val.csv is dev.
"""

from __future__ import annotations

from ..listing import Listed, Listing, read_rows
from ..tree import Tree


def read(tree: Tree) -> Listing:
    """See sources."""
    clips: list[Listed] = []
    for split, name in (("train", "train.csv"), ("dev", "val.csv"), ("test", "test.csv")):
        path = tree.need_list(name) if split == "train" else tree.find_list(name)
        captions: dict[str, list[str]] = {}
        for row in read_rows(path, ("youtube_id", "caption")) if path else ():
            captions.setdefault(row["youtube_id"], []).append(row["caption"].strip())
        clips += [
            Listed(split, video_id, tuple(texts), f"youtube:{video_id}")
            for video_id, texts in captions.items()
        ]
    return Listing(clips)
