"""Files of separated targets and residuals, written so that they sum to the recording."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..storage.unfinished import Unfinished
from .arrays import Energy, level_db
from .formats import check_format, converting, wav_subtype
from .reader import AudioReader
from .sample_format import split
from .writer import AudioWriter

FILES = "files"  # in the state of unfinished work
MIN_LEVEL_DB = -200.0  # reported for a silent target, since JSON has no infinity


def write_target(
    folder: Path,
    names: Sequence[str],
    target: NDArray[Any],
    residual: NDArray[Any],
    sample_rate: int,
    subtype: str,
) -> list[Path]:
    """Write target and residual, each (t,) or (c, t), as WAV files that sum to target + residual.

    names: of the target's file, then of the residual's, which is left out if there is only one name.
    Returns the paths. Raises AudioError if a file cannot be written.
    """
    target, residual = np.atleast_2d(target), np.atleast_2d(residual)
    parts = split(target + residual, target, subtype)
    paths = [folder / name for name in names]
    folder.mkdir(parents=True, exist_ok=True)
    for path, part in zip(paths, parts, strict=False):
        with AudioWriter(path, sample_rate, len(part), subtype) as writer:
            writer.write(part)
    return paths


class TargetFiles:
    """Writes the targets of several queries block by block, in the recording's rate and sample format.

    A context manager: all files appear under their names if it ends without an error, none otherwise.
    Each target and its residual sum to the recording; with `exclusive`, all targets and the one common
    residual do.

    paths: for each query the target's file and, if residuals are wanted, the residual's.
    commit: moves a finished temporary file to its path, as `storage.results.Results.commit`.
    file_format: a key of `formats.FORMATS`.
    min_level_db: a target of a lower level, in dB relative to the recording, is not written, nor is its own
    residual; None writes all, as `exclusive` needs.
    work: holds the files until all are complete, instead of `commit`; what it was saved with is continued.
    num_samples: written so far, per channel. num_known: of these, what earlier runs had written; the targets
    given to `write` are ignored there.
    Raises AudioError if the format cannot hold the recording or a file cannot be written.
    """

    def __init__(
        self,
        recording: AudioReader,
        paths: Sequence[Sequence[Path]],
        exclusive: bool = False,
        commit: Callable[[Path, Path], object] = os.replace,
        file_format: str = "wav",
        min_level_db: float | None = None,
        work: Unfinished | None = None,
    ) -> None:
        rate, num_channels = recording.sample_rate, recording.num_channels
        check_format(file_format, recording.path, rate, num_channels)
        self.subtype = wav_subtype(file_format, recording.subtype)
        assert not exclusive or min_level_db is None
        self.paths, self.exclusive, self.min_level_db = paths, exclusive, min_level_db
        self.work = work
        self._known = work.state.get(FILES, {}) if work else {}
        commit = converting(file_format, work.set_complete if work else commit)
        self.writers = {
            path: AudioWriter(
                *(path, rate, num_channels, self.subtype, commit),
                work.partial(path) if work else None,
                self._known["writers"][path.name] if self._known else None,
            )
            for path in dict.fromkeys(path for group in paths for path in group)
            if not (self._known and work and work.complete(path).exists())
        }
        self.target_energies, self.mixture_energy = [Energy() for _ in paths], Energy()
        if self._known:
            self.mixture_energy = Energy.from_state(self._known["mixture"])
            self.target_energies = [Energy.from_state(state) for state in self._known["targets"]]
        self.num_samples, self.num_known = 0, self._known.get("num_samples", 0)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> TargetFiles:
        with contextlib.ExitStack() as opening:
            for writer in self.writers.values():
                opening.enter_context(writer)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        for paths, is_written in zip(self.paths, self.written(), strict=True):
            for path in paths:
                if path in self.writers:
                    self.writers[path].discarded = not is_written
        self._open.__exit__(*error)

    def write(self, mixture: NDArray[np.floating], targets: NDArray[np.floating]) -> None:
        """Append a block: mixture (c, t) and targets (s, c, t), one for each query."""
        num_known = min(max(self.num_known - self.num_samples, 0), mixture.shape[-1])
        self.num_samples += mixture.shape[-1]
        mixture, targets = mixture[:, num_known:], targets[..., num_known:]
        if mixture.shape[-1]:
            self._append(mixture, targets)

    def _append(self, mixture: NDArray[np.floating], targets: NDArray[np.floating]) -> None:
        self.mixture_energy.add(mixture)
        remainder = mixture
        last = len(self.paths) - 1
        for index, paths in enumerate(self.paths):
            target, residual = split(remainder, targets[index], self.subtype)
            self.target_energies[index].add(target)
            if paths[0] in self.writers:
                self.writers[paths[0]].write(target)
            if self.exclusive:
                remainder = residual  # split further, so that all parts sum to the mixture
            has_residual = len(paths) > 1 and (not self.exclusive or index == last)
            if has_residual and paths[1] in self.writers:
                self.writers[paths[1]].write(residual)
        if self.work and self.work.is_due():
            self._save(self.work)

    def _save(self, work: Unfinished) -> None:
        work.state[FILES] = {
            "num_samples": self.num_samples,
            "mixture": self.mixture_energy.state(),
            "targets": [energy.state() for energy in self.target_energies],
            "writers": {path.name: writer.flush() for path, writer in self.writers.items()},
        }
        work.save()

    def levels_db(self) -> list[float | None]:
        """`Energy` of each target relative to the recording's, in dB, at least MIN_LEVEL_DB; None for all
        targets of a silent recording."""
        whole = self.mixture_energy.value
        if not whole:
            return [None] * len(self.paths)
        levels = [level_db(target.value, whole) for target in self.target_energies]
        return [round(max(level, MIN_LEVEL_DB), 2) for level in levels]

    def written(self) -> list[bool]:
        """For each target, whether it is loud enough to be written."""
        if self.min_level_db is None:
            return [True] * len(self.paths)
        return [level is not None and level >= self.min_level_db for level in self.levels_db()]
