"""Training lists (caption_lists.py) of a public data set, and a report of recordings that cannot be used.

Recordings stay where they are and the lists point to them, unless they are converted to another sample rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qsep.separation.storage.results import Results

from . import sources
from .caption_lists import SPLITS, Fault, Item, Lists, Written, exclusions, relative, write_lists
from .listing import Listed
from .recordings import Care, check_all
from .tree import Finder, walk

COMMAND = "data captions"  # in the folder's listing
PROBLEMS = {
    "missing": "listed, but the recording does not exist",
    "unlisted": "a recording that is in none of the lists",
    "duplicate": "another file of the same recording",
    "unreadable": "cannot be used for training as it is",
    "excluded": "left out of training",
}


@dataclass(frozen=True)
class Request:
    """What to prepare. settings: of the data set, see sources/. lists: folder of the publisher's lists, if it
    is another one. exclude: lists of recordings not to train on."""

    dataset: str
    folder: Path
    settings: Mapping[str, str]
    lists: Path | None = None
    exclude: Sequence[Path] = ()


def prepare_captions(
    request: Request,
    out: Path,
    care: Care,
    num_jobs: int = 1,
    progress: Callable[[float, float], object] | None = None,
) -> Written:
    """Write the lists into `out`; a repeated run continues an interrupted one.

    num_jobs: recordings checked or converted in parallel. progress: called with (recordings done, in all).
    Raises ValueError for unknown data sets and settings, missing lists, too few recordings, and if `out` is
    not ours (see `Results`).
    """
    sources.check(request.dataset, request.settings)
    results = Results(out, COMMAND, shared=out.resolve() == request.folder.resolve())
    reasons = exclusions(request.exclude)
    tree = walk(request.folder, request.lists, leave_out=tuple(out.glob("audio-*")))
    if not tree.recordings:
        raise ValueError(f"{request.folder}: no recordings in it")
    listing = sources.read(request.dataset, tree, request.settings)
    finder = Finder(tree, {clip.part for clip in listing.clips}, listing.unwanted)
    paths_of, faults = locate(listing.clips, finder)
    faults += [(str(path), "unlisted", "") for path in finder.unused]
    paths = sorted(set(paths_of.values()))
    checked = check_all(tree.folder, paths, results, care, num_jobs, progress)
    lists: Lists = {split: [] for split in SPLITS}
    for clip, path in paths_of.items():
        file, state = checked[path]
        if state.problem:
            faults.append((str(path), "unreadable", state.problem))
        else:
            lists[clip.split].append(item_of(clip, relative(file, out), state.seconds))
    return write_lists(results, lists, faults, reasons | listing.excluded, str(request.folder))


def locate(clips: Sequence[Listed], finder: Finder) -> tuple[dict[Listed, Path], list[Fault]]:
    """The recording of each clip, and the missing and duplicate ones as faults."""
    located: dict[Listed, Path] = {}
    faults: list[Fault] = []
    for clip in clips:
        paths = finder.find(clip.name, clip.part, clip.youtube)
        if paths:
            located[clip] = paths[0]
            faults += [(str(path), "duplicate", str(paths[0])) for path in paths[1:]]
        else:
            faults.append((f"{clip.part}/{clip.name}".lstrip("/"), "missing", clip.split))
    return located, faults


def item_of(clip: Listed, file: str, seconds: float) -> Item:
    """The entry of a list for a clip. file: relative to the list. seconds: duration."""
    item: Item = {"wav": file, "caption": clip.captions[0]}
    if len(clip.captions) > 1:
        item["captions"] = list(clip.captions)
    if clip.labels:
        item["labels"] = list(clip.labels)
    return item | {"duration": seconds, "origin": clip.origin}
