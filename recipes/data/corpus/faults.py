"""What is wrong with recordings and with lists of them, by what was heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .fingerprints import Match, find_matches
from .hearing import Facts
from .intake import Recording

SILENT_DB = -70.0  # root mean square, of full scale
MIN_SECONDS = 0.1
CLIPPED_SHARE = 1e-3
LOW_RATE_HZ = 22050
NARROW_SHARE = 1e-6  # of the energy above 8 kHz, where the file's rate would hold more

FATAL = {  # nothing can be learned from these, or less than nothing
    "missing": "there is no such file",
    "unreadable": "damaged, or not audio",
    "silent": f"under {SILENT_DB:.0f} dB of full scale throughout",
    "short": f"less than {MIN_SECONDS} s",
    "duplicate": "the same samples as another recording of that label",
    "two labels": "the same samples under another label",
}
DOUBTFUL = {
    "near-duplicate": "the same content as another recording, by fingerprint: kept in one split with it",
    "in two splits": "the same content, or the same group, in another split",
    "clipped": f"more than {CLIPPED_SHARE:.1%} of the samples at full scale, in runs",
    "low rate": f"sampled at less than {LOW_RATE_HZ} Hz: its bandwidth can give a label away",
    "narrow": "nothing above 8 kHz though the rate would hold it, as after a conversion from 16 kHz",
}
MEANINGS = FATAL | DOUBTFUL


class Fault(NamedTuple):
    """remark: what else is to be said, as which file it is equal to."""

    file: str
    fault: str
    remark: str = ""


class Examined(NamedTuple):
    """kept: recordings that can be used, with their facts; faults: of all; matches: pairs of places in kept
    that hold the same content."""

    kept: list[tuple[Recording, Facts]]
    faults: list[Fault]
    matches: list[Match]


def examine(recordings: Sequence[Recording], heard: Mapping[Path, Facts | str]) -> Examined:
    """Each recording as of its file; of several equal ones the first is kept, unless labels contradict."""
    kept: list[tuple[Recording, Facts]] = []
    faults: list[Fault] = []
    labels: dict[str, set[str]] = {}
    firsts: dict[str, Path] = {}
    for recording in recordings:
        if isinstance(facts := heard[recording.path], Facts):
            labels.setdefault(facts.digest, set()).add(recording.label)
    for recording in recordings:
        own = list(faults_of(recording, heard[recording.path], labels, firsts))
        faults += own
        facts = heard[recording.path]
        if isinstance(facts, Facts) and not any(fault.fault in FATAL for fault in own):
            firsts[facts.digest] = recording.path
            kept.append((recording, facts))
    matches = find_matches([facts.print for _, facts in kept])
    for match in matches:
        first, second = (kept[place][0] for place in match[:2])
        remark = f"{first.path}, {match.error:.0%} of the bits differ"
        faults.append(Fault(str(second.path), "near-duplicate", remark))
    return Examined(kept, faults, matches)


def faults_of(
    recording: Recording,
    facts: Facts | str,
    labels: Mapping[str, set[str]],
    firsts: Mapping[str, Path],
) -> Iterator[Fault]:
    file = str(recording.path)
    if isinstance(facts, str):
        yield Fault(file, "unreadable" if recording.path.is_file() else "missing", facts)
        return
    if facts.seconds < MIN_SECONDS:
        yield Fault(file, "short", f"{facts.seconds:.3f} s")
    elif facts.level_db < SILENT_DB:
        yield Fault(file, "silent", f"{facts.level_db:.0f} dB")
    elif len(labels[facts.digest]) > 1:
        yield Fault(file, "two labels", ", ".join(sorted(labels[facts.digest])))
    elif facts.digest in firsts:
        yield Fault(file, "duplicate", str(firsts[facts.digest]))
    if facts.clipped > CLIPPED_SHARE:
        yield Fault(file, "clipped", f"{facts.clipped:.1%} of the samples")
    if facts.sample_rate < LOW_RATE_HZ:
        yield Fault(file, "low rate", f"{facts.sample_rate} Hz")
    elif facts.high < NARROW_SHARE:
        yield Fault(file, "narrow", f"{facts.sample_rate} Hz")
