"""FSD50K (Fonseca et al. 2022): FSD50K.ground_truth/dev.csv with fname, labels and split (train or val, which
is dev here), eval.csv (test), and recordings FSD50K.dev_audio/ID.wav, named by Freesound id.

Captions are those of fsd50k_dev_auto_caption.json and fsd50k_eval_auto_caption.json (DCASE 2024 task 9,
made by a language model from the labels) if present. With captions=labels, or without these files, captions
are the labels that no other label of the clip implies, since the lists contain all ancestors of each label.
Labels are named as in AudioSet ("Accelerating, revving, vroom" for Accelerating_and_revving_and_vroom).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qsep.evaluation.items.published import choose
from qsep.queries.audioset import audioset
from qsep.queries.files.json_files import json_content

from ..listing import Listed, Listing, read_rows
from ..tree import Tree


def read(tree: Tree, captions: str = "auto") -> Listing:
    """See sources. captions: "auto" or "labels"."""
    choose("captions", captions, ("auto", "labels"))
    clips: list[Listed] = []
    for part in ("dev", "eval"):
        names = f"FSD50K.ground_truth/{part}.csv", f"{part}.csv"
        path = tree.need_list(*names) if part == "dev" else tree.find_list(*names)
        if path is None:
            continue
        texts = tree.find_list(f"fsd50k_{part}_auto_caption.json") if captions == "auto" else None
        written = read_captions(texts) if texts else {}
        columns = ("fname", "labels", "mids", "split")[: 4 if part == "dev" else 3]
        rows = [(row, labels_of(row)) for row in read_rows(path, columns)]
        implied = implications(labels for _, labels in rows)
        for row, labels in rows:
            split = {"train": "train", "val": "dev"}.get(row["split"]) if part == "dev" else "test"
            if split is None:
                raise ValueError(f"{path}: split {row['split']!r}; expected train or val")
            caption = written.get(row["fname"]) or caption_of(labels, implied)
            origin = f"freesound:{row['fname']}"
            clips.append(Listed(split, row["fname"], (caption,), origin, labels))
    return Listing(clips)


def read_captions(path: Path) -> dict[str, str]:
    """Captions by file name without extension; ValueError for other JSON."""
    try:
        items = json_content(path)["data"]
        return {Path(item["wav"]).stem: item["caption"].strip() for item in items}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected data with wav and caption each ({error!r})") from error


def labels_of(row: dict[str, str]) -> tuple[str, ...]:
    """The labels of a row, named as in AudioSet where it has them."""
    names = {node.mid: node.name for node in audioset().values()}
    labels, mids = row["labels"].split(","), row["mids"].split(",")
    if len(labels) != len(mids):
        raise ValueError(f"FSD50K lists {row['fname']} with {len(labels)} labels, {len(mids)} mids")
    pairs = zip(labels, mids, strict=True)
    return tuple(names.get(mid, label.replace("_", " ")) for label, mid in pairs)


def implications(clips: Iterable[tuple[str, ...]]) -> dict[str, set[str]]:
    """For each label the labels that all clips with it also have: its ancestors, and itself."""
    implied: dict[str, set[str]] = {}
    for labels in clips:
        for label in labels:
            implied[label] = implied.get(label, set(labels)) & set(labels)
    return implied


def caption_of(labels: tuple[str, ...], implied: dict[str, set[str]]) -> str:
    """The most specific labels, joined by commas."""
    return ", ".join(
        label
        for label in labels
        if not any(label in implied[other] and other not in implied[label] for other in labels)
    )
