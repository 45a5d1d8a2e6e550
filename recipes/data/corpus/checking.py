"""A corpus examined as it stands: what is missing, damaged, there twice, or in two splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .faults import FATAL, Fault, examine
from .folder import Progress, group_names, parted
from .hearing import Facts, hear_all
from .intake import Columns, Recording, read_table


@dataclass(frozen=True)
class Checked:
    """num_recordings: in the list; heard: what is known of each that can be read."""

    num_recordings: int
    faults: Sequence[Fault]
    heard: dict[Path, Facts | str]

    @property
    def sound(self) -> bool:
        """Whether it can be trained on and measured by as it is."""
        return not any(
            fault.fault in FATAL or fault.fault == "in two splits" for fault in self.faults
        )


def read_corpus(folder: Path) -> list[Recording]:
    """The recordings of folder/clips.csv, whose groups are optional."""
    path = folder / "clips.csv"
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; expected a folder with clips.csv and its recordings"
        )
    with path.open(encoding="utf-8-sig") as file:
        names = file.readline().strip().split(",")
    return read_table(path, Columns(group="group" if "group" in names else None, split="split"))


def check_corpus(folder: Path, num_jobs: int, progress: Progress = None) -> Checked:
    """Decode every recording of the list once. Groups and equal content in two splits are faults."""
    recordings = read_corpus(folder)
    heard = hear_all((recording.path for recording in recordings), num_jobs, progress)
    examined = examine(recordings, heard)
    apart = parted([recording for recording, _ in examined.kept], group_names(examined))
    return Checked(len(recordings), [*examined.faults, *apart], heard)
