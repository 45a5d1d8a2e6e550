"""Lists of captioned recordings on disk: train.json, dev.json and test.json, kept apart, and joined.

Each is AudioSep's JSON, {"data": [{"wav": FILE, "caption": TEXT, …}]}, sorted by file, which is relative to
the list's folder. An item may also have "captions" where there are several, "labels", "duration" in seconds,
and "origin" (listing.py).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsep.separation.storage.temporary import write_atomically

from ..mixtures.segments import read_captions
from .overlaps import read_origins
from .videos import write_report

SPLITS = ("train", "dev", "test")
MIN_CLIPS = 2  # mixtures need two
HELD_OUT_SHARE, MAX_HELD_OUT = 0.01, 1000  # of train, for dev, where a data set has no such part

Fault = tuple[str, str, str]  # file or name, problem, remark
Item = dict[str, Any]
Lists = dict[str, list[Item]]  # by split


@dataclass(frozen=True)
class Written:
    """clips: how many each list has. held_out: how many of dev were taken from train. problems: how many of
    each kind, listed in the file report."""

    clips: dict[str, int]
    held_out: int
    problems: dict[str, int]
    report: Path


def relative(file: Path, folder: Path) -> str:
    """How a list in the folder names a file, given by its resolved path."""
    return Path(os.path.relpath(file, folder.resolve())).as_posix()


def located(folder: Path, wav: str) -> Path:
    """The file that a list in the folder names so."""
    return Path(os.path.normpath(folder.resolve() / wav))


def join(folders: Sequence[Path], out: Path, exclude: Sequence[Path] = ()) -> Written:
    """One set of lists in `out` of those in several folders; none of their recordings is copied.

    What is in a dev or test list of any of them, or named in `exclude`, is in no training list.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("a folder is named twice: its recordings would count twice")
    if out.resolve() in {folder.resolve() for folder in folders}:
        raise ValueError(f"{out}: joining there would replace its lists; name another folder")
    lists: Lists = {split: [] for split in SPLITS}
    for folder in folders:
        for split in SPLITS:
            if split == "train" or (folder / f"{split}.json").is_file():
                lists[split] += moved(folder, split, out)
    return write_lists(out, lists, [], exclusions(exclude), "the folders")


def moved(folder: Path, split: str, out: Path) -> list[Item]:
    """The items of a list in a folder, as one in `out` has to name them."""
    read_captions(folder, split, min_clips=0)  # that it is one, and its files are there
    items: list[Item] = json.loads((folder / f"{split}.json").read_text("utf-8"))["data"]
    return [item | {"wav": relative(located(folder, item["wav"]), out)} for item in items]


def exclusions(paths: Sequence[Path]) -> dict[str, str]:
    """Why not to train on recordings, by origin."""
    return {origin: f"named in {path}" for path in paths for origin in read_origins(path)}


def write_lists(
    out: Path, lists: Lists, faults: list[Fault], reasons: Mapping[str, str], source: str
) -> Written:
    """Write the lists and report.csv, and read what training will read.

    reasons: why not to train on recordings, by origin. ValueError if there is too little to train on.
    """
    out.mkdir(parents=True, exist_ok=True)
    lists, excluded = kept_apart(lists, reasons)
    faults = faults + [(str(located(out, wav)), kind, why) for wav, kind, why in excluded]
    report = out / "report.csv"
    write_report(report, faults)
    held_out: list[Item] = []
    if len(lists["dev"]) < MIN_CLIPS:
        train, held_out = held_out_of(lists["train"])
        lists = lists | {"train": train, "dev": lists["dev"] + held_out}
    if min(len(lists["train"]), len(lists["dev"])) < MIN_CLIPS:
        num_usable = len(lists["train"]) + len(lists["dev"])
        raise ValueError(
            f"{source}: {num_usable} recordings to train on, and training needs "
            f"{2 * MIN_CLIPS} with those for validation; {report} says what is wrong with others"
        )
    for split in SPLITS:
        write_list(out / f"{split}.json", lists[split])
        read_captions(out, split, min_clips=0 if split == "test" else MIN_CLIPS)
    clips = {split: len(lists[split]) for split in SPLITS}
    problems = Counter(kind for _, kind, _ in faults)
    return Written(clips, len(held_out), dict(problems), report)


def kept_apart(lists: Lists, reasons: Mapping[str, str]) -> tuple[Lists, list[Fault]]:
    """The lists without what must not be trained on: test keeps all, dev loses what is in test, train what
    is in either, and both what there are reasons against."""
    kept: Lists = {"test": lists["test"], "dev": [], "train": []}
    faults: list[Fault] = []
    held = dict(reasons)
    for split, before in (("dev", "test"), ("train", "dev")):
        held = {item["origin"]: f"in {before}" for item in kept[before] if "origin" in item} | held
        for item in lists[split]:
            if reason := held.get(item.get("origin", "")):
                faults.append((item["wav"], "excluded", f"{item['origin']} is {reason}"))
            else:
                kept[split].append(item)
    return kept, faults


def held_out_of(train: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """train without a hundredth of its recordings, and these: by a hash of their origins, so that they are
    much the same whatever recordings are missing."""
    ranked = sorted({hashed(item): None for item in train})
    share = int(len(ranked) * HELD_OUT_SHARE)
    held = set(ranked[: min(MAX_HELD_OUT, max(MIN_CLIPS, share))])
    rest = [item for item in train if hashed(item) not in held]
    return rest, [item for item in train if hashed(item) in held]


def hashed(item: Item) -> str:
    known_by: str = item.get("origin") or item["wav"]
    return hashlib.sha256(known_by.encode()).hexdigest()


def write_list(path: Path, items: Sequence[Item]) -> None:
    """An item a line, sorted by file."""
    ordered = sorted(items, key=lambda item: (item["wav"], item["caption"]))
    lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in ordered)
    text = f'{{"data": [\n{lines}\n]}}\n'
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))
