"""Rules that split a caption into the sounds that it names, one phrase each.

"A dog barks and growls while a man and a woman talk" becomes "a dog barks", "a dog growls", "a man talks" and
"a woman talks": the caption is cut at conjunctions and punctuation, and a phrase that lost its subject or its
verb by the cut gets it from its neighbour. Grammar only has to be good enough for a sentence encoder.
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

JOINTS = (  # between sounds; longer ones first
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
    """words: of the text between two joints. joint: the conjunction before it, "" for punctuation."""

    words: tuple[str, ...]
    joint: str

    @property
    def verb(self) -> int | None:
        """Index of the first verb or auxiliary, or None. A verb form at the start does not count as one."""
        forms = verb_forms()
        for index, word in enumerate(self.words):
            if word in AUXILIARIES or (word in forms and index > 0):
                return index
        return None


def sound_phrases(caption: str) -> list[str]:
    """The phrases of a caption in its order, lower case, without repetitions.

    There is at least one: the whole caption, if nothing else names a sound.
    """
    text = re.sub(r"\s+", " ", caption.lower()).strip(" .,;:!?\"'")
    for whole in UNSEPARATED:
        text = text.replace(whole, whole.replace(" ", "_"))
    pieces = with_subjects(with_verbs(joined_adjectives(fragments(without_lead_in(text)))))
    phrases = [spelt(fragment.words) for fragment in pieces]
    named = [phrase for phrase in phrases if phrase and phrase not in ALONE]
    return list(dict.fromkeys(named)) or [text.replace("_", " ")]


def without_lead_in(text: str) -> str:
    """The text without "there is", "the sound of" and the like at its start, however many."""
    while match := re.match(rf"(?:{'|'.join(LEAD_INS)})\s+(?=\w)", text):
        text = text[match.end() :]
    return text


def fragments(text: str) -> list[Fragment]:
    """The text cut at joints, without lead-ins and tails."""
    pieces, joint, start = [], "", 0
    for match in JOINT.finditer(text):
        pieces.append((text[start : match.start()], joint))
        joint, start = match.group().strip(" ,"), match.end()
    pieces.append((text[start:], joint))
    cleaned = [(without_tail(without_lead_in(piece)), joint) for piece, joint in pieces]
    return [Fragment(tuple(piece.split()), joint) for piece, joint in cleaned if piece]


def without_tail(piece: str) -> str:
    """The text without a place or time at its end, as "in the background"."""
    while match := re.search(rf"(?:^|\s+)(?:{'|'.join(TAILS)})$", piece):
        piece = piece[: match.start()]
    return piece


def joined_adjectives(pieces: list[Fragment]) -> list[Fragment]:
    """Join fragments of adjectives alone with the next one: "a loud | deep growl"."""
    joined: list[Fragment] = []
    for piece in pieces:
        before = joined[-1].words if joined else ()
        if before and all(word in ADJECTIVES or word in DETERMINERS for word in before):
            between = ("and",) if piece.joint == "and" else ()
            joined[-1] = Fragment((*before, *between, *piece.words), joined[-1].joint)
        else:
            joined.append(piece)
    return joined


def with_verbs(pieces: list[Fragment]) -> list[Fragment]:
    """Give agents without a verb the verb of the next fragment: "a man | a woman talking"."""
    completed = list(pieces)
    for index in range(len(completed) - 2, -1, -1):
        piece, following = completed[index], completed[index + 1]
        silent = piece.verb is None and piece.words[-1] in AGENTS and len(piece.words) <= 4
        if silent and following.verb and following.joint in ("and", "", "&"):
            predicate = following.words[following.verb :]
            completed[index] = Fragment(agreeing(piece.words, predicate), piece.joint)
            if following.words[following.verb - 1] in AGENTS:
                subject = following.words[: following.verb]
                completed[index + 1] = Fragment(agreeing(subject, predicate), following.joint)
    return completed


def agreeing(subject: tuple[str, ...], predicate: tuple[str, ...]) -> tuple[str, ...]:
    """Subject and predicate; after a singular subject "are" becomes "is" and "laugh" becomes "laughs"."""
    first = predicate[0]
    if subject[0] in ("a", "an", "one"):
        first = {"are": "is", "were": "was", "have": "has"}.get(first, first)
        first = third_person(first) if first in SOUND_VERBS else first
    return (*subject, first, *predicate[1:])


def with_subjects(pieces: list[Fragment]) -> list[Fragment]:
    """Give fragments without a subject that of the one before: "a dog barks | growls"."""
    completed: list[Fragment] = []
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
        completed.append(piece)
        if piece.verb:
            after = piece.verb + (words[piece.verb] in AUXILIARIES)
            subject = words[:after]
        elif not lacks_subject(words):
            subject = ()
    return completed


def lacks_subject(words: tuple[str, ...]) -> bool:
    """Whether the words begin with a verb, perhaps after adverbs."""
    rest = [word for word in words if not word.endswith("ly")]
    return bool(rest) and rest[0] in verb_forms()


def spelt(words: tuple[str, ...]) -> str:
    """The words as text; underscores protect expressions that are not split."""
    return " ".join(words).replace("_", " ")


@cache
def verb_forms() -> frozenset[str]:
    """All forms of SOUND_VERBS: bark, barks, barking …"""
    forms = set()
    for verb in SOUND_VERBS:
        stem = verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb
        stem = stem + stem[-1] if verb in DOUBLED else stem
        forms |= {verb, third_person(verb), stem + "ing"}
    return frozenset(forms)


def third_person(verb: str) -> str:
    """The third person singular of a verb."""
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + ("es" if re.search(r"(s|sh|ch|x|z)$", verb) else "s")
