"""Phrases of captions from another parser, such as a language model, stored in a file beside the captions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qsep.queries.files.json_files import json_content

from .phrases import sound_phrases

FILE = "phrases.json"
Parser = Callable[[str], list[str]]


def phrase_parser(folder: Path) -> Parser:
    """A function from a caption to its phrases.

    Phrases are those of folder/phrases.json, {"a dog and rain": ["a dog", "rain"]}; captions that it lacks,
    or all if there is no such file, are split by `sound_phrases`. Raises ValueError for a malformed file.
    """
    path = folder / FILE
    if not path.is_file():
        return sound_phrases
    try:
        content = json_content(path)
        stored = {
            caption: [str(phrase) for phrase in phrases] for caption, phrases in content.items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: expected captions with lists of phrases ({error!r})") from error
    if empty := [caption for caption, phrases in stored.items() if not all(phrases) or not phrases]:
        raise ValueError(f"{path}: caption {empty[0]!r} has no phrases, or an empty one")
    return lambda caption: stored.get(caption) or sound_phrases(caption)
