"""The sounds that a caption names, each as a phrase of its own, by rules.

"A dog barks and growls while a man and a woman talk" names "a dog barks", "a dog growls", "a man talks" …:
the caption is cut where a new sound may begin, and what the cut took from a phrase, its subject or its verb,
is given back. Grammar is kept as far as a sentence encoder cares.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from .words import (
    ADJECTIVES,
    AGENTS,
    ALONE,
    AUXILIARIES,
    DETERMINERS,
    DOUBLED,
    INDEPENDENT,
    LEAD_INS,
    PRONOUNS,
    SOUND_VERBS,
    TAILS,
    UNSEPARATED,
)

JOINTS = (  # where another sound may begin, longer ones first
    "accompanied by",
    "followed by",
    "along with",
    "together with",
    "mixed with",
    "as well as",
    "and then",
    "over the sound of",
    "interrupted by",
    "alongside",
    "before",
    "after",
    "while",
    "until",
    "when",
    "then",
    "with",
    "and",
    "plus",
    "amid",
    "as",
)
JOINT = re.compile(
    r"\s*[;.!?:]\s*(?:and\s+|then\s+)?"
    r"|\s*,\s*(?:(?:" + "|".join(JOINTS) + r")\s+)*"
    r"|\s+&\s+"
    r"|\s+(?:(?:" + "|".join(JOINTS) + r")\s+)+"
)


@dataclass(frozen=True)
class Fragment:
    """words: of a piece between two joints; joint: what stood before it."""

    words: tuple[str, ...]
    joint: str

    @property
    def verb(self) -> int | None:
        """Where the first word is that says what something does, an auxiliary included."""
        forms = verb_forms()
        for place, word in enumerate(self.words):
            if word in AUXILIARIES or (word in forms and place > 0):
                return place
        return None


def sound_phrases(caption: str) -> list[str]:
    """The phrases in the order of the caption, lower case, none twice; at least one, the whole if need be."""
    text = re.sub(r"\s+", " ", caption.lower()).strip(" .,;:!?\"'")
    for whole in UNSEPARATED:
        text = text.replace(whole, whole.replace(" ", "_"))
    found = with_subjects(with_verbs(joined_adjectives(fragments(without_lead_in(text)))))
    phrases = [spelt(fragment.words) for fragment in found]
    kept = [phrase for phrase in phrases if phrase and phrase not in ALONE]
    return list(dict.fromkeys(kept)) or [text.replace("_", " ")]


def without_lead_in(text: str) -> str:
    """Without "there is", "the sound of" and the like at its start, as often as they come."""
    while match := re.match(rf"(?:{'|'.join(LEAD_INS)})\s+(?=\w)", text):
        text = text[match.end() :]
    return text


def fragments(text: str) -> list[Fragment]:
    pieces, joint, start = [], "", 0
    for match in JOINT.finditer(text):
        pieces.append((text[start : match.start()], joint))
        joint, start = match.group().strip(" ,"), match.end()
    pieces.append((text[start:], joint))
    cleaned = [(without_tail(without_lead_in(piece)), joint) for piece, joint in pieces]
    return [Fragment(tuple(piece.split()), joint) for piece, joint in cleaned if piece]


def without_tail(piece: str) -> str:
    """Without where or when it is heard."""
    while match := re.search(rf"(?:^|\s+)(?:{'|'.join(TAILS)})$", piece):
        piece = piece[: match.start()]
    return piece


def joined_adjectives(pieces: list[Fragment]) -> list[Fragment]:
    """A piece of adjectives alone belongs to the next: "a loud | deep growl"."""
    found: list[Fragment] = []
    for piece in pieces:
        before = found[-1].words if found else ()
        if before and all(word in ADJECTIVES or word in DETERMINERS for word in before):
            between = ("and",) if piece.joint == "and" else ()
            found[-1] = Fragment((*before, *between, *piece.words), found[-1].joint)
        else:
            found.append(piece)
    return found


def with_verbs(pieces: list[Fragment]) -> list[Fragment]:
    """Somebody who does nothing does what the next does: "a man | a woman talking"."""
    found = list(pieces)
    for place in range(len(found) - 2, -1, -1):
        piece, following = found[place], found[place + 1]
        silent = piece.verb is None and piece.words[-1] in AGENTS and len(piece.words) <= 4
        if silent and following.verb and following.joint in ("and", "", "&"):
            predicate = following.words[following.verb :]
            found[place] = Fragment(agreeing(piece.words, predicate), piece.joint)
            if following.words[following.verb - 1] in AGENTS:
                subject = following.words[: following.verb]
                found[place + 1] = Fragment(agreeing(subject, predicate), following.joint)
    return found


def agreeing(subject: tuple[str, ...], predicate: tuple[str, ...]) -> tuple[str, ...]:
    """After one, "are" becomes "is", and "laugh" "laughs"."""
    first = predicate[0]
    if subject[0] in ("a", "an", "one"):
        first = {"are": "is", "were": "was", "have": "has"}.get(first, first)
        first = third_person(first) if first in SOUND_VERBS else first
    return (*subject, first, *predicate[1:])


def with_subjects(pieces: list[Fragment]) -> list[Fragment]:
    """What is done without saying by whom is done by the one before: "a dog barks | growls"."""
    found: list[Fragment] = []
    subject: tuple[str, ...] = ()
    for piece in pieces:
        words = piece.words
        pronoun = words[0] in PRONOUNS
        if subject and (pronoun or (lacks_subject(words) and words[0] not in INDEPENDENT)):
            words = (*subject, *(words[1:] if pronoun else words))
            if (
                not pronoun
                and subject[-1] in AUXILIARIES
                and not words[len(subject)].endswith("ing")
            ):
                words = (*subject[:-1], *words[len(subject) :])
        piece = Fragment(words, piece.joint)
        found.append(piece)
        if piece.verb:
            after = piece.verb + (words[piece.verb] in AUXILIARIES)
            subject = words[:after]
        elif not lacks_subject(words):
            subject = ()
    return found


def lacks_subject(words: tuple[str, ...]) -> bool:
    """Begins with a verb, perhaps after adverbs."""
    rest = [word for word in words if not word.endswith("ly")]
    return bool(rest) and rest[0] in verb_forms()


def spelt(words: tuple[str, ...]) -> str:
    return " ".join(words).replace("_", " ")


@cache
def verb_forms() -> frozenset[str]:
    """bark, barks, barking, and so on."""
    forms = set()
    for verb in SOUND_VERBS:
        stem = verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb
        stem = stem + stem[-1] if verb in DOUBLED else stem
        forms |= {verb, third_person(verb), stem + "ing"}
    return frozenset(forms)


def third_person(verb: str) -> str:
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + ("es" if re.search(r"(s|sh|ch|x|z)$", verb) else "s")
