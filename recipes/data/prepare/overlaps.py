"""Recordings that several data sets share, identified by their origins, such as "youtube:ID"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from qsep.evaluation.items.recordings import read_list
from qsep.queries.files.json_files import json_content

from .tree import READABLE, youtube_keys

# Columns that name recordings: AudioCaps, AudioSet, FSD50K, Clotho, ESC-50; AudioSep's and DCASE's lists.
COLUMNS = {"youtube_id", "ytid", "# ytid", "fname", "sound_id", "filename", "file_name"}
COLUMNS |= {"src_wav", "file_id", "wav", "source", "id", "name"}
WAVCAPS_KINDS = {"AudioSet", "FreeSound"}
ORIGIN = re.compile(r"(youtube|freesound|bbc|soundbible|clotho|esc50):.+")
FREESOUND_ID = re.compile(r"\d+|\d-(\d+)-[A-Z]-\d+")  # plain, or in a file name of ESC-50


def read_origins(path: Path) -> set[str]:
    """The origins of the recordings that a list names.

    It may be a prepared folder (its dev.json and test.json), one of these files, a blacklist of WavCaps,
    AudioSep's JSON, a CSV file with a column of YouTube ids, Freesound ids or files named by them, or a text
    file with one of these per line. Raises ValueError for others.
    """
    if path.is_dir():
        lists = [path / name for name in ("dev.json", "test.json") if (path / name).is_file()]
        if not lists:
            raise ValueError(f"{path}: neither dev.json nor test.json in it")
        return set().union(*(read_origins(each) for each in lists))
    names = json_names(path) if path.suffix.lower() == ".json" else table_names(path)
    origins = {origin for name in names for origin in origins_of(name)}
    if not origins:
        raise ValueError(f"{path}: names no recordings by YouTube id or Freesound id")
    return origins


def json_names(path: Path) -> Iterator[str]:
    """Names of recordings in a JSON list; ValueError for other JSON."""
    try:
        content: Any = json_content(path)
        if content.keys() & WAVCAPS_KINDS:
            yield from (name for kind in WAVCAPS_KINDS for name in content.get(kind, ()))
        else:
            yield from (item.get("origin") or item["wav"] for item in content["data"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a list of recordings ({error!r})") from error


def table_names(path: Path) -> Iterable[str]:
    """Names of recordings in a CSV table or a list of lines; ValueError if there is no column for them."""
    header, *rows = read_list(path)[0]
    columns = [column for column, name in enumerate(header) if name.strip().lower() in COLUMNS]
    if columns:
        return [row[column] for row in rows for column in columns if column < len(row)]
    if len(header) == 1 or list(origins_of(header[0])):
        return [row[0] for row in (header, *rows) if not row[0].startswith("#")]
    raise ValueError(f"{path}: no column of {', '.join(sorted(COLUMNS))}")


def origins_of(name: str) -> Iterator[str]:
    """The origins that a name may mean: an origin itself, a recording on Freesound, or a YouTube video.

    The name of a mixture of two VGGSound clips, as ID_000030+++ID_000001, means both.
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
