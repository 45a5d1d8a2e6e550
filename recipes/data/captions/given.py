"""Phrases of captions that a better parser found, in place of the rules': a file beside the captions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .phrases import sound_phrases

FILE = "phrases.json"
Parser = Callable[[str], list[str]]


def phrase_parser(folder: Path) -> Parser:
    """From a caption to its phrases, as folder/phrases.json has them, {"a dog and rain": ["a dog", "rain"]};
    captions that are not in it, or all where there is no such file, by the rules. ValueError for any other.
    """
    path = folder / FILE
    if not path.is_file():
        return sound_phrases
    try:
        content = json.loads(path.read_text("utf-8"))
        given = {caption: [str(phrase) for phrase in found] for caption, found in content.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: expected captions with lists of phrases ({error!r})") from error
    if empty := [caption for caption, found in given.items() if not all(found) or not found]:
        raise ValueError(f"{path}: caption {empty[0]!r} has no phrases, or an empty one")
    return lambda caption: given.get(caption) or sound_phrases(caption)
