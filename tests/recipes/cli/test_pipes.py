"""`qsep separate - -o -`, and --quiet."""

import io
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
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


def test_the_wav_at_standard_output_equals_the_one_in_a_folder(
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


@pytest.mark.parametrize("options", [("--mono",), ("--nan", "zero"), ("--salvage",)])
def test_standard_input_is_read_with_the_options_of_files(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    samples = np.random.default_rng(4).uniform(-0.7, 0.7, (4001, 2)).astype(np.float32)
    samples[1600] = np.nan if "--nan" in options else 0
    soundfile.write(folder / "a.wav", samples, 8000, subtype="FLOAT")
    command = ("separate", "-q", "rain", *options, "-m", tiny_model)
    assert qsep(*command, "a.wav").code == 0
    sound, piped = io.BytesIO((folder / "a.wav").read_bytes()), io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=sound, isatty=lambda: False))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", io.TextIOWrapper(piped))
        assert qsep(*command, "-", "-o", "-").code == 0
        assert piped.getvalue() == (folder / "a.rain.wav").read_bytes()


def test_a_nan_sample_in_a_pipe_is_an_error_with_a_remedy(
    qsep: Run, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(folder / "a.wav", np.full(4001, np.nan), 8000, subtype="FLOAT")
    sound = io.BytesIO((folder / "a.wav").read_bytes())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=sound, isatty=lambda: False))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
        done = qsep("separate", "-", "-q", "rain", "-o", "-", "-m", tiny_model)
    assert done.code != 0
    assert "NaN or infinite sample after 0.000 s: repair it, or add --nan zero" in done.error


def test_results_of_standard_input_may_go_to_a_folder(
    qsep: Run, tiny_model: Path, folder: Path, piped: io.BytesIO
) -> None:
    done = qsep("separate", "-", "-q", "rain", "--residual", "-m", tiny_model, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert names(folder) == {"a.wav", "stdin.rain.wav", "stdin.rain.residual.wav"}


def test_results_and_errors_call_standard_input_by_that_name(
    qsep: Run, tiny_model: Path, folder: Path, piped: io.BytesIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("separate", "-", "-q", "rain", "-m", tiny_model, "--json", "-o", "out")
    (row,) = map(json.loads, qsep(*command).out.splitlines())
    assert (row["input"], row["files"]) == ("standard input", ["out/stdin.rain.wav"])
    for content, message in (
        (b"", "standard input is empty"),
        (b"hello\n", "standard input is not"),
    ):
        stdin = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", stdin)
        done = qsep(*command, "--overwrite")
        assert done.code == 1
        assert done.error.startswith(message)
        assert json.loads(done.out)["input"] == "standard input"
        assert str(folder) not in done.out + done.err


def test_warnings_call_standard_input_by_that_name(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    piped: io.BytesIO,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cut = (folder / "a.wav").read_bytes()[:-500]
    stdin = SimpleNamespace(buffer=io.BytesIO(cut), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)
    qsep("separate", "-", "-q", "rain", "-m", tiny_model)
    assert "standard input: the file ends earlier" in caplog.text
    assert str(folder) not in caplog.text


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


class Pipe(io.RawIOBase):
    """Standard input that gives a few bytes at a time, and records the output before each."""

    def __init__(self, data: bytes, sink: io.BytesIO, size: int = 3000) -> None:
        self.rest, self.sink, self.size, self.out = data, sink, size, [0]

    def read(self, most: int = -1) -> bytes:
        return self.read1(most if most >= 0 else len(self.rest))

    def read1(self, most: int = -1) -> bytes:
        self.out.append(len(self.sink.getvalue()))
        size = min(most, self.size) if most >= 0 else self.size
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("stated", [True, False])
def test_a_wav_is_streamed_through(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    subtype: str,
    stated: bool,
) -> None:
    monkeypatch.setattr("qsep.separation.inference.stream.MIN_SECONDS", 0.05)
    record(folder / "a.wav", 40001, num_channels=2, subtype=subtype)
    command = ("separate", "-q", "rain", "-m", tiny_model, "--quiet")
    assert qsep(*command, "a.wav").code == 0
    data = (folder / "a.wav").read_bytes()
    if not stated:
        position = data.index(b"data") + 4
        data = data[:position] + b"\xff\xff\xff\xff" + data[position + 4 :]
    sink = io.BytesIO()
    pipe = Pipe(data, sink)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", SimpleNamespace(buffer=pipe, isatty=lambda: False))
        patched.setattr(sys, "stdout", SimpleNamespace(buffer=sink, flush=sink.flush))
        assert qsep(*command, "-", "-o", "-").code == 0
    late = pipe.out[round(0.9 * len(pipe.out))]
    assert late > len(data) / 5  # before the last tenth is in
    expected = (folder / "a.rain.wav").read_bytes()
    actual = sink.getvalue()
    assert len(actual) == len(expected)
    if stated:
        size = expected.index(b"data") + 8
        assert actual[:size] == expected[:size]  # the header
    (folder / "found.wav").write_bytes(actual)
    one, other = (
        soundfile.read(folder / name, dtype="float64")[0] for name in ("found.wav", "a.rain.wav")
    )
    # Chunks of other lengths: float32 sums in another order, and so half a step of PCM, which may be rounded.
    step = {"PCM_U8": 2**-7, "PCM_16": 2**-15, "PCM_24": 2**-23}.get(subtype, 0)
    np.testing.assert_allclose(one, other, atol=1e-6 + step, rtol=0)


def test_other_formats_are_read_to_their_end_first(
    qsep: Run, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(folder / "a.flac", 3001)
    command = ("separate", "-q", "rain", "-m", tiny_model, "--quiet")
    assert qsep(*command, "a.flac").code == 0
    sink = io.BytesIO()
    pipe = Pipe((folder / "a.flac").read_bytes(), sink)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe, isatty=lambda: False))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", SimpleNamespace(buffer=sink, flush=sink.flush))
        assert qsep(*command, "-", "-o", "-").code == 0
    assert sink.getvalue() == (folder / "a.rain.wav").read_bytes()


@pytest.mark.parametrize(
    ("keep", "message"), [(44 + 2000, "ended after 0.12 s"), (44, "holds no audio")]
)
def test_what_arrived_through_a_truncated_pipe_is_separated_and_reported(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: int,
    message: str,
) -> None:
    data = record(folder / "a.wav", 3001).read_bytes()[:keep]
    sink = io.BytesIO()
    pipe = Pipe(data, sink)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe, isatty=lambda: False))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", SimpleNamespace(buffer=sink, flush=sink.flush))
        ended = qsep("separate", "-q", "rain", "-m", tiny_model, "-", "-o", "-")
    assert ended.code == 1
    assert message in ended.error
    assert len(sink.getvalue()) == keep + 36  # our headers have a chunk more
