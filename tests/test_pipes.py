"""`qsep separate - -o -`, and --quiet."""

import io
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from command import Run, names, record


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch, folder: Path) -> io.BytesIO:
    """A recording at standard input; returns what arrives at standard output."""
    sound = io.BytesIO(record(folder / "a.wav").read_bytes())
    stdin = SimpleNamespace(buffer=sound, isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)
    (folder / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    return io.BytesIO()


def test_the_wav_at_standard_output_is_the_one_that_a_folder_would_get(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    piped: io.BytesIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ("separate", "-q", "rain", "-m", tiny_model)
    assert qsep(*command, "a.wav").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", io.TextIOWrapper(piped))
        assert qsep(*command, "-", "-o", "-").code == 0
        assert piped.getvalue() == (folder / "a.rain.wav").read_bytes()
    assert names(folder) == {"a.wav", "a.rain.wav"}  # no temporary file is left


def test_results_of_standard_input_may_go_to_a_folder(
    qsep: Run, tiny_model: Path, folder: Path, piped: io.BytesIO
) -> None:
    done = qsep("separate", "-", "-q", "rain", "--residual", "-m", tiny_model, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert names(folder) == {"a.wav", "stdin.rain.wav", "stdin.rain.residual.wav"}


@pytest.mark.parametrize(
    "arguments",
    [("-q", "rain", "-q", "dog"), ("-q", "rain", "--residual"), ("-q", "rain", "b.wav")],
)
def test_standard_output_takes_one_sound(
    qsep: Run, folder: Path, piped: io.BytesIO, arguments: tuple[str, ...]
) -> None:
    assert "-o - writes one sound" in qsep("separate", "-", "-o", "-", *arguments).error
    both = qsep("separate", "-", "-o", "-", "-q", "rain", "--json")
    assert "both write to standard output" in both.error
    assert names(folder) == {"a.wav"}
