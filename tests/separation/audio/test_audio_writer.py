"""qsep.separation.audio.writer: files are right, and complete or absent."""

import contextlib
import logging
import os
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.separation.audio.reader import AudioError
from qsep.separation.audio.writer import AudioWriter


@pytest.fixture
def waveform() -> np.ndarray:
    """(3, 1237): an odd number of bytes in 8 bits."""
    rng = np.random.default_rng(11)
    return rng.uniform(-0.9, 0.9, (3, 1237)).astype(np.float32)


def test_blocks_are_written_in_order_with_channels_in_place(
    tmp_path: Path, waveform: np.ndarray
) -> None:
    with AudioWriter(tmp_path / "a.wav", 11025, 3) as writer:
        for start in range(0, 1237, 500):
            writer.write(waveform[:, start : start + 500])
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_array_equal(samples.T, waveform)
    assert rate == 11025


def test_another_library_reads_the_same_header_and_samples(
    tmp_path: Path, waveform: np.ndarray
) -> None:
    with AudioWriter(tmp_path / "a.wav", 11025, 3, "PCM_16") as writer:
        writer.write(waveform)
    with wave.open(str(tmp_path / "a.wav")) as file:  # the standard library's
        assert file.getparams()[:4] == (3, 2, 11025, 1237)
        stored = np.frombuffer(file.readframes(2000), "<i2").reshape(-1, 3).T
    np.testing.assert_array_equal(stored, np.rint(waveform * 2**15))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT"])
def test_sizes_in_the_header_match_the_file(
    tmp_path: Path, waveform: np.ndarray, subtype: str
) -> None:
    path = tmp_path / "a.wav"
    with AudioWriter(path, 11025, 3, subtype) as writer:
        writer.write(waveform)
    content = path.read_bytes()
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    assert len(content) % 2 == 0
    with soundfile.SoundFile(path) as file:
        assert (file.format, file.subtype, file.frames) == ("WAV", subtype, 1237)
        assert "(should be" not in file.extra_info


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_a_file_beyond_32_bit_sizes_becomes_rf64(
    tmp_path: Path, waveform: np.ndarray, subtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsep.separation.audio.writer.RIFF_LIMIT", 5000)
    with AudioWriter(tmp_path / "a.wav", 11025, 3, subtype) as writer:
        writer.write(waveform)
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert (file.format, file.frames) == ("RF64", 1237)
        # half a step of 24 bits
        np.testing.assert_allclose(file.read().T, waveform, atol=2**-24, rtol=0)


@pytest.mark.parametrize("interrupt", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupt_leaves_no_file(
    tmp_path: Path, waveform: np.ndarray, interrupt: type[BaseException]
) -> None:
    with pytest.raises(interrupt), AudioWriter(tmp_path / "a.wav", 11025, 3) as writer:
        writer.write(waveform)
        raise interrupt
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_the_older_file_as_it_was(tmp_path: Path, waveform: np.ndarray) -> None:
    (tmp_path / "a.wav").write_bytes(b"older")
    with pytest.raises(RuntimeError), AudioWriter(tmp_path / "a.wav", 11025, 3) as writer:
        writer.write(waveform)
        raise RuntimeError
    assert (tmp_path / "a.wav").read_bytes() == b"older"


def test_the_file_appears_under_its_name_only_when_complete(
    tmp_path: Path, waveform: np.ndarray
) -> None:
    with AudioWriter(tmp_path / "a.wav", 11025, 3) as writer:
        writer.write(waveform)
        assert not (tmp_path / "a.wav").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are a matter of POSIX")
def test_the_file_has_the_default_permissions(tmp_path: Path, waveform: np.ndarray) -> None:
    with AudioWriter(tmp_path / "a.wav", 11025, 3) as writer:
        writer.write(waveform)
    (tmp_path / "other").touch()
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_nan_sample_is_refused_with_its_time(
    tmp_path: Path, waveform: np.ndarray, subtype: str, value: float
) -> None:
    broken = waveform.copy()
    broken[1, 441] = value
    with pytest.raises(AudioError, match=r"a\.wav: .* at 0\.152 s"):  # (1237 + 441) / 11025
        with AudioWriter(tmp_path / "a.wav", 11025, 3, subtype) as writer:
            writer.write(waveform)
            writer.write(broken)
    assert list(tmp_path.iterdir()) == []


def test_a_value_beyond_float32_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="infinite"), AudioWriter(tmp_path / "a.wav", 8000, 1) as w:
        w.write(np.array([[0.0, 1e300]]))


@contextlib.contextmanager
def small_disk() -> Iterator[None]:
    """Files may have 3,000 bytes: like a full disk, an error of the operating system.

    Not a fixture: pytest prints before it takes fixtures down, perhaps to a longer file.
    """
    resource = pytest.importorskip("resource", reason="this system has no limits on file sizes")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("num_samples", [300, 1237], ids=["on close", "on write"])
def test_a_full_disk_gives_one_line_and_leaves_no_file(
    tmp_path: Path, waveform: np.ndarray, num_samples: int
) -> None:
    with pytest.raises(AudioError, match=r"cannot write .*a\.wav: File too large: free space"):
        with small_disk(), AudioWriter(tmp_path / "a.wav", 11025, 3) as writer:
            writer.write(waveform[:, :num_samples])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/a.wav", "", "file/a.wav"])
def test_an_unwritable_path_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AudioError, match=r"cannot write .*choose another"):
        with AudioWriter(tmp_path / name, 11025, 3):
            pass


def test_clipped_samples_are_counted_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with AudioWriter(tmp_path / "a.wav", 8000, 2, "PCM_16") as writer:
        writer.write(np.array([[0.5, 1.3, 1.0], [-1.1, 0, 0]]))
        writer.write(np.array([[0.5], [-1.2]]))
    assert writer.num_clipped == 3
    assert writer.peak == pytest.approx(1.3, rel=1e-6)  # float32
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "a.wav: 3 samples beyond full scale were clipped (peak 1.30)" in caplog.text


def test_float_files_keep_samples_beyond_full_scale(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with AudioWriter(tmp_path / "a.wav", 8000, 1, "FLOAT") as writer:
        writer.write(np.array([[1.5, -7.0]]))
    assert soundfile.read(tmp_path / "a.wav")[0].tolist() == [1.5, -7.0]
    assert caplog.text == ""


def test_a_block_of_another_shape_is_refused(tmp_path: Path, waveform: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected \(3, t\), got \(1237, 3\)"):
        with AudioWriter(tmp_path / "a.wav", 11025, 3) as writer:
            writer.write(waveform.T)


def test_only_old_temporary_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    old, recent = tmp_path / ".qsep-1-0a.part", tmp_path / ".qsep-2-0b.part"
    for part in (old, recent):
        part.touch()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    with AudioWriter(tmp_path / "a.wav", 8000, 1):
        pass
    assert (old.exists(), recent.exists()) == (False, True)
