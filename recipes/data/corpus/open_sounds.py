"""The sounds150 corpus, rebuilt from its downloaded sources by the list of clips in the package.

A clip's name ends with that of its source: audio/…/DATASET_…__PATH_OF_SOURCE_NUMBER.ogg. The source is the
file below SOURCES whose path has the longest common end with it. Clips that consist of several short takes
are joined from takes of the same name, in order, with random gaps. Clips that were rendered with soundfonts
have no source recording and are reported. The rebuilt corpus contains the same recordings, not the same
bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import soxr
from numpy.typing import NDArray

from qsep.evaluation.protocols.sounds150 import CORPUS
from qsep.queries.files.threads import in_order
from qsep.separation.audio.encoding import encode_file
from qsep.separation.storage.results import Results

from .faults import Fault
from .folder import table_text
from .measuring import read_mono
from .recordings import audio_below

COMMAND = "data open-sounds"
MAX_RATE_HZ = 32000
JOIN_BELOW = 0.6  # of the listed duration; a shorter source is one of several takes
GAP_SECONDS = (0.05, 0.4)
PROBLEMS = {
    "rendered": "rendered with a soundfont when the corpus was made: there is no recording",
    "not found": "no file below SOURCES has its name; the report has its URL",
    "unreadable": "damaged, or not audio",
    "shorter": "shorter than listed, even with the other takes of its name",
}
Clip = Mapping[str, str]


@dataclass(frozen=True)
class Rebuilt:
    """num_clips: written. problems: number of each of PROBLEMS, listed in the file `report`."""

    num_clips: int
    problems: Mapping[str, int]
    report: Path


class Sources:
    """The downloaded recordings, to be found by the ends of their paths.

    Raises ValueError for a folder that does not exist or holds no recordings.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder: name the one with the downloaded sources")
        self.by_name: dict[str, list[tuple[str, Path]]] = {}
        for path in audio_below(folder):
            key = plain(path.relative_to(folder).with_suffix("").as_posix())
            self.by_name.setdefault(plain(path.stem), []).append((key, path))
        if not self.by_name:
            raise ValueError(f"{folder}: no recordings in it")

    def find(self, clip: Clip) -> Path | None:
        """The file whose path has the longest common end with the clip's name, its own name at least."""
        tail = tail_of(clip["file"])
        matches: list[tuple[int, int, Path]] = []
        for start in word_starts(tail):
            for key, path in self.by_name.get(tail[start:], ()):
                matches.append((common_end(key, tail), -len(key), path))
        if not matches and clip["dataset"].startswith("ESC"):  # listed without the class number
            matches = [
                (0, 0, path)
                for number in range(50)
                for _, path in self.by_name.get(f"{tail}_{number}", ())
            ]
        return max(matches, key=lambda entry: entry[:2])[2] if matches else None

    def takes(self, path: Path) -> list[Path]:
        """This file, then those in its folder whose names differ only in their numbers, in order."""
        root = take_root(path.stem)
        beside = [p for p in sorted(audio_below(path.parent)) if p.parent == path.parent]
        return [path] + [p for p in beside if take_root(p.stem) == root and p != path]


def plain(text: str) -> str:
    """The letters and digits of a path in lower case, joined by single underscores."""
    return re.sub(r"[\W_]+", "_", text.lower()).strip("_")


def tail_of(file: str) -> str:
    """The part of a clip's name that names its source, without the data set and the number."""
    stem = PurePosixPath(file).stem.rpartition("_")[0]
    return plain(stem.partition("_")[2] or stem)


def word_starts(tail: str) -> list[int]:
    """Positions at which words begin in a name joined by underscores."""
    return [0, *(match.end() for match in re.finditer("_", tail))]


def common_end(first: str, second: str) -> int:
    """Number of equal characters at the ends of two texts."""
    length = 0
    for a, b in zip(reversed(first), reversed(second), strict=False):
        if a != b:
            break
        length += 1
    return length


def take_root(stem: str) -> str:
    """The name of a file without the number at its end."""
    return re.sub(r"[\d_.-]+$", "", stem.lower())


def rebuild(
    folder: Path,
    out: Path,
    num_jobs: int,
    progress: Callable[[float, float], object] | None = None,
    clips: Sequence[Clip] | None = None,
) -> Rebuilt:
    """Write out/audio/…, clips.csv and kinds.csv of the clips found, and report.csv of the others.

    clips: rows of the list; default: the package's. num_jobs: clips made in parallel.
    progress: called with (clips done, clips in all).
    """
    clips = CORPUS.clips() if clips is None else clips
    sources, results = Sources(folder), Results(out, COMMAND)

    def make(clip: Clip) -> Fault | None:
        if clip["dataset"].startswith("soundfont"):
            return Fault(clip["file"], "rendered", clip["licence"])
        source = sources.find(clip)
        if source is None:
            return Fault(clip["file"], "not found", clip["url"])
        try:
            waveform, rate = joined(sources.takes(source), float(clip["seconds"]), clip["file"])
        except (ValueError, OSError) as error:
            return Fault(clip["file"], "unreadable", f"{source}: {error}")
        if not results.is_ours(clip["file"]):
            results.write(
                clip["file"],
                lambda path: encode_file(path, waveform, rate, "VORBIS", "OGG"),
            )
        if len(waveform) / rate < JOIN_BELOW * float(clip["seconds"]):
            return Fault(clip["file"], "shorter", f"{len(waveform) / rate:.2f} s")
        return None

    faults, written = [], []
    with closing(in_order(make, clips, num_jobs)) as faults_of_clips:
        for num_done, (clip, fault) in enumerate(faults_of_clips, start=1):
            if fault:
                faults.append(fault)
            if fault is None or fault.fault == "shorter":
                written.append(clip)
            if progress:
                progress(num_done, len(clips))
    results.write_text("clips.csv", table_text(list(clips[0]), written))
    results.write_text("kinds.csv", CORPUS.kinds_path.read_text("utf-8"))
    report = results.write_text(
        "report.csv", table_text(Fault._fields, [fault._asdict() for fault in faults])
    )
    names = [fault.fault for fault in faults]
    return Rebuilt(len(written), {name: names.count(name) for name in dict.fromkeys(names)}, report)


def joined(takes: Sequence[Path], seconds: float, name: str) -> tuple[NDArray[np.float32], int]:
    """The first take, cut to `seconds`; if it is much shorter, joined with the next ones. (t,) and its rate.

    name: of the clip, which seeds the lengths of the gaps.
    """
    mono, rate, _ = read_mono(takes[0])
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
    parts, length = [mono], len(mono)
    for take in takes[1:]:
        if length >= JOIN_BELOW * seconds * rate:
            break
        more, more_rate, _ = read_mono(take)
        if more_rate != rate:
            more = soxr.resample(more, more_rate, rate, quality="HQ")
        gap = np.zeros(round(rng.uniform(*GAP_SECONDS) * rate), np.float32)
        parts += [gap, more]
        length += len(gap) + len(more)
    waveform = np.concatenate(parts)[: round(seconds * rate)]
    if rate > MAX_RATE_HZ:
        waveform = soxr.resample(waveform, rate, MAX_RATE_HZ, quality="HQ")
    return waveform / max(1.0, float(np.abs(waveform).max(initial=0.0))), min(rate, MAX_RATE_HZ)
