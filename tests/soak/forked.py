"""The `qsep` command in forked processes, which start in milliseconds: all modules are imported already."""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import STUB, process_state_restored

from qsep.queries.encoders import minilm
from qsep.recipes.cli.main import main
from qsep.recipes.training import loop
from qsep.separation.api import files
from qsep.separation.inference import chunks
from qsep.separation.storage import unfinished

HUNG_SECONDS = 900  # much longer than any trial takes on a busy machine
CPU_SECONDS = 120
# Audit events that announce a change of what is on the disk; "open" counts if it is for writing.
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "sqlite3.connect"}
KILLED = -signal.SIGKILL
CRASHED = 70  # exit code for an exception that nobody caught


@dataclass(frozen=True)
class Ended:
    """code: the exit code, or minus the signal's number."""

    code: int
    out: str
    err: str

    def check_messages(self) -> None:
        """Assert that standard error holds only our own messages, in single lines."""
        for line in self.err.splitlines():
            assert line.startswith(("qsep: ", "step ")), f"exit code {self.code}:\n{self.err}"


def in_process(arguments: Sequence[str | Path], folder: Path) -> int:
    """The exit code of `qsep arguments…` in `folder` and in this process.

    With random vectors for queries, a cache of embeddings in folder/cache, and no plots, a second each.
    The shortest recording is worth keeping, with a state for each of its blocks.
    """
    with pytest.MonkeyPatch.context() as patched, process_state_restored():
        patched.setattr(minilm.MiniLM, "encode", lambda self, queries: STUB.encode(queries))
        patched.setattr(loop, "plot_curves", lambda log, picture: picture.write_bytes(b"curves"))
        patched.setattr(files, "LONG_BYTES", 1)
        patched.setattr(unfinished, "SAVE_SECONDS", 0.0)
        patched.setattr(chunks, "CHUNK_SECONDS", 1.0)
        patched.setenv("QSEP_CACHE", str(folder / "cache"))
        patched.setenv("QSEP_DEBUG", "")
        patched.setattr(sys, "argv", ["qsep", *map(str, arguments)])
        patched.chdir(folder)
        with pytest.raises(SystemExit) as stopped:
            main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def forked(
    work: Callable[[], int], scratch: Path, kill_after: float | None = None, max_bytes: int = 0
) -> Ended:
    """Call `work`, which returns an exit code, in a forked process.

    scratch: a folder for what it prints. kill_after: seconds until its process group is killed. max_bytes:
    of memory that it may take, beyond what this process has; 0 for any.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    outputs = [scratch / ".stdout", scratch / ".stderr"]
    process = os.fork()
    if process == 0:
        code = CRASHED
        try:
            os.setpgid(0, 0)
            redirect(outputs)
            limit(resource.RLIMIT_CPU, CPU_SECONDS)
            if max_bytes:
                limit(resource.RLIMIT_AS, address_space() + max_bytes)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    code = wait(process, kill_after)
    texts = (path.read_text("utf-8", "replace") if path.exists() else "" for path in outputs)
    return Ended(code, *texts)


def redirect(outputs: Sequence[Path]) -> None:
    """Standard output and standard error into these files, also those of programs that are started."""
    for number, path in enumerate(outputs, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", encoding="utf-8") for number in (1, 2))
    logging.getLogger().handlers.clear()  # of the parent's standard error


def limit(resource_number: int, maximum: int) -> None:
    resource.setrlimit(resource_number, (maximum, maximum))


def address_space() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def wait(process: int, kill_after: float | None) -> int:
    """Wait for the process, killing its group after some seconds; returns its `Ended.code`."""
    descriptor = os.pidfd_open(process)
    try:
        limit = HUNG_SECONDS if kill_after is None else kill_after
        ended, _, _ = select.select([descriptor], [], [], limit)
    finally:
        os.close(descriptor)
    with contextlib.suppress(ProcessLookupError):  # also of workers that it left
        os.killpg(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert ended or kill_after is not None, f"hung for {HUNG_SECONDS} s"
    return os.waitstatus_to_exitcode(status)


class Changes:
    """Counts the changes of the disk that Python code announces, and kills the process before one of them.

    Made in the parent, called in the forked process. last: the change, from 1, that is not made; 0 for none.
    """

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self.shared = mmap.mmap(-1, 8)

    @property
    def number(self) -> int:
        """Of changes so far, in the forked process."""
        return int.from_bytes(self.shared[:], "little")

    def __call__(self) -> None:
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            flags = arguments[2]
            if not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
        elif event not in CHANGES:
            return
        number = self.number + 1
        self.shared[:] = number.to_bytes(8, "little")
        if number == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
