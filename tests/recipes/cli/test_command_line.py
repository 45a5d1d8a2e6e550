"""The command's own output: version, usage errors, unexpected errors."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
from command import Run, names, process_state_restored, record

import qsep as package
from qsep.recipes.cli.main import main, take_switches
from qsep.recipes.errors import DEBUG, one_line, run_script


def test_the_version_is_printed(qsep: Run) -> None:
    done = qsep("--version")
    assert (done.code, done.out) == (0, f"qsep {package.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("separate",), "no recording: name one"),
        (("separate", "a.wav", "--louder"), "no such option"),
        (("seperate", "a.wav"), "no such command"),
        (("separate", "a.wav", "-q", "rain", "--candidates", "0"), "--candidates"),
    ],
)
def test_usage_errors_are_one_line_like_other_errors(
    qsep: Run, arguments: tuple[str, ...], message: str
) -> None:
    done = qsep(*arguments)
    assert done.code == 2
    assert message in done.error


def test_debug_may_stand_anywhere_before_two_dashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG, "")  # so that it is as before when the test ends
    monkeypatch.delenv(DEBUG)
    assert take_switches(["separate", "--", "--debug"]) == ["separate", "--", "--debug"]
    assert DEBUG not in os.environ
    assert take_switches(["separate", "--debug", "a", "--", "--debug"]) == [
        *("separate", "a", "--", "--debug")
    ]
    assert os.environ[DEBUG] == "1"


@pytest.mark.parametrize("closed", [["stderr"], ["stdout", "stderr"]])
def test_closed_streams_are_no_errors(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    closed: list[str],
) -> None:
    record(folder / "a.wav")
    for name in closed:  # what Python makes of `2>&-`
        monkeypatch.setattr(sys, name, None)
    command = ["qsep", "separate", "a.wav", "-q", "rain", "-m", str(tiny_model)]
    monkeypatch.setattr(sys, "argv", command)
    with process_state_restored(), pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert names(folder) == {"a.wav", "a.rain.wav"}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\n  b"), "a b"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x: No space left on device: free"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied"),
        (MemoryError(), "out of memory"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB."),
            "out of memory: close other",
        ),
        (KeyError("size"), "KeyError: 'size' (--debug shows the traceback)"),
        (ValueError(), "ValueError (--debug shows the traceback)"),
    ],
)
def test_any_error_is_one_line(error: Exception, line: str) -> None:
    assert one_line(error).startswith(line)
    assert "\n" not in one_line(error)


def test_a_scripts_bad_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise ValueError("clips.csv: no\nsuch file")

    with pytest.raises(SystemExit) as ended:
        run_script(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "qsep: error: clips.csv: no such file\n"
