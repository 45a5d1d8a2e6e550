"""The command's own output: version, usage errors, unexpected errors."""

from __future__ import annotations

import errno
import os

import pytest
from command import Run

import qsep as package
from qsep.recipes.cli.main import take_switches
from qsep.recipes.errors import DEBUG, one_line


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


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\n  b"), "a b"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x: No space left on device: free"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied"),
        (MemoryError(), "out of memory"),
        (KeyError("size"), "KeyError: 'size' (--debug shows the traceback)"),
        (ValueError(), "ValueError (--debug shows the traceback)"),
    ],
)
def test_any_error_is_one_line(error: Exception, line: str) -> None:
    assert one_line(error).startswith(line)
    assert "\n" not in one_line(error)
