"""Which recordings must not be trained on: lists of many forms, to origins that data sets share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from qsep.evaluation.items.recordings import read_list

from .tree import READABLE, youtube_keys

# Columns that name recordings: AudioCaps, AudioSet, FSD50K, Clotho, ESC-50; AudioSep's and DCASE's lists.
COLUMNS = {"youtube_id", "ytid", "# ytid", "fname", "sound_id", "filename", "file_name"}
COLUMNS |= {"src_wav", "file_id", "wav", "source", "id", "name"}
WAVCAPS_KINDS = {"AudioSet", "FreeSound"}
ORIGIN = re.compile(r"(youtube|freesound|bbc|soundbible|clotho|esc50):.+")
FREESOUND_ID = re.compile(r"\d+|\d-(\d+)-[A-Z]-\d+")  # alone, or as ESC-50's files hold it


def read_origins(path: Path) -> set[str]:
    """The origins of the recordings that a list names, in one of these forms.

    A prepared folder: its dev.json and test.json; one of these; WavCaps' blacklists; AudioSep's JSON; a CSV
    file with a column of YouTube ids, Freesound ids or files named by them; lines of these. ValueError for
    others.
    """
    if path.is_dir():
        lists = [path / name for name in ("dev.json", "test.json") if (path / name).is_file()]
        if not lists:
            raise ValueError(f"{path}: neither dev.json nor test.json in it")
        return set().union(*(read_origins(each) for each in lists))
    names = json_names(path) if path.suffix.lower() == ".json" else table_names(path)
    found = {origin for name in names for origin in origins_of(name)}
    if not found:
        raise ValueError(f"{path}: names no recordings by YouTube id or Freesound id")
    return found


def json_names(path: Path) -> Iterator[str]:
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        if content.keys() & WAVCAPS_KINDS:
            yield from (name for kind in WAVCAPS_KINDS for name in content.get(kind, ()))
        else:
            yield from (item.get("origin") or item["wav"] for item in content["data"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a list of recordings ({error!r})") from error


def table_names(path: Path) -> Iterable[str]:
    header, *rows = read_list(path)[0]
    columns = [place for place, name in enumerate(header) if name.strip().lower() in COLUMNS]
    if columns:
        return [row[place] for row in rows for place in columns if place < len(row)]
    if len(header) == 1 or list(origins_of(header[0])):
        return [row[0] for row in (header, *rows) if not row[0].startswith("#")]
    raise ValueError(f"{path}: no column of {', '.join(sorted(COLUMNS))}")


def origins_of(name: str) -> Iterator[str]:
    """What a cell may mean: an origin as it is, a recording on Freesound, a YouTube video.

    Mixtures that VGGSound's evaluation names by both their sources (ID_000030+++ID_000001) mean both.
    """
    if ORIGIN.fullmatch(name):
        yield name
        return
    for single in name.split("+++"):
        file = PurePosixPath(single.strip())
        stem = file.stem if file.suffix.lower() in READABLE else file.name
        if freesound := FREESOUND_ID.fullmatch(stem):
            yield f"freesound:{freesound[1] or stem}"
            continue
        yield from (f"youtube:{video_id}" for video_id in youtube_keys(stem))
