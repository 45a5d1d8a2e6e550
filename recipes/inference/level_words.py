"""The level of a result in words."""

from __future__ import annotations

import math

FRACTIONS = {
    "nine tenths": 0.9,
    "four fifths": 0.8,
    "two thirds": 2 / 3,
    "half": 0.5,
    "a third": 1 / 3,
    "a quarter": 0.25,
    "a fifth": 0.2,
    "a tenth": 0.1,
    "a twentieth": 0.05,
    "a fiftieth": 0.02,
    "a hundredth": 0.01,
}
ABSENT_DB = -20.0  # relative to the recording; quieter targets are probably absent
# A queried sound under this level is faint, or another one. In 70 recordings and 70 pairs (levels 8 dB apart
# at most) of sounds150's dev clips, each queried for its own classes and for six others at random, it is
# undercut by 3 % of the sounds that are there (14 % in pairs) and 94 % of the others (84 %); -20 dB by 1 %
# (2 %) and 86 % (65 %).
FAINT_DB = -8.0
ALL, MORE = 0.95, 1.05  # shares of the recording's energy that count as all, and as more than all


def in_decibels(level_db: float | None, whole: str = "input") -> str:
    """The level as a number, or that there is none. whole: what it is relative to."""
    return f"silent, as the {whole}" if level_db is None else f"{level_db:.1f} dB of the {whole}"


def finding_in_words(level_db: float | None) -> str:
    """As `level_in_words`, for a sound that a query asked for, which may not be there."""
    words = level_in_words(level_db)
    is_faint = level_db is not None and ABSENT_DB <= level_db < FAINT_DB
    return f"{words}; faint, or another sound" if is_faint else words


def level_in_words(level_db: float | None) -> str:
    """A description such as "about a fifth of the energy".

    level_db: a target's energy relative to the recording's; None if the recording is silent.
    """
    if level_db is None:
        return "nothing to separate"
    if level_db < ABSENT_DB:
        return "under a hundredth of the energy; likely not there"
    share = 10 ** (level_db / 10)
    if share >= MORE:
        return f"{share:.1f} times the energy of the whole"
    if share >= ALL:
        return "nearly all of the energy"
    nearest = min(FRACTIONS, key=lambda words: abs(math.log(FRACTIONS[words] / share)))
    return f"about {nearest} of the energy"
