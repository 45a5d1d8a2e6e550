"""Standard streams that nobody reads any more."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import names, record

from qsep.recipes.cli.streams import READER_LEFT, prepare_streams, watched


def left_pipe() -> int:
    """The end of a pipe to write to, whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def ended(*words: str, both: bool = False) -> tuple[int, bytes]:
    """Exit code, and standard error unless `both` streams have no reader, of a command with nobody reading
    what it prints."""
    writer = left_pipe()
    stderr = writer if both else subprocess.PIPE
    done = subprocess.run(
        [sys.executable, "-m", "qsep", *words], stdout=writer, stderr=stderr, timeout=300
    )
    os.close(writer)
    return done.returncode, done.stderr or b""


@pytest.mark.parametrize("buffered", [True, False])
def test_a_stream_whose_reader_left_ends_the_command_and_later_writes_go_nowhere(
    buffered: bool,
) -> None:
    raw = io.FileIO(left_pipe(), "wb")
    before = io.TextIOWrapper(io.BufferedWriter(raw) if buffered else raw)
    stream = watched(before)
    stream.write("a")
    with pytest.raises(SystemExit) as stopped:
        stream.flush()
    assert stopped.value.code == READER_LEFT
    stream.write("b")
    stream.flush()


def test_streams_that_are_no_files_or_a_callers_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    assert watched(stream) is stream
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        prepare_streams()
        assert sys.stdout is file
        assert file.errors == "backslashreplace"


@pytest.mark.parametrize("words", [("--help",), ("models", "list"), ("separate", "--help")])
def test_a_command_whose_output_nobody_reads_ends_quietly_as_by_sigpipe(
    words: tuple[str, ...],
) -> None:
    assert ended(*words) == (READER_LEFT, b"")


def test_an_error_that_nobody_reads_ends_the_command_likewise() -> None:
    assert ended("models", "info", "none", both=True) == (READER_LEFT, b"")


def test_recordings_separated_before_the_reader_left_are_whole(tmp_path: Path) -> None:
    recordings = [str(record(tmp_path / f"{name}.wav", 8000)) for name in "abc"]
    code, stderr = ended("separate", *recordings, "-q", "rain", "-o", str(tmp_path / "out"))
    assert (code, b"error" in stderr) == (READER_LEFT, False)
    assert names(tmp_path / "out") == {"a.rain.wav"}
