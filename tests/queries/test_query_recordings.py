"""Example recordings of queries are read by the reader of all recordings."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.queries.interface import AudioQuery, MixedQuery, TextQuery
from qsep.queries.media import read_recording
from qsep.separation.audio.examples import decodable

RATE = 11025


def stored(path: Path, num_samples: int = 20011) -> Path:
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / RATE)
    soundfile.write(path, np.stack([tone, 0 * tone], axis=1), RATE)
    return path


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on PATH")
def test_an_example_may_be_of_any_format(tmp_path: Path) -> None:
    wav = stored(tmp_path / "memo.wav")
    memo = tmp_path / "memo.m4a"
    subprocess.run(["ffmpeg", "-v", "error", "-i", wav, memo], check=True)
    query = decodable(AudioQuery(memo))
    assert isinstance(query, AudioQuery)
    samples = read_recording(query.examples[0], RATE)
    assert abs(len(samples) - 20011) < 2048  # AAC pads
    level = float(np.square(samples[3000:17000]).mean())
    assert level == pytest.approx((0.4 / 2) ** 2 / 2, rel=0.05)  # the mean of a tone and silence


def test_only_the_first_seconds_are_read(tmp_path: Path) -> None:
    query = decodable(AudioQuery(stored(tmp_path / "a.wav")))
    assert isinstance(query, AudioQuery)
    plain = read_recording(AudioQuery(tmp_path / "a.wav").examples[0], RATE, max_seconds=0.7)
    np.testing.assert_allclose(read_recording(query.examples[0], RATE, 0.7), plain, atol=1e-7)


def test_a_resampled_example_is_not_longer_than_the_maximum() -> None:
    """0.1001 s are 801 samples at 8 kHz, rounded up, and of these 6 times as many at 48 kHz one too many."""
    query = AudioQuery(np.linspace(-0.5, 0.5, 2000), sample_rate=8000)
    assert len(read_recording(query.examples[0], 48000, max_seconds=0.1001)) == 4805


def test_decoding_keeps_queries_equal(tmp_path: Path) -> None:
    query = AudioQuery(stored(tmp_path / "a.wav"))
    mixed = MixedQuery("rain", query, weights=[1, 3])
    assert decodable(query) == query
    assert repr(decodable(query)) == repr(query)  # by which the cache knows it
    assert decodable(mixed) == mixed
    assert decodable(TextQuery("rain")) == TextQuery("rain")


def test_a_file_that_is_no_recording_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pointer.wav"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    query = decodable(AudioQuery(path))
    assert isinstance(query, AudioQuery)
    with pytest.raises(ValueError, match=r"pointer\.wav is not audio"):
        read_recording(query.examples[0], RATE)
