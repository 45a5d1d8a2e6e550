"""From a folder with a public data set to lists to train on (caption_lists.py), and a report of what lacks.

The recordings stay where they are, and the lists lead there, unless another sample rate is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import sources
from .caption_lists import SPLITS, Fault, Item, Lists, Written, exclusions, relative, write_lists
from .listing import Listed
from .recordings import Care, check_all
from .tree import Finder, walk

PROBLEMS = {
    "missing": "listed, but there is no such recording",
    "unlisted": "a recording that the lists do not name",
    "duplicate": "another file of the same recording",
    "unreadable": "cannot be trained on as it is",
    "excluded": "kept out of training",
}


@dataclass(frozen=True)
class Request:
    """What is to be prepared, and from where. settings: the data set's own, as sources/ says. lists: the
    folder of the publisher's lists, if another. exclude: lists of recordings not to train on."""

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
    """Fill `out`; running it again does what is left. ValueError if there is too little to train on."""
    sources.check(request.dataset, request.settings)
    reasons = exclusions(request.exclude)
    tree = walk(request.folder, request.lists, leave_out=tuple(out.glob("audio-*")))
    if not tree.recordings:
        raise ValueError(f"{request.folder}: no recordings in it")
    listing = sources.read(request.dataset, tree, request.settings)
    finder = Finder(tree, {clip.part for clip in listing.clips}, listing.unwanted)
    found, faults = locate(listing.clips, finder)
    faults += [(str(path), "unlisted", "") for path in finder.unused]
    out.mkdir(parents=True, exist_ok=True)
    paths = sorted(set(found.values()))
    checked = check_all(tree.folder, paths, out, care, num_jobs, progress)
    lists: Lists = {split: [] for split in SPLITS}
    for clip, path in found.items():
        file, state = checked[path]
        if state.problem:
            faults.append((str(path), "unreadable", state.problem))
        else:
            lists[clip.split].append(item_of(clip, relative(file, out), state.seconds))
    return write_lists(out, lists, faults, reasons | listing.excluded, str(request.folder))


def locate(clips: Sequence[Listed], finder: Finder) -> tuple[dict[Listed, Path], list[Fault]]:
    found: dict[Listed, Path] = {}
    faults: list[Fault] = []
    for clip in clips:
        paths = finder.find(clip.name, clip.part, clip.youtube)
        if paths:
            found[clip] = paths[0]
            faults += [(str(path), "duplicate", str(paths[0])) for path in paths[1:]]
        else:
            faults.append((f"{clip.part}/{clip.name}".lstrip("/"), "missing", clip.split))
    return found, faults


def item_of(clip: Listed, file: str, seconds: float) -> Item:
    item: Item = {"wav": file, "caption": clip.captions[0]}
    if len(clip.captions) > 1:
        item["captions"] = list(clip.captions)
    if clip.labels:
        item["labels"] = list(clip.labels)
    return item | {"duration": seconds, "origin": clip.origin}
