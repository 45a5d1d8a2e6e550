"""libmpg123's messages about damaged MP3 files do not reach the terminal; those of others do."""

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.separation.audio.mpg123 import without_messages
from qsep.separation.audio.reader import AudioError, read_mono

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="ffmpeg and ffprobe are not on PATH",
)
RATE = 8000


def noise(num_samples: int, num_channels: int) -> np.ndarray:
    """(t, c)"""
    return np.random.default_rng(1).uniform(-0.5, 0.5, (num_samples, num_channels))


@pytest.mark.parametrize("has_ffmpeg", [False, pytest.param(True, marks=needs_ffmpeg)])
@pytest.mark.parametrize(
    "damage", ["zeros after it", "a single frame", "noise in it", "half of it"]
)
def test_libmpg123_prints_nothing_about_a_damaged_mp3(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    damage: str,
    has_ffmpeg: bool,
) -> None:
    """The first two damages were found by the soak; ffmpeg refuses both."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(6011, 2), RATE, format="MP3")
    content = path.read_bytes()
    path.write_bytes(
        {
            "zeros after it": content + bytes(40),
            "a single frame": content[:72] + bytes([255, 227, 72, 100]) + noise(500, 1).tobytes(),
            "noise in it": content[:900] + noise(50, 1).tobytes() + content[900:],
            "half of it": content[: len(content) // 2],
        }[damage]
    )
    if not has_ffmpeg:
        monkeypatch.setattr("shutil.which", lambda name: None)
    with contextlib.suppress(AudioError):
        read_mono(path, RATE)
    assert capfd.readouterr().err == ""


def test_what_others_print_while_an_mp3_is_decoded_is_kept(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError, match="as well"), without_messages():
        os.write(
            2, b"Note: Trying to resync...\nqsep: 3 files done\n\nWarning: Real sample count\n"
        )
        os.write(
            2, b"[src/libmpg123/parse.c:do_readahead():1083] warning: Cannot read next header\n"
        )
        raise ValueError("as well")
    assert capfd.readouterr().err == "qsep: 3 files done\n"
