"""A folder in which somebody has a data set, walked once: its recordings and its publisher's lists."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import one_video

READABLE = {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".w64", ".caf"}
CONVERTIBLE = {".m4a", ".aac", ".wma", ".mka", ".ac3"} | one_video.SUFFIXES  # by ffmpeg
LISTS = {".csv", ".tsv", ".json"}
YOUTUBE_ID = re.compile(r"[\w-]{11}", re.ASCII)
CLIP_TIMES = re.compile(r"(_\d+(\.\d+)?)*")


@dataclass(frozen=True)
class Tree:
    """recordings: by what their endings say; lists: CSV, TSV and JSON files. Both sorted."""

    folder: Path
    recordings: tuple[Path, ...]
    lists: tuple[Path, ...]

    def find_list(self, *names: str) -> Path | None:
        """The list of the first of these names, each a file's with as many folders as are meant.

        None if there is none; ValueError for more than one of the same name.
        """
        for name in names:
            tail = Path(name).parts
            found = [path for path in self.lists if path.parts[-len(tail) :] == tail]
            if len(found) > 1:
                raise ValueError(
                    f"{found[0]} and {found[1]}: two lists of one name; say with --lists "
                    "in which folder the right ones are"
                )
            if found:
                return found[0]
        return None

    def need_list(self, *names: str) -> Path:
        found = self.find_list(*names)
        if found is None:
            raise ValueError(
                f"{self.folder}: no {names[0]} in it; add it as its publisher gives it, or say with "
                "--lists in which folder it is"
            )
        return found


def walk(folder: Path, lists: Path | None = None, leave_out: Sequence[Path] = ()) -> Tree:
    """folder: searched with all its subfolders, links followed, hidden ones left out.

    lists: another folder to take the lists from. leave_out: folders that are not searched.
    """
    for each in (folder, lists or folder):
        if not each.is_dir():
            raise ValueError(f"{each} is not a folder: name the one that your data set is in")
    unwanted = {path.resolve() for path in leave_out}
    files = sorted(files_below(folder.resolve(), unwanted))
    beside = files if lists is None else sorted(files_below(lists.resolve(), unwanted))
    return Tree(
        folder.resolve(),
        tuple(path for path in files if path.suffix.lower() in READABLE | CONVERTIBLE),
        tuple(path for path in beside if path.suffix.lower() in LISTS),
    )


def files_below(folder: Path, unwanted: set[Path]) -> Iterator[Path]:
    for root, subfolders, files in os.walk(folder, followlinks=True):
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and Path(root, name) not in unwanted
        ]
        yield from (Path(root, name) for name in files if not name.startswith("."))


def plain_key(stem: str) -> str:
    """A file's name without its ending, however archives and file systems have changed it."""
    composed = unicodedata.normalize("NFC", stem)
    return re.sub(r'[\\/:*?"<>|]', "_", composed).strip()


def youtube_keys(stem: str) -> list[str]:
    """The YouTube ids that a file of this name may be of: ID, YID, ID_30, YID_30.000_40.000, ID_000030.

    An id may itself begin with Y or hold underscores; which is meant, the publisher's list decides.
    """
    found = []
    for start in (0, 1)[: 1 + stem.startswith("Y")]:
        video_id, rest = stem[start : start + 11], stem[start + 11 :]
        if YOUTUBE_ID.fullmatch(video_id) and CLIP_TIMES.fullmatch(rest):
            found.append(video_id)
    return found


class Finder:
    """Recordings by name, and which of them nobody asked for.

    parts: names of which one stands in some folder's name where the data set has parts; a recording is
    then never taken for one of another part, while those outside all such folders are of any. unwanted:
    parts that are as if they were not there.
    """

    def __init__(self, tree: Tree, parts: Iterable[str], unwanted: Iterable[str] = ()) -> None:
        self.folder, self.parts = tree.folder, sorted({*parts, *unwanted} - {""})
        recordings = [path for path in tree.recordings if self.part_of(path) not in unwanted]
        self.unused = dict.fromkeys(recordings)
        self.plain: dict[str, list[Path]] = {}
        self.youtube: dict[str, list[Path]] = {}
        for path in sorted(recordings, key=lambda path: path.suffix.lower() not in READABLE):
            self.plain.setdefault(plain_key(path.stem), []).append(path)
            for video_id in youtube_keys(path.stem):
                self.youtube.setdefault(video_id, []).append(path)

    def find(self, name: str, part: str, youtube: bool) -> list[Path]:
        """The recordings of this name, the best first: those that can be read as they are, then by path."""
        named = self.youtube.get(name, []) if youtube else self.plain.get(plain_key(name), [])
        found = [path for path in named if self.part_of(path) == part] if part else named
        found = found or [path for path in named if self.part_of(path) == ""]
        for path in found:
            self.unused.pop(path, None)
        return found

    def part_of(self, path: Path) -> str:
        for folder in reversed(path.relative_to(self.folder).parts[:-1]):
            for part in self.parts:
                if part in folder:
                    return part
        return ""
