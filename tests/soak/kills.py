"""Processes killed at any moment: the same command again finishes, with no lost, double or partial files."""

from __future__ import annotations

import shutil

import numpy as np

from .commands import Workshop, check_finished, command_of, half_written
from .forked import KILLED, Changes

MAX_KILLS = 3


class Part:
    """Kills by SIGKILL, one to MAX_KILLS in a row: at random times, and before random changes of the disk."""

    name = "kills"
    num_trials = 500

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    def trial(self, number: int, rng: np.random.Generator) -> str:
        command = command_of(number)
        undisturbed = self.workshop.undisturbed(command)
        out = self.workshop.folder / "killed"
        shutil.rmtree(out, ignore_errors=True)
        moments = []
        for _ in range(rng.integers(1, MAX_KILLS, endpoint=True)):
            if rng.random() < 0.7:  # most of what can go wrong is between two changes
                change = int(rng.integers(1, undisturbed.num_changes, endpoint=True))
                moments.append(f"before change {change}")
                ended = self.workshop.run(command, out, prepare=Changes(change))
            else:
                seconds = float(rng.uniform(0, undisturbed.seconds))
                moments.append(f"after {seconds:.3f} s")
                ended = self.workshop.run(command, out, kill_after=seconds)
            about = f"{command.name} killed {', '.join(moments)}"
            assert ended.code in (0, KILLED), f"{about}: exit code {ended.code}:\n{ended.err}"
            assert not (wrong := "; ".join(half_written(out))), f"{about}: {wrong}"
        try:
            check_finished(self.workshop.run(command, out), out, undisturbed)
        except AssertionError as error:
            raise AssertionError(f"{about}: {error}") from error
        return command.name
