"""One run at a time in a folder: locks that end with their process, whatever ends it."""

import os
import signal
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from qsep.separation.storage.exclusive import alone_at, alone_in

if sys.platform == "win32":
    pytest.skip("locks are those of POSIX", allow_module_level=True)


def hold(folder: Path, inside: Connection) -> None:
    with alone_in(folder):
        if os.fork() == 0:  # a worker, which outlives its parent for a moment
            inside.send(os.getpid())
            time.sleep(600)
        time.sleep(600)


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    ours, theirs = get_context("fork").Pipe()
    holder = get_context("fork").Process(target=hold, args=(tmp_path, theirs))
    holder.start()
    worker = ours.recv()
    try:
        with pytest.raises(ValueError, match="another run is at work there"), alone_in(tmp_path):
            pass
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        holder.join()
        with alone_in(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_one_run_after_the_other_is_let_in(tmp_path: Path) -> None:
    for _ in range(2):
        with alone_in(tmp_path / "new"):
            (tmp_path / "new" / "file").touch()
    with alone_in(tmp_path / "unused"):
        assert (tmp_path / "unused").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_different_files_of_a_folder_are_locked_for_themselves(tmp_path: Path) -> None:
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    first.touch()
    second.touch()
    with alone_at(first), alone_at(second):
        with pytest.raises(ValueError, match=r"1\.jsonl: another run"), alone_at(first):
            pass
