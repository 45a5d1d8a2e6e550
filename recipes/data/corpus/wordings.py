"""A phrase book of labels alone: each in a few forms, in a file to be edited."""

from __future__ import annotations

import json
from collections.abc import Sequence

HEADING = """\
# How people ask for your sounds. Written from the labels by templates: please edit.
# name: a short description, as answers give it. phrases: whatever somebody may type, the more and the
# more different the better; dozens are not too many. Frames such as "only …" or "the sound of …" are
# understood without being listed here.
# [families.NAME] tables may follow, each with name, members (labels) and phrases: "my machines" can then
# mean several sounds at once.
"""
TEMPLATES = (
    *("{}", "{article} {}", "the {}", "some {}", "{} noise", "{} noises", "{} sound effect"),
    *("my {}", "our {}", "that {}", "a loud {}", "a quiet {}", "a distant {}", "{} recording"),
)


def words_of(label: str) -> str:
    """ "dog_bark" is "dog bark"."""
    return label.replace("_", " ").strip()


def phrases_of(label: str) -> list[str]:
    words = words_of(label)
    article = "an" if words[0].lower() in "aeiou" else "a"
    return [template.format(words, article=article) for template in TEMPLATES]


def book_text(labels: Sequence[str]) -> str:
    """A phrase book as TOML."""
    parts = [HEADING]
    for label in labels:
        key = label if label.isascii() else json.dumps(label, ensure_ascii=False)
        parts.append(f"[labels.{key}]\nname = {json.dumps(words_of(label), ensure_ascii=False)}")
        parts.append(f"phrases = {listed(phrases_of(label))}\n")
    return "\n".join(parts)


def listed(phrases: Sequence[str]) -> str:
    """A list in TOML, one phrase a line. JSON's strings are TOML's."""
    return "[\n" + "".join(f"  {json.dumps(p, ensure_ascii=False)},\n" for p in phrases) + "]"
