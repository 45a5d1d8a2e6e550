"""The phrases of a data set's captions in one file to read and edit, by the rules or by another program."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from qsep.separation.storage.results import Results

from ..captions.phrases import sound_phrases
from ..captions.stored_phrases import FILE
from ..mixtures.segments import read_captions

LISTS = ("train", "dev")  # the captions that training and validation use


def write_phrases(folder: Path, command: str) -> dict[str, list[str]]:
    """Write folder/phrases.json, by caption; see stored_phrases.py. Returns its content.

    command: see `phrases_by`; empty: the rules of captions/phrases.py. Raises ValueError for a file that is
    there already, since somebody may have edited it.
    """
    if (folder / FILE).exists():
        raise ValueError(f"{folder / FILE} is there already; delete it to make it anew")
    names = [name for name in LISTS if (folder / f"{name}.json").is_file()] or ["train"]
    captions = list(
        dict.fromkeys(
            caption
            for name in names
            for clip in read_captions(folder, name, min_clips=1)
            for caption in clip.captions
        )
    )
    parsed = phrases_by(command, captions) if command else list(map(sound_phrases, captions))
    phrases = dict(zip(captions, parsed, strict=True))
    text = json.dumps(phrases, indent=1, ensure_ascii=False) + "\n"
    Results(folder, "data phrases", shared=True).write_text(FILE, text)
    return phrases


def phrases_by(command: str, captions: Sequence[str]) -> list[list[str]]:
    """The phrases of each caption by a program, such as one that asks a parser or a language model.

    It reads the captions in UTF-8, one a line, and prints a line for each: its phrases, separated by tabs.
    Raises ValueError if it cannot be run, fails, or prints something else.
    """
    lines = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    try:
        done = subprocess.run(
            shlex.split(command), input=lines.encode(), stdout=subprocess.PIPE, check=False
        )
        printed = done.stdout.decode().splitlines()
    except (OSError, ValueError, IndexError) as error:
        raise ValueError(f"--command {command!r}: {error}") from error
    if done.returncode:
        raise ValueError(f"--command {command!r} failed with exit code {done.returncode}")
    parsed = [[phrase.strip() for phrase in line.split("\t") if phrase.strip()] for line in printed]
    if len(parsed) != len(captions):
        raise ValueError(
            f"--command {command!r} printed {len(parsed)} lines for {len(captions)} captions"
        )
    if not all(parsed):
        empty = captions[parsed.index([])]
        raise ValueError(f"--command {command!r} printed no phrase for {empty!r}")
    return parsed
