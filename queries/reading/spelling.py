"""Spelling correction, and refusal of texts that are not in Latin script."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property

from ..interface import shortened

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
MIN_LETTERS = 3  # of words that are corrected
ENDINGS = ("s", "es", "ies", "ed", "ing", "er", "ers", "ly", "y")


def check_script(text: str) -> str:
    """The text without emoji; ValueError if it has letters that are not Latin, or no letters."""
    letters = [sign for sign in text if sign.isalpha()]
    foreign = [sign for sign in letters if not is_latin(sign)]
    if foreign:
        script = unicodedata.name(foreign[0], "UNKNOWN").split()[0].capitalize()
        raise ValueError(
            f"{shortened(text)!r}: this model reads English in Latin letters, not {script} "
            f"({foreign[0]}); "
            "ask in English, as 'a dog barking'"
        )
    if not letters:
        raise ValueError(
            f"{shortened(text)!r} has no words; say which sound to separate, as 'a dog barking'"
        )
    readable = [sign for sign in text if sign.isascii() or is_latin(sign) or not is_symbol(sign)]
    return "".join(readable).strip()


def is_latin(sign: str) -> bool:
    """Whether a character is a Latin letter or a modifier letter."""
    return unicodedata.name(sign, "").startswith(("LATIN", "FULLWIDTH LATIN", "MODIFIER LETTER"))


def is_symbol(sign: str) -> bool:
    """Whether a character is an emoji, a joiner, a modifier, or for private use."""
    return unicodedata.category(sign) in ("So", "Sk", "Cf", "Co", "Cn", "Cs", "Mn", "Me")


class Speller:
    """Corrects words that are neither in the book nor in the language.

    texts: the book's phrases. is_word: whether a lower-case word belongs to the language. Candidates are the
    book's words within one edit, or two for long words (optimal string alignment distance: swapping
    neighbours is one edit); the nearest wins, then the most common.
    """

    def __init__(self, texts: Sequence[str], is_word: Callable[[str], bool]) -> None:
        self.texts, self.is_word = texts, is_word

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each word is in the book."""
        return Counter(word for text in self.texts for word in WORD.findall(text.lower()))

    def correct(self, text: str) -> tuple[str, dict[str, str]]:
        """The text with misspelt words replaced, and the replacements {as written: as corrected}."""
        changes: dict[str, str] = {}

        def replaced(match: re.Match[str]) -> str:
            word = match[0]
            better = self.corrected(word.lower())
            if better is None:
                return word
            changes[word] = better
            return better

        return WORD.sub(replaced, text), changes

    def corrected(self, word: str) -> str | None:
        """The correction of a lower-case word, or None if it is known or similar to none."""
        if len(word) < MIN_LETTERS or word in self.counts or "'" in word:
            return None
        if any(self.is_word(stem) or stem in self.counts for stem in stems(without_accents(word))):
            return None
        max_edits = 1 if len(word) <= 6 else 2
        letters, ranked = set(word), []
        for known, count in self.counts.items():
            if abs(len(known) - len(word)) > max_edits or len(known) < MIN_LETTERS:
                continue
            if len(letters ^ set(known)) > 2 * max_edits:  # an edit changes two letters at most
                continue
            edits = edit_distance(word, known)
            if edits <= max_edits:
                ranked.append((edits + 0.5 * (known[0] != word[0]), -count, known))
        return min(ranked)[2] if ranked else None


def edit_distance(first: str, second: str) -> int:
    """Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours."""
    before_last: list[int] = []
    last = list(range(len(second) + 1))
    for row, letter in enumerate(first, start=1):
        now = [row]
        for column, other in enumerate(second, start=1):
            edits = min(last[column], now[column - 1], last[column - 1] - (letter == other)) + 1
            if row > 1 and column > 1:
                swapped = letter == second[column - 2] and other == first[row - 2]
                edits = min(edits, before_last[column - 2] + 1) if swapped else edits
            now.append(edits)
        before_last, last = last, now
    return last[-1]


def stems(word: str) -> list[str]:
    """The word and its possible stems: "splinter" for "splintering", "tumbler" for "tumblers"."""
    candidates = [word]
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= MIN_LETTERS:
            stem = word.removesuffix(ending)
            candidates += [stem, f"{stem}e", f"{stem}y"] + [stem[:-1]] * (stem[-1] == stem[-2])
    return candidates


def without_accents(word: str) -> str:
    """The word with accented letters replaced by plain ones."""
    return "".join(
        sign for sign in unicodedata.normalize("NFD", word) if not unicodedata.combining(sign)
    )
