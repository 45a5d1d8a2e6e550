"""Parsing a text query into an expression, by these rules in order:

1. A text that is a phrase of the book stands for that phrase ("bow and arrow", "country guitar, no amp").
2. "remove …", "no …", "not …", "without …", "everything but …": the complement.
3. Carrier phrases are removed: "please isolate …", "the sound of …", "… in the background".
4. "… without …", "… but not …", "… except …": the difference.
5. "…, … and …", "… or …": the union, as one target.
6. What remains names a sound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .expression import Atom, Complement, Difference, Everything, Expression, Union
from .patterns import (
    ENDINGS,
    EVERYTHING,
    JOINT,
    LESS,
    NO_VOCALS,
    NOTHING,
    OPENINGS,
    REMOVE,
    REMOVE_AROUND,
    TURN,
    VOCALS,
    VOCALS_ONLY,
    WEAK_LESS,
)

IsPhrase = Callable[[str], bool]
ARTICLES = ("a", "an", "the", "some")
# Made once: a phrase book has ten thousand phrases to tidy.
PLAIN_SIGNS = str.maketrans("’‘`´“”«»–—‐‑", "''''\"\"\"\"----")
BLANKS, DASH = re.compile(r"\s+"), re.compile(r"\s-+\s")


def parse(text: str, is_phrase: IsPhrase) -> Expression:
    """Parse a text of at least one word, in any case. is_phrase: whether a text is a phrase of the book."""
    return sentence(tidy(text), is_phrase)


def tidy(text: str) -> str:
    """The text in lower case, with plain quotes and dashes, single spaces, and no punctuation around it."""
    plain = text.lower().translate(PLAIN_SIGNS)
    plain = BLANKS.sub(" ", plain).strip(" \t.!?,;:\"'()[]…")
    return DASH.sub(", ", plain)


def sentence(text: str, is_phrase: IsPhrase) -> Expression:
    """The expression of a tidy text or of a part of it."""
    bare = text
    while True:
        if is_phrase(bare):
            return Atom(bare)
        # First, since "get" is a carrier phrase but "get rid of" is not.
        if removed := removal(bare, is_phrase):
            return removed
        shorter = without_frame(bare)
        if shorter == bare:
            break
        bare = shorter
    if re.fullmatch(EVERYTHING, bare):
        return Everything()
    if re.fullmatch(NOTHING, bare):
        return Complement(Everything())
    if re.fullmatch(NO_VOCALS, bare):
        return Complement(Atom(VOCALS))
    if re.fullmatch(VOCALS_ONLY, bare):
        return Atom(VOCALS)
    return difference(bare, is_phrase) or union(bare, is_phrase)


def without_frame(text: str) -> str:
    """The text without one opening or ending, if something is left; otherwise unchanged."""
    for opening in OPENINGS:
        if match := re.match(rf"(?:{opening})(?:\s*,\s*|\s+|$)", text):
            rest = text[match.end() :].strip(" ,")
            if rest and not re.match(r"(out|away|off|for|from|of) ", rest):
                return rest
    for ending in ENDINGS:
        if match := re.search(rf"(?:^|\s|(?=,))(?:{ending})$", text):
            rest = text[: match.start()].strip(" ,")
            if rest and not re.fullmatch(rf"{EVERYTHING}|{REMOVE}", rest):
                return rest
    return text


def removal(text: str, is_phrase: IsPhrase) -> Expression | None:
    """The complement of what a text says to remove, or None if it is no such text."""
    for around in REMOVE_AROUND:
        if match := re.fullmatch(around, text):
            return less(Everything(), sentence(match[1], is_phrase))
    begun = re.match(rf"(?:{EVERYTHING}) (?:{LESS}|{WEAK_LESS}) |(?:{REMOVE})(?: |(?<=non)-)", text)
    if not begun:
        return None
    rest = text[begun.end() :].strip(" ,")
    turn = re.search(TURN, rest)
    if turn and not re.fullmatch(EVERYTHING, rest[: turn.start()]):
        removed = sentence(rest[: turn.start()], is_phrase)
        return less(sentence(rest[turn.end() :], is_phrase), removed)
    return less(Everything(), sentence(without_repeats(rest), is_phrase))


def difference(text: str, is_phrase: IsPhrase) -> Expression | None:
    """One sound without another, or None if the text has no such word."""
    for words in (rf"(?:, ?| )(?:{LESS}) ", rf", ?(?:{WEAK_LESS}) "):
        if (match := re.search(words, text)) and match.start():
            base = sentence(text[: match.start()].strip(" ,"), is_phrase)
            rest = without_repeats(text[match.end() :].strip(" ,"))
            return less(base, sentence(rest, is_phrase))
    return None


def without_repeats(removed: str) -> str:
    """A list of removed sounds without repeated negations: "drums, no bass" becomes "drums, bass"."""
    return re.sub(r"(,| and| or| nor| &) (no|not|without|remove) ", r"\1 ", removed)


def less(base: Expression, removed: Expression) -> Expression:
    """`base` without `removed`, in its simplest form."""
    if not isinstance(base, Everything):
        return Difference(base, removed)
    return removed.part if isinstance(removed, Complement) else Complement(removed)


def union(text: str, is_phrase: IsPhrase) -> Expression:
    """The union of the sounds in a list, or an atom if there is one sound."""
    pieces = [piece for piece in re.split(JOINT, text) if piece]
    if len(pieces) < 2:
        return Atom(re.sub(r"^(both|either|also) ", "", pieces[0]) if pieces else text)
    texts = joined_names(text, pieces, is_phrase)
    parts: list[Expression] = []
    for part in (sentence(piece, is_phrase) for piece in texts):
        parts += part.parts if isinstance(part, Union) else (part,)
    return Union(tuple(parts), text, with_shared_end(texts, is_phrase))


def joined_names(text: str, pieces: Sequence[str], is_phrase: IsPhrase) -> list[str]:
    """The pieces of a list, with neighbours joined that are one phrase of the book, as "bow and arrow"."""
    starts, end = [], 0
    for piece in pieces:
        starts.append(text.index(piece, end))
        end = starts[-1] + len(piece)
    ends = [start + len(piece) for start, piece in zip(starts, pieces, strict=True)]
    names: list[str] = []
    first = 0
    while first < len(pieces):
        last = max(
            last
            for last in range(first, len(pieces))
            if last == first or is_phrase(text[starts[first] : ends[last]])
        )
        names.append(text[starts[first] : ends[last]])
        first = last + 1
    return names


def with_shared_end(texts: Sequence[str], is_phrase: IsPhrase) -> tuple[Expression, ...]:
    """The parts with the end of the last one appended to all; empty if that has nothing after its first word.

    "a man", "a woman talking" become "a man talking", "a woman talking".
    """
    words = texts[-1].split()
    article = words[0] in ARTICLES
    if len(texts) < 2 or len(words) - article < 2:
        return ()
    end = " ".join(words[article + 1 :])
    return tuple(
        sentence(text, is_phrase) for text in (*(f"{t} {end}" for t in texts[:-1]), texts[-1])
    )
