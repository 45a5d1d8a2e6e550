"""Lists of captioned recordings: train.json, dev.json and test.json, without overlaps between them.

Each is JSON in AudioSep's format, {"data": [{"wav": FILE, "caption": TEXT, …}]}, sorted by file; files are
relative to the list's folder. An item may also have "captions" if there are several, "labels", "duration" in
seconds, and "origin" (see listing.py).
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

from qsep.queries.files.json_files import json_content
from qsep.separation.storage.results import Results

from ..mixtures.segments import read_captions
from .overlaps import read_origins
from .videos import write_report

SPLITS = ("train", "dev", "test")
MIN_CLIPS = 2  # needed for a mixture
HELD_OUT_SHARE, MAX_HELD_OUT = 0.01, 1000  # of train, moved to dev if a data set has no such part

Fault = tuple[str, str, str]  # file or name, problem, remark
Item = dict[str, Any]
Lists = dict[str, list[Item]]  # by split


@dataclass(frozen=True)
class Written:
    """clips: number in each list. held_out: number of those in dev that come from train. problems: number of
    each kind, listed in the file `report`."""

    clips: dict[str, int]
    held_out: int
    problems: dict[str, int]
    report: Path


def relative(file: Path, folder: Path) -> str:
    """A resolved path relative to the folder, as lists in the folder name it."""
    return Path(os.path.relpath(file, folder.resolve())).as_posix()


def located(folder: Path, wav: str) -> Path:
    """The path of a file that a list in the folder names."""
    return Path(os.path.normpath(folder.resolve() / wav))


def join(folders: Sequence[Path], out: Path, exclude: Sequence[Path] = ()) -> Written:
    """Join the lists of several folders in `out`, without copying recordings.

    Recordings in a dev or test list of any folder, or named in `exclude`, are left out of train.
    Raises ValueError for repeated folders, malformed lists, too few recordings, and if `out` is not ours (see
    `Results`).
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("a folder is given twice: give each once")
    if out.resolve() in {folder.resolve() for folder in folders}:
        raise ValueError(f"{out}: its lists would be replaced: choose another folder with -o")
    results = Results(out, "data join")
    lists: Lists = {split: [] for split in SPLITS}
    for folder in folders:
        for split in SPLITS:
            if split == "train" or (folder / f"{split}.json").is_file():
                lists[split] += moved(folder, split, out)
    return write_lists(results, lists, [], exclusions(exclude), "the folders")


def moved(folder: Path, split: str, out: Path) -> list[Item]:
    """The items of a list in `folder`, with paths relative to `out`."""
    read_captions(folder, split, min_clips=0)  # checks the list and its files
    items: list[Item] = json_content(folder / f"{split}.json")["data"]
    return [item | {"wav": relative(located(folder, item["wav"]), out)} for item in items]


def exclusions(paths: Sequence[Path]) -> dict[str, str]:
    """By origin, the reason not to train on a recording that one of the lists names."""
    return {origin: f"named in {path}" for path in paths for origin in read_origins(path)}


def write_lists(
    results: Results, lists: Lists, faults: list[Fault], reasons: Mapping[str, str], source: str
) -> Written:
    """Write the lists and report.csv, and check that training can read them.

    reasons: not to train on a recording, by origin. source: for messages. Raises ValueError if there are too
    few recordings to train on.
    """
    out = results.folder
    lists, excluded = without_overlaps(lists, reasons)
    faults = faults + [(str(located(out, wav)), kind, why) for wav, kind, why in excluded]
    report = write_report(results, faults)
    held_out: list[Item] = []
    if len(lists["dev"]) < MIN_CLIPS:
        train, held_out = held_out_of(lists["train"])
        lists = lists | {"train": train, "dev": lists["dev"] + held_out}
    if min(len(lists["train"]), len(lists["dev"])) < MIN_CLIPS:
        num_usable = len(lists["train"]) + len(lists["dev"])
        raise ValueError(
            f"{source}: {num_usable} usable recordings, but training and validation need "
            f"{2 * MIN_CLIPS}; {report} says why others cannot be used"
        )
    for split in SPLITS:
        results.write_text(f"{split}.json", list_text(lists[split]))
        read_captions(out, split, min_clips=0 if split == "test" else MIN_CLIPS)
    clips = {split: len(lists[split]) for split in SPLITS}
    problems = Counter(kind for _, kind, _ in faults)
    return Written(clips, len(held_out), dict(problems), report)


def without_overlaps(lists: Lists, reasons: Mapping[str, str]) -> tuple[Lists, list[Fault]]:
    """The lists without overlaps, and the excluded items: test keeps all its items, dev loses those in test,
    train those in either; dev and train lose those that there are reasons against."""
    remaining: Lists = {"test": lists["test"], "dev": [], "train": []}
    faults: list[Fault] = []
    excluded = dict(reasons)
    for split, before in (("dev", "test"), ("train", "dev")):
        others = {item["origin"]: f"in {before}" for item in remaining[before] if "origin" in item}
        excluded = others | excluded
        for item in lists[split]:
            if reason := excluded.get(item.get("origin", "")):
                faults.append((item["wav"], "excluded", f"{item['origin']} is {reason}"))
            else:
                remaining[split].append(item)
    return remaining, faults


def held_out_of(train: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Split HELD_OUT_SHARE of the recordings off: (the rest, the held-out ones).

    They are chosen by a hash of their origins, so that the choice hardly depends on which are missing.
    """
    ranked = sorted({hashed(item): None for item in train})
    share = int(len(ranked) * HELD_OUT_SHARE)
    held = set(ranked[: min(MAX_HELD_OUT, max(MIN_CLIPS, share))])
    rest = [item for item in train if hashed(item) not in held]
    return rest, [item for item in train if hashed(item) in held]


def hashed(item: Item) -> str:
    """A hash of the recording's origin or, without one, its file name."""
    name: str = item.get("origin") or item["wav"]
    return hashlib.sha256(name.encode()).hexdigest()


def list_text(items: Sequence[Item]) -> str:
    """The content of a list, with one item per line, sorted by file."""
    ordered = sorted(items, key=lambda item: (item["wav"], item["caption"]))
    lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in ordered)
    return f'{{"data": [\n{lines}\n]}}\n'
