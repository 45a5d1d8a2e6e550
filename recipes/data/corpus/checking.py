"""Checks of a corpus: missing, damaged and duplicate recordings, and leaks between its splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .faults import FATAL, Fault, examine
from .folder import Progress, group_names, leaks_between_splits
from .measuring import Facts, measure_all
from .recordings import Columns, Recording, read_table


@dataclass(frozen=True)
class Checked:
    """num_recordings: in the list. facts: of each file, or what is wrong with it."""

    num_recordings: int
    faults: Sequence[Fault]
    facts: dict[Path, Facts | str]

    @property
    def sound(self) -> bool:
        """Whether it can be used for training and evaluation as it is."""
        return not any(
            fault.fault in FATAL or fault.fault == "in two splits" for fault in self.faults
        )


def read_corpus(folder: Path) -> list[Recording]:
    """The recordings of folder/clips.csv, whose column of groups is optional.

    Raises ValueError if the list is missing or malformed.
    """
    path = folder / "clips.csv"
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; expected a folder with clips.csv and its recordings"
        )
    with path.open(encoding="utf-8-sig") as file:
        names = file.readline().strip().split(",")
    return read_table(path, Columns(group="group" if "group" in names else None, split="split"))


def check_corpus(folder: Path, num_jobs: int, progress: Progress = None) -> Checked:
    """Decode every recording of the list once and collect all faults.

    A group, or the same content, in two splits is a fault. Raises ValueError for a malformed list.
    """
    recordings = read_corpus(folder)
    facts = measure_all((recording.path for recording in recordings), num_jobs, progress)
    examined = examine(recordings, facts)
    leaks = leaks_between_splits(
        [recording for recording, _ in examined.usable], group_names(examined)
    )
    return Checked(len(recordings), [*examined.faults, *leaks], facts)
