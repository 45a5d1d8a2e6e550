"""Clotho v2.1 (Drossos et al. 2020): clotho_captions_PART.csv with file_name and caption_1 to caption_5, and
recordings in a folder for each part: development (train), validation (dev) and evaluation (test).

clotho_metadata_PART.csv (in Latin-1), if present, has the Freesound ids.
"""

from __future__ import annotations

from pathlib import Path

from ..listing import Listed, Listing, read_rows
from ..tree import Tree, plain_key

PARTS = {"development": "train", "validation": "dev", "evaluation": "test"}
CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


def read(tree: Tree) -> Listing:
    """See sources."""
    clips: list[Listed] = []
    for part, split in PARTS.items():
        name = f"clotho_captions_{part}.csv"
        path = tree.need_list(name) if split == "train" else tree.find_list(name)
        if path is None:
            continue
        origins = read_origins(tree, part)
        for row in read_rows(path, ("file_name", *CAPTIONS)):
            file = row["file_name"].strip()
            stem = file.removesuffix(".wav")
            captions = tuple(row[column].strip() for column in CAPTIONS if row[column].strip())
            origin = origins.get(file, f"clotho:{part}/{plain_key(stem)}")
            clips.append(Listed(split, stem, captions, origin, part=part))
    return Listing(clips)


def read_origins(tree: Tree, part: str) -> dict[str, str]:
    """Origins, "freesound:ID", by file name; empty without metadata."""
    path: Path | None = tree.find_list(f"clotho_metadata_{part}.csv")
    if path is None:
        return {}
    rows = read_rows(path, ("file_name", "sound_id"), encoding="latin-1")
    return {
        row["file_name"].strip(): f"freesound:{row['sound_id'].strip()}"
        for row in rows
        if row["sound_id"].strip().isdigit()
    }
