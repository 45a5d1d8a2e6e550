"""A first phrase book, written from labels by templates and meant to be edited."""

from __future__ import annotations

import json
from collections.abc import Sequence

HEADING = """\
# The phrase book of your sounds, written from the labels by templates: please edit.
# name: a short description, shown to users. phrases: queries that mean this sound; the more and the more
# varied the better, dozens are not too many. Frames such as "only …" or "the sound of …" are understood
# without being listed.
# [families.NAME] tables may follow, each with name, members (labels) and phrases, so that one query such as
# "my machines" can mean several sounds.
"""
TEMPLATES = (
    *("{}", "{article} {}", "the {}", "some {}", "{} noise", "{} noises", "{} sound effect"),
    *("my {}", "our {}", "that {}", "a loud {}", "a quiet {}", "a distant {}", "{} recording"),
)


def words_of(label: str) -> str:
    """ "dog_bark" is "dog bark"."""
    return label.replace("_", " ").strip()


def phrases_of(label: str) -> list[str]:
    """Queries that mean the label, by TEMPLATES."""
    words = words_of(label)
    article = "an" if words[0].lower() in "aeiou" else "a"
    return [template.format(words, article=article) for template in TEMPLATES]


def book_text(labels: Sequence[str]) -> str:
    """The phrase book of the labels as TOML."""
    parts = [HEADING]
    for label in labels:
        key = label if label.isascii() else json.dumps(label, ensure_ascii=False)
        parts.append(f"[labels.{key}]\nname = {json.dumps(words_of(label), ensure_ascii=False)}")
        parts.append(f"phrases = {listed(phrases_of(label))}\n")
    return "\n".join(parts)


def listed(phrases: Sequence[str]) -> str:
    """A list in TOML, one phrase per line. JSON strings are valid TOML strings."""
    return "[\n" + "".join(f"  {json.dumps(p, ensure_ascii=False)},\n" for p in phrases) + "]"
