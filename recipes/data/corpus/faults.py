"""Faults of recordings and of lists of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .fingerprints import Match, find_matches
from .measuring import Facts
from .recordings import Recording

SILENT_DB = -70.0  # root mean square, of full scale
MIN_SECONDS = 0.1
CLIPPED_SHARE = 1e-3
LOW_RATE_HZ = 22050
NARROW_SHARE = 1e-6  # of the energy above 8 kHz, where the file's rate would hold more

FATAL = {  # useless or harmful for training
    "missing": "there is no such file",
    "unreadable": "damaged, or not audio",
    "silent": f"root mean square under {SILENT_DB:.0f} dB of full scale",
    "short": f"less than {MIN_SECONDS} s",
    "duplicate": "the same samples as another recording of that label",
    "two labels": "the same samples with another label",
}
DOUBTFUL = {
    "near-duplicate": "the same content as another recording, by audio fingerprint: both stay in one split",
    "in two splits": "the same content, or the same group, in another split",
    "clipped": f"more than {CLIPPED_SHARE:.1%} of the samples at full scale, in runs",
    "low rate": f"sample rate below {LOW_RATE_HZ} Hz: the bandwidth may reveal the label",
    "narrow": "nothing above 8 kHz despite the sample rate, as after upsampling from 16 kHz",
}
MEANINGS = FATAL | DOUBTFUL


class Fault(NamedTuple):
    """fault: a key of MEANINGS. remark: details, such as the file that it duplicates."""

    file: str
    fault: str
    remark: str = ""


class Examined(NamedTuple):
    """usable: recordings without fatal faults, with their facts. faults: of all recordings. matches: pairs of
    indices into `usable` with the same content."""

    usable: list[tuple[Recording, Facts]]
    faults: list[Fault]
    matches: list[Match]


def examine(recordings: Sequence[Recording], facts: Mapping[Path, Facts | str]) -> Examined:
    """Look for faults. Of several equal recordings the first is usable, if their labels agree.

    facts: of each file, or what is wrong with it, as of `measure_all`.
    """
    usable: list[tuple[Recording, Facts]] = []
    faults: list[Fault] = []
    labels: dict[str, set[str]] = {}
    firsts: dict[str, Path] = {}
    for recording in recordings:
        if isinstance(measured := facts[recording.path], Facts):
            labels.setdefault(measured.digest, set()).add(recording.label)
    for recording in recordings:
        measured = facts[recording.path]
        recording_faults = list(faults_of(recording, measured, labels, firsts))
        faults += recording_faults
        if isinstance(measured, Facts) and not any(f.fault in FATAL for f in recording_faults):
            firsts[measured.digest] = recording.path
            usable.append((recording, measured))
    matches = find_matches([measured.print for _, measured in usable])
    for match in matches:
        first, second = usable[match.first][0], usable[match.second][0]
        remark = f"{first.path}, {match.error:.0%} of the bits differ"
        faults.append(Fault(str(second.path), "near-duplicate", remark))
    return Examined(usable, faults, matches)


def faults_of(
    recording: Recording,
    facts: Facts | str,
    labels: Mapping[str, set[str]],
    firsts: Mapping[str, Path],
) -> Iterator[Fault]:
    """The faults of one recording.

    labels: of all recordings with the same samples, by digest. firsts: the first usable file of each digest.
    """
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
    elif facts.high < NARROW_SHARE and facts.level_db >= SILENT_DB:
        yield Fault(file, "narrow", f"{facts.sample_rate} Hz")
