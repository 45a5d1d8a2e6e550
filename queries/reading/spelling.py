"""Misspelt words as the words that were meant, and texts that no reader of Latin script can read."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
FEWEST_LETTERS = 3  # of a word that is corrected
ENDINGS = ("s", "es", "ies", "ed", "ing", "er", "ers", "ly", "y")


def check_script(text: str) -> str:
    """The text without emoji; ValueError where it has letters that are not Latin, or none at all."""
    letters = [sign for sign in text if sign.isalpha()]
    foreign = [sign for sign in letters if not is_latin(sign)]
    if foreign:
        script = unicodedata.name(foreign[0], "UNKNOWN").split()[0].capitalize()
        raise ValueError(
            f"{text!r}: this model reads English in Latin letters, not {script} ({foreign[0]}); "
            "ask in English, as 'a dog barking'"
        )
    if not letters:
        raise ValueError(f"{text!r} has no words; say which sound to separate, as 'a dog barking'")
    kept = [sign for sign in text if sign.isascii() or is_latin(sign) or not is_symbol(sign)]
    return "".join(kept).strip()


def is_latin(sign: str) -> bool:
    return unicodedata.name(sign, "").startswith(("LATIN", "FULLWIDTH LATIN", "MODIFIER LETTER"))


def is_symbol(sign: str) -> bool:
    """Emoji and what joins them, modifiers and private signs."""
    return unicodedata.category(sign) in ("So", "Sk", "Cf", "Co", "Cn", "Cs", "Mn", "Me")


class Speller:
    """Corrects words that are unknown to the book and to the language.

    texts: whatever the book holds; is_word: whether a lower-case word is one of the language. Candidates
    are the book's words within a number of edits that grows with the length (optimal string alignment:
    a swap of neighbours counts one); of the nearest, the most common.
    """

    def __init__(self, texts: Iterable[str], is_word: Callable[[str], bool]) -> None:
        self.counts = Counter(word for text in texts for word in WORD.findall(text.lower()))
        self.is_word = is_word

    def correct(self, text: str) -> tuple[str, dict[str, str]]:
        """The text with its misspelt words replaced, and these: {as written: as read}."""
        changes: dict[str, str] = {}

        def replaced(found: re.Match[str]) -> str:
            word = found[0]
            better = self.corrected(word.lower())
            if better is None:
                return word
            changes[word] = better
            return better

        return WORD.sub(replaced, text), changes

    def corrected(self, word: str) -> str | None:
        """The word that was meant, or None where the word is known or like no other."""
        if len(word) < FEWEST_LETTERS or word in self.counts or "'" in word:
            return None
        if any(self.is_word(stem) or stem in self.counts for stem in stems(without_accents(word))):
            return None
        from rapidfuzz.distance import OSA

        most = 1 if len(word) <= 6 else 2
        ranked = []
        for known, count in self.counts.items():
            if abs(len(known) - len(word)) > most or len(known) < FEWEST_LETTERS:
                continue
            edits = OSA.distance(word, known, score_cutoff=most)
            if edits <= most:
                ranked.append((edits + 0.5 * (known[0] != word[0]), -count, known))
        return min(ranked)[2] if ranked else None


def stems(word: str) -> list[str]:
    """The word and what it may be made of: "splinter" of "splintering", "tumbler" of "tumblers"."""
    found = [word]
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= FEWEST_LETTERS:
            stem = word.removesuffix(ending)
            found += [stem, f"{stem}e", f"{stem}y"] + [stem[:-1]] * (stem[-1] == stem[-2])
    return found


def without_accents(word: str) -> str:
    return "".join(
        sign for sign in unicodedata.normalize("NFD", word) if not unicodedata.combining(sign)
    )
