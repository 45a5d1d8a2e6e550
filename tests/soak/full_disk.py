"""A full disk at any write: one line reports it, no file is incomplete, and with space the run continues."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from functools import cached_property
from pathlib import Path

import numpy as np

from .commands import Command, Workshop, check_finished, command_of, half_written
from .forked import Ended, limit

PAGE = 4096  # bytes in which a tmpfs grows
ENOUGH = "size=64m,nr_inodes=10000"
DISK_FULL_WORDS = ("No space left", "free space", "disk is full", "File too large", "disk full")


class Part:
    """The command on a tmpfs of a random number of pages or files; remounted with enough, the same again.

    Where mounting is not permitted, a limit on the size of each file (RLIMIT_FSIZE) takes its place.
    """

    name = "full_disk"
    num_trials = 300

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    @cached_property
    def can_mount(self) -> bool:
        with_mount = Disk(self.workshop.folder / "trial disk", ENOUGH)
        try:
            with with_mount:
                return True
        except (subprocess.CalledProcessError, FileNotFoundError):
            return False

    def trial(self, number: int, rng: np.random.Generator) -> str:
        command = command_of(number)
        undisturbed = self.workshop.undisturbed(command)
        num_pages = int(rng.integers(1, undisturbed.num_bytes // PAGE + 40))
        num_files = int(rng.integers(2, len(undisturbed.essence) + 6))
        few_files = rng.random() < 0.2
        if not self.can_mount:
            return self.limited(command, int(rng.integers(1, undisturbed.num_bytes)))
        size = f"size=64m,nr_inodes={num_files}" if few_files else f"size={num_pages * PAGE}"
        about = f"{command.name} on a tmpfs of {size}"
        with Disk(self.workshop.folder / "disk", size) as disk:
            out = disk.folder / "out"
            ended = self.workshop.run(command, out)
            check_full(ended, out, about)
            disk.resize(ENOUGH)
            try:
                check_finished(self.workshop.run(command, out), out, undisturbed)
            except AssertionError as error:
                raise AssertionError(f"{about}, then enlarged: {error}") from error
        return f"{command.name} ({'fits' if ended.code == 0 else 'full'})"

    def limited(self, command: Command, max_bytes: int) -> str:
        """A trial without a tmpfs: no file may grow beyond max_bytes."""
        out = self.workshop.folder / "limited"
        shutil.rmtree(out, ignore_errors=True)
        about = f"{command.name} with files of up to {max_bytes} bytes"

        def small_files() -> None:
            limit(resource.RLIMIT_FSIZE, max_bytes)

        ended = self.workshop.run(command, out, prepare=small_files)
        check_full(ended, out, about)
        try:
            again = self.workshop.run(command, out)
            check_finished(again, out, self.workshop.undisturbed(command))
        except AssertionError as error:
            raise AssertionError(f"{about}, then without: {error}") from error
        return f"{command.name} (RLIMIT_FSIZE)"


def check_full(ended: Ended, out: Path, about: str) -> None:
    """AssertionError unless the command ended well, or reported that the disk is full."""
    if ended.code:
        assert ended.code in (1, 2), f"{about}: exit code {ended.code}:\n{ended.err}"
        ended.check_messages()
        is_reported = any(words in ended.err for words in DISK_FULL_WORDS)
        assert is_reported, f"{about}: no message that the disk is full:\n{ended.err}"
    assert not (wrong := "; ".join(half_written(out))), f"{about}: {wrong}"


class Disk:
    """A mounted tmpfs, unmounted at the context's end. options: of mount, as size=8192."""

    def __init__(self, folder: Path, options: str) -> None:
        self.folder, self.options = folder, options

    def __enter__(self) -> Disk:
        self.folder.mkdir(exist_ok=True)
        mount("-t", "tmpfs", "-o", self.options, "tmpfs", str(self.folder))
        return self

    def resize(self, options: str) -> None:
        mount("-o", f"remount,{options}", str(self.folder))

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)
        os.rmdir(self.folder)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
