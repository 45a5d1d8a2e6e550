"""qsep.separation.storage.temporary: whole files, and nothing of the dead."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qsep.separation.storage.temporary import (
    machine,
    remove_leftovers,
    start_of,
    temporary_path,
    write_atomically,
)


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("hidden", [True, False])
def test_files_of_dead_processes_are_removed_and_those_of_living_ones_kept(
    tmp_path: Path, hidden: bool
) -> None:
    pid = os.getpid()
    living = temporary_path(tmp_path, hidden)
    dot = "." if hidden else ""
    assert living.name.startswith(f"{dot}qsep-")
    parent = tmp_path / f"{dot}qsep-{machine()}-{os.getppid()}-{start_of(os.getppid())}-00.part"
    elsewhere = tmp_path / f"{dot}qsep-other0machine-{dead_process()}-7-00ff.part"
    users = tmp_path / f"{dot}qsep-notes.part"
    dead = [
        tmp_path / f"{dot}qsep-{machine()}-{dead_process()}-7-00ff.part",
        tmp_path / f"{dot}qsep-{machine()}-{pid}-{start_of(pid) + 1}-00ff.part",  # had our number
        tmp_path / f"{dot}qsep-{machine()}-{10**30}-7-00ff.part",
    ]
    for path in (living, parent, elsewhere, users, *dead[:2]):
        path.touch()
    dead[2].mkdir()
    (dead[2] / "weights").touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([living, parent, elsewhere, users])


def test_the_scratch_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from qsep.separation.storage.temporary import scratch_folder
with scratch_folder() as folder:
    (folder / "recording").write_bytes(bytes(7))
    if sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGKILL)
    print(sorted(os.listdir(folder.parent)) == [folder.name], oct(folder.stat().st_mode & 0o777))
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", code, "kill"], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert len([*tmp_path.rglob("recording")]) == 1
    following = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert following.stdout == "True 0o700\n", following.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_of_other_machines_are_removed_after_a_day(tmp_path: Path) -> None:
    old = [tmp_path / ".qsep-elsewhere-1-7-00ff.part", tmp_path / ".qsep-1-00ff.part"]
    for path in old:
        path.touch()
        os.utime(path, (0, time.time() - 25 * 3600))
    younger = tmp_path / ".qsep-elsewhere-2-7-00ff.part"
    younger.touch()
    os.utime(younger, (0, time.time() - 23 * 3600))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [younger]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_is_written_whole_or_kept(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "new folder" / "a"
    write_atomically(path, lambda file: file.write_text("first"))

    def fail(file: Path) -> None:
        file.write_text("half")
        raise error

    with pytest.raises(error):
        write_atomically(path, fail)
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["a"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), r"No space left on device: '.*/a'"),
        (OSError(28, "No space left on device", "x.part"), r"No space left on device: '.*/a'"),
        (
            RuntimeError("unexpected pos 64\nmore"),
            r"/a: cannot be written: free space on the disk, or choose another folder$",
        ),
        (FileNotFoundError(2, "No such file", "source.wav"), r"No such file.*: 'source.wav'"),
    ],
)
def test_errors_of_writing_name_the_file_and_not_its_temporary_name(
    tmp_path: Path, error: Exception, message: str
) -> None:
    def fail(file: Path) -> None:
        raise error

    with pytest.raises(OSError, match=message):
        write_atomically(tmp_path / "a", fail)


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a"
    before = os.umask(0o027)
    try:
        write_atomically(path, lambda file: file.write_text("a"))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
