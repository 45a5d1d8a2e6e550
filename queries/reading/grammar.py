"""From a sentence to what it asks for: the rules, all of them.

1. A text that is a phrase of the book means that ("bow and arrow", "country guitar, no amp").
2. "remove …", "no …", "not …", "without …", "everything but …": all except that.
3. Frames are taken off: "please isolate …", "the sound of …", "… in the background".
4. "… without …", "… but not …", "… except …": the first less the second.
5. "…, … and …", "… or …": all of them as one target.
6. What is left names a sound.
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
    """text: any case, at least one word. is_phrase: whether words stand in the phrase book as they are."""
    return sentence(tidy(text), is_phrase)


def tidy(text: str) -> str:
    """Lower case, plain quotes and dashes, single spaces, no full stop or quotes around it."""
    plain = text.lower().translate(PLAIN_SIGNS)
    plain = BLANKS.sub(" ", plain).strip(" \t.!?,;:\"'()[]…")
    return DASH.sub(", ", plain)


def sentence(text: str, is_phrase: IsPhrase) -> Expression:
    bare = text
    while True:
        if is_phrase(bare):
            return Atom(bare)
        if removed := removal(bare, is_phrase):  # first: "get" is a frame, "get rid of" is not
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
    """One opening or ending less, where something is left."""
    for opening in OPENINGS:
        if found := re.match(rf"(?:{opening})(?:\s*,\s*|\s+|$)", text):
            rest = text[found.end() :].strip(" ,")
            if rest and not re.match(r"(out|away|off|for|from|of) ", rest):
                return rest
    for ending in ENDINGS:
        if found := re.search(rf"(?:^|\s|(?=,))(?:{ending})$", text):
            rest = text[: found.start()].strip(" ,")
            if rest and not re.fullmatch(rf"{EVERYTHING}|{REMOVE}", rest):
                return rest
    return text


def removal(text: str, is_phrase: IsPhrase) -> Expression | None:
    """Everything but what is named, or None where the text does not begin by taking something away."""
    for around in REMOVE_AROUND:
        if found := re.fullmatch(around, text):
            return less(Everything(), sentence(found[1], is_phrase))
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
    """One sound without another, or None where the text has no such word."""
    for words in (rf"(?:, ?| )(?:{LESS}) ", rf", ?(?:{WEAK_LESS}) "):
        if (found := re.search(words, text)) and found.start():
            base = sentence(text[: found.start()].strip(" ,"), is_phrase)
            rest = without_repeats(text[found.end() :].strip(" ,"))
            return less(base, sentence(rest, is_phrase))
    return None


def without_repeats(removed: str) -> str:
    """ "drums, no bass" after a "no" is "drums, bass"."""
    return re.sub(r"(,| and| or| nor| &) (no|not|without|remove) ", r"\1 ", removed)


def less(base: Expression, removed: Expression) -> Expression:
    if not isinstance(base, Everything):
        return Difference(base, removed)
    return removed.part if isinstance(removed, Complement) else Complement(removed)


def union(text: str, is_phrase: IsPhrase) -> Expression:
    """The sounds of a list as one, or the one that is left."""
    pieces = [piece for piece in re.split(JOINT, text) if piece]
    if len(pieces) < 2:
        return Atom(re.sub(r"^(both|either|also) ", "", pieces[0]) if pieces else text)
    texts = joined_names(text, pieces, is_phrase)
    parts: list[Expression] = []
    for read in (sentence(piece, is_phrase) for piece in texts):
        parts += read.parts if isinstance(read, Union) else (read,)
    return Union(tuple(parts), text, with_shared_end(texts, is_phrase))


def joined_names(text: str, pieces: Sequence[str], is_phrase: IsPhrase) -> list[str]:
    """The pieces, but neighbours that the book knows as one name, as "bow and arrow", together."""
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
    """ "a man", "a woman talking" as "a man talking", "a woman talking": what follows the first word of the
    last part may belong to all. Empty where nothing follows."""
    words = texts[-1].split()
    article = words[0] in ARTICLES
    if len(texts) < 2 or len(words) - article < 2:
        return ()
    end = " ".join(words[article + 1 :])
    return tuple(
        sentence(text, is_phrase) for text in (*(f"{t} {end}" for t in texts[:-1]), texts[-1])
    )
