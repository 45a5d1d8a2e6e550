"""Checking that recordings can be used for training, or converting them to WAV files of another rate."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import soundfile

from qsep.queries.files.threads import in_order
from qsep.separation.audio.reader import AudioError, AudioReader
from qsep.separation.audio.resample import StreamResampler
from qsep.separation.storage.results import Results

from .tree import CONVERTIBLE

BLOCK_SAMPLES = 1 << 16
TAIL_SAMPLES = 4096  # decoded at the end of a recording, where a truncated one fails
LOG_FILE = ".checked.jsonl"


@dataclass(frozen=True)
class Checked:
    """seconds: duration, 0 if there is a problem. problem: in words, empty if there is none."""

    seconds: float
    problem: str = ""


@dataclass(frozen=True)
class Care:
    """sample_rate: of the WAV files to write, in Hz; None to use recordings as they are.
    thorough: decode all samples, not only the last ones."""

    sample_rate: int | None = None
    thorough: bool = False


def check(path: Path, thorough: bool) -> Checked:
    """Decode a recording as training does. thorough: completely, not only at its end."""
    if path.suffix.lower() in CONVERTIBLE:
        return Checked(0, "training reads WAV, FLAC, Ogg and MP3: add --sample-rate to convert it")
    try:
        with AudioReader(path, quiet=True) as reader:
            claimed = reader.claimed_samples
            start = 0 if thorough or claimed is None else max(0, claimed - TAIL_SAMPLES)
            num_samples = start + sum(b.shape[1] for b in reader.blocks(BLOCK_SAMPLES, start))
    except AudioError as error:
        return Checked(0, str(error).removeprefix(f"{path} "))
    if reader.complaints:
        return Checked(0, "; ".join(reader.complaints))
    return Checked(round(num_samples / reader.sample_rate, 3))


def convert(path: Path, results: Results, name: str, sample_rate: int) -> Checked:
    """Write the mean of the first two channels, which training uses, as a 16-bit WAV file, unless it exists.

    name: of the file among the results. sample_rate: in Hz. Raises OSError if the target cannot be written.
    """
    target = results.folder / name
    if target.is_file():
        return check(target, thorough=False)

    def write(temporary: Path) -> None:
        with (
            AudioReader(path) as reader,
            soundfile.SoundFile(temporary, "w", sample_rate, 1, "PCM_16", format="WAV") as file,
        ):
            resampler = StreamResampler(reader.sample_rate, sample_rate, 1)
            for block in reader.blocks(BLOCK_SAMPLES):
                mono = block[:2].mean(axis=0, keepdims=True)
                file.write(resampler.process(mono)[0])
            file.write(resampler.flush()[0])

    try:
        results.write(name, write)
    except AudioError as error:
        return Checked(0, str(error).removeprefix(f"{path} "))
    except soundfile.SoundFileError as error:  # the reader's own are AudioErrors
        raise OSError(f"{target}: cannot be written ({error}): is the disk full?") from error
    return check(target, thorough=False)


def check_all(
    folder: Path,
    paths: Sequence[Path],
    results: Results,
    care: Care,
    num_jobs: int,
    progress: Callable[[float, float], object] | None,
) -> dict[Path, tuple[Path, Checked]]:
    """For each recording below `folder`, the file to train on and the result of its check.

    Recordings that the log among the results has, and that have not changed since, are not checked again.
    num_jobs: recordings in parallel. progress: called with (recordings done, recordings in all).
    """

    def target(path: Path) -> Path:
        if care.sample_rate is None:
            return path
        below = path.relative_to(folder)
        folder_of_rate = results.folder / f"audio-{care.sample_rate}"
        return (folder_of_rate / below).with_name(f"{below.stem}.wav")

    def examine(path: Path) -> Checked:
        if care.sample_rate is None:
            return check(path, care.thorough)
        return convert(path, results, results.name_of(target(path)), care.sample_rate)

    log_path = results.grow(LOG_FILE)
    logged = read_log(log_path)
    done: dict[Path, Checked] = {}
    for path in paths:
        checked = logged.get(key_of(path, care))
        if checked and (checked.problem or target(path).is_file()):
            done[path] = checked
    rest = [path for path in paths if path not in done]
    with (
        log_path.open("a", encoding="utf-8") as log,
        closing(in_order(examine, rest, num_jobs)) as examined,
    ):
        for num_done, (path, checked) in enumerate(examined, start=1):
            done[path] = checked
            note(log, key_of(path, care), checked)
            if progress:
                progress(num_done, len(rest))
    return {path: (target(path), done[path]) for path in paths}


def key_of(path: Path, care: Care) -> str:
    """Identifies the state of a recording and the kind of check."""
    state = path.stat()
    return f"{path} {state.st_size} {state.st_mtime_ns} {care}"


def note(log: TextIO, key: str, checked: Checked) -> None:
    """Append the result of a check to the log."""
    log.write(json.dumps({"key": key} | asdict(checked)) + "\n")


def read_log(path: Path) -> dict[str, Checked]:
    """The results in a log, by key. Incomplete lines, as after an interruption, are ignored."""
    results: dict[str, Checked] = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            results[row["key"]] = Checked(row["seconds"], row["problem"])
        except (json.JSONDecodeError, KeyError):
            continue
    return results
