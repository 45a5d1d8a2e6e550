"""A folder with a data set, walked once: its recordings and the publisher's lists."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..walk import visible_files
from . import one_video

READABLE = {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".w64", ".caf"}
CONVERTIBLE = {".m4a", ".aac", ".wma", ".mka", ".ac3"} | one_video.SUFFIXES  # by ffmpeg
LISTS = {".csv", ".tsv", ".json"}
YOUTUBE_ID = re.compile(r"[\w-]{11}", re.ASCII)
CLIP_TIMES = re.compile(r"(_\d+(\.\d+)?)*")


@dataclass(frozen=True)
class Tree:
    """The files of a data set. recordings: audio and video, by extension. lists: CSV, TSV and JSON files.
    Both are sorted."""

    folder: Path
    recordings: tuple[Path, ...]
    lists: tuple[Path, ...]

    def find_list(self, *names: str) -> Path | None:
        """The list with the first of these names that exists; a name may include parent folders.

        None if there is none; ValueError for several of the same name.
        """
        for name in names:
            tail = Path(name).parts
            paths = [path for path in self.lists if path.parts[-len(tail) :] == tail]
            if len(paths) > 1:
                raise ValueError(
                    f"{paths[0]} and {paths[1]}: two lists of one name; give the folder of the "
                    "right ones with --lists"
                )
            if paths:
                return paths[0]
        return None

    def need_list(self, *names: str) -> Path:
        """As `find_list`; ValueError if there is none."""
        path = self.find_list(*names)
        if path is None:
            raise ValueError(
                f"{self.folder}: no {names[0]} in it; add the file as published, or give its folder "
                "with --lists"
            )
        return path


def walk(folder: Path, lists: Path | None = None, leave_out: Sequence[Path] = ()) -> Tree:
    """The files of a data set in a folder and its subfolders; links are followed, hidden files skipped.

    lists: another folder to search for lists. leave_out: folders that are not searched.
    Raises ValueError for folders that do not exist.
    """
    for each in (folder, lists or folder):
        if not each.is_dir():
            raise ValueError(f"{each} is not a folder: give the folder of your data set")
    unwanted = {path.resolve() for path in leave_out}
    files = sorted(files_below(folder.resolve(), unwanted))
    beside = files if lists is None else sorted(files_below(lists.resolve(), unwanted))
    return Tree(
        folder.resolve(),
        tuple(path for path in files if path.suffix.lower() in READABLE | CONVERTIBLE),
        tuple(path for path in beside if path.suffix.lower() in LISTS),
    )


def files_below(folder: Path, unwanted: set[Path]) -> Iterator[Path]:
    """All files below a folder that are not hidden. unwanted: resolved folders to skip."""
    return visible_files(folder, enters=lambda subfolder: subfolder not in unwanted)


def plain_key(stem: str) -> str:
    """A file name without extension, normalised for changes made by archives and file systems."""
    composed = unicodedata.normalize("NFC", stem)
    return re.sub(r'[\\/:*?"<>|]', "_", composed).strip()


def youtube_keys(stem: str) -> list[str]:
    """The YouTube ids that a file name may contain: ID, YID, ID_30, YID_30.000_40.000, ID_000030.

    An id may itself begin with Y or contain underscores, so that there may be two; the publisher's list
    decides.
    """
    ids = []
    for start in (0, 1)[: 1 + stem.startswith("Y")]:
        video_id, rest = stem[start : start + 11], stem[start + 11 :]
        if YOUTUBE_ID.fullmatch(video_id) and CLIP_TIMES.fullmatch(rest):
            ids.append(video_id)
    return ids


class Finder:
    """Finds recordings by name, and keeps track of those that no name matched.

    parts: parts of the data set; a recording belongs to the part whose name occurs in that of one of its
    folders, or to any part if none does. unwanted: parts to ignore.
    unused: recordings that have not been returned.
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
        """The recordings of this name, those that need no conversion first. youtube: whether it is an id."""
        named = self.youtube.get(name, []) if youtube else self.plain.get(plain_key(name), [])
        matches = [path for path in named if self.part_of(path) == part] if part else named
        matches = matches or [path for path in named if self.part_of(path) == ""]
        for path in matches:
            self.unused.pop(path, None)
        return matches

    def part_of(self, path: Path) -> str:
        """The part of the data set that a recording belongs to; "" if its folders do not say."""
        for folder in reversed(path.relative_to(self.folder).parts[:-1]):
            for part in self.parts:
                if part in folder:
                    return part
        return ""
