"""`qsep separate` when something goes wrong underway: bad files, interrupts, a killed process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import STUB, Run, names, record

import qsep.separation.api as api
from qsep.queries.cache import CachedEncoder
from qsep.queries.encoders import minilm
from qsep.queries.interface import TextQuery


def spoil(path: Path, how: str) -> Path:
    if how == "text":
        path.write_text("not audio at all, but words of some length\n" * 20)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no samples":
        soundfile.write(path, np.zeros((0, 1)), 8000)
    else:
        values = np.full(3000, 0.1)
        values[2500] = {"NaN": np.nan, "infinite": np.inf}[how]
        soundfile.write(path, values, 8000, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("text", "b.wav is not audio that libsndfile"),
        ("empty", "b.wav is empty (0 bytes)"),
        ("no samples", "b.wav holds no audio"),
        ("NaN", "b.wav holds a NaN or infinite sample at 0.31"),
        ("infinite", "b.wav holds a NaN or infinite sample at 0.31"),
    ],
)
def test_one_bad_file_is_named_and_the_others_are_done(
    qsep: Run, tiny_model: Path, folder: Path, how: str, message: str
) -> None:
    for name in ("a.wav", "c.wav"):
        record(folder / name)
    spoil(folder / "b.wav", how)
    done = qsep("separate", "a.wav", "b.wav", "c.wav", "-q", "rain", "-o", "out", "-m", tiny_model)
    assert done.code == 1
    assert message in done.error
    assert names(folder / "out") == {"a.rain.wav", "c.rain.wav"}
    assert len(done.out.splitlines()) == 2


def test_json_has_a_line_for_a_bad_file_too(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav")
    spoil(folder / "b.wav", "empty")
    done = qsep("separate", "b.wav", "a.wav", "-q", "rain", "--json", "-m", tiny_model)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert [row["input"] for row in rows] == ["b.wav", "a.wav"]
    assert "b.wav is empty" in rows[0]["error"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_nan_of_the_model_is_an_error_and_never_written(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    subtype: str,
) -> None:
    record(folder / "a.wav", 4000, subtype=subtype)
    record(folder / "b.wav", 5000, subtype=subtype)
    original = api.Model.separate_blocks

    def separate_blocks(self: api.Model, *arguments: Any, **options: Any) -> Iterator[Any]:
        for mixture, targets in original(self, *arguments, **options):
            if mixture.shape[-1] == 4000:
                targets[0, 0, 2000] = value
            yield mixture, targets

    monkeypatch.setattr(api.Model, "separate_blocks", separate_blocks)
    inputs = ("a.wav", "b.wav")
    done = qsep("separate", *inputs, "-q", "rain", "--residual", "-o", "out", "-m", tiny_model)
    assert done.code == 1
    assert "the sound is NaN or infinite at 0.250 s: try another model or device" in done.error
    assert "a.wav" in done.error
    assert names(folder / "out") == {"b.rain.wav", "b.rain.residual.wav"}
    with pytest.raises(ValueError, match="NaN or infinite samples of this recording"):
        api.load(tiny_model).separate(folder / "a.wav", "rain")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_in_the_middle_leaves_no_partial_file(
    qsep: Run, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    record(folder / "a.wav")
    unfinished: list[str] = []
    original = api.Model.separate_blocks

    def separate_blocks(self: api.Model, *arguments: Any, **options: Any) -> Iterator[Any]:
        yield from original(self, *arguments, **options)
        unfinished.extend(path.suffix for path in (folder / "out").iterdir())
        os.kill(os.getpid(), number)

    monkeypatch.setattr(api.Model, "separate_blocks", separate_blocks)
    done = qsep("separate", "a.wav", "-q", "rain", "--residual", "-o", "out", "-m", tiny_model)
    assert done.code == 128 + number
    assert done.err == "qsep: interrupted\n"
    assert unfinished == [".part"]  # a folder with both
    assert names(folder) == {"a.wav"}


# A process of its own


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    path = os.pathsep.join(part for part in sys.path if part)
    command = [sys.executable, "-m", "qsep.recipes", *map(str, arguments)]
    return subprocess.Popen(
        command,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def known_query() -> None:
    """The embedding of "rain" lies in the cache, so no encoder is loaded."""
    encoder = minilm.build(minilm.Config())
    query = TextQuery("rain")
    row = STUB.encode([query]).pooled.numpy().tobytes()
    CachedEncoder(encoder).write({query: row})


@pytest.mark.usefixtures("known_query")
def test_the_command_separates_as_the_functions_do(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav", 12345, 44100, 2, "PCM_24")
    process = start("separate", "a.wav", "-q", "rain", "-o", "one", "-m", tiny_model)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert out.startswith("one/a.rain.wav  0.3 s, ")
    assert qsep("separate", "a.wav", "-q", "rain", "-o", "two", "-m", tiny_model).code == 0
    assert names(folder / "one") == names(folder / "two") == {"a.rain.wav"}
    first, second = (soundfile.read(folder / name / "a.rain.wav")[0] for name in ("one", "two"))
    # Two of 24 bits' steps: another process may compute with another number of threads.
    np.testing.assert_allclose(first, second, atol=2 / 2**23, rtol=0)


@pytest.mark.usefixtures("known_query")
def test_a_terminated_command_leaves_no_partial_file(tiny_model: Path, folder: Path) -> None:
    soundfile.write(folder / "a.wav", np.zeros(30 * 60 * 8000, np.int16), 8000)
    process = start("separate", "a.wav", "-q", "rain", "-o", "out", "-m", tiny_model)
    while process.poll() is None and not list(folder.glob("out/.*.part")):
        time.sleep(0.005)
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert err.splitlines()[-1] == "qsep: interrupted"
    assert names(folder) == {"a.wav"}
