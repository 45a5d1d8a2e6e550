"""qsep.separation.audio.reader: what is read is exact, and what cannot be read is named."""

import logging
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.separation.audio.ffmpeg import FfmpegSource
from qsep.separation.audio.reader import AudioError, AudioReader, read_mono

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="ffmpeg and ffprobe are not on PATH",
)
RATE = 11025


@pytest.fixture
def noise() -> np.ndarray:
    """(3, 6173), full scale and no multiple of a coarser step than 53 bits."""
    return np.random.default_rng(2).uniform(-1, 1, (3, 6173))


def stored(folder: Path, name: str, noise: np.ndarray, subtype: str | None = None) -> Path:
    soundfile.write(folder / name, noise.T, RATE, subtype=subtype)
    return folder / name


def ffmpeg(source: Path, result: Path, *options: str) -> Path:
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, *options, result], check=True)
    return result


def cut(path: Path, share: float) -> Path:
    """The file's first part, as after a broken download."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def read(path: Path) -> np.ndarray:
    with AudioReader(path) as reader:
        return reader.read()


@pytest.mark.parametrize(
    ("name", "subtype", "expected"),
    [
        ("a.wav", "PCM_U8", "PCM_U8"),
        ("a.wav", "PCM_16", "PCM_16"),
        ("a.wav", "PCM_24", "PCM_24"),
        ("a.wav", "PCM_32", "PCM_32"),
        ("a.wav", "FLOAT", "FLOAT"),
        ("a.wav", "DOUBLE", "DOUBLE"),
        ("a.wav", "ULAW", "PCM_16"),
        ("a.flac", "PCM_S8", "PCM_U8"),
        ("a.flac", "PCM_24", "PCM_24"),
        ("a.aiff", "PCM_32", "PCM_32"),
        ("a.caf", "ALAC_20", "PCM_24"),
    ],
)
def test_no_value_is_rounded(
    tmp_path: Path, noise: np.ndarray, name: str, subtype: str, expected: str
) -> None:
    path = stored(tmp_path, name, noise, subtype)
    with AudioReader(path) as reader:
        assert (reader.subtype, reader.sample_rate, reader.num_channels) == (expected, RATE, 3)
        exact = soundfile.read(path, dtype="float64")[0].T
        np.testing.assert_array_equal(reader.read(), exact)


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg"])
def test_lossy_files_are_read_as_16_bits_deep(tmp_path: Path, noise: np.ndarray, name: str) -> None:
    path = stored(tmp_path, name, noise[:2])
    with AudioReader(path) as reader:
        assert (reader.subtype, reader.num_channels) == ("PCM_16", 2)
        assert reader.read().shape[1] == soundfile.read(path)[0].shape[0]


def test_blocks_have_the_requested_size_except_the_last(tmp_path: Path, noise: np.ndarray) -> None:
    with AudioReader(stored(tmp_path, "a.wav", noise, "FLOAT")) as reader:
        blocks = list(reader.blocks(1000))
    assert [block.shape for block in blocks] == [(3, 1000)] * 6 + [(3, 173)]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), noise.astype(np.float32))


def test_the_format_is_read_from_the_content_not_the_extension(
    tmp_path: Path, noise: np.ndarray
) -> None:
    path = stored(tmp_path, "a.flac", noise, "PCM_16")
    exact = soundfile.read(path)[0].T
    np.testing.assert_array_equal(read(path.rename(tmp_path / "a.mp3")), exact)


def without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.wav", None, "does not exist: check the name"),
        ("empty.wav", b"", r"is empty \(0 bytes\): record or copy it again"),
        ("bytes.wav", np.random.default_rng(4).bytes(5000), "is not audio that libsndfile"),
        ("text.mp3", b"dear diary\n" * 100, "is not audio that libsndfile"),
        ("text.raw", b"dear diary\n" * 100, "is not audio that libsndfile"),
    ],
)
@pytest.mark.parametrize("has_ffmpeg", [False, pytest.param(True, marks=needs_ffmpeg)])
def test_a_file_that_is_not_audio_is_named_with_a_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes | None,
    message: str,
    has_ffmpeg: bool,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    if not has_ffmpeg:
        without_ffmpeg(monkeypatch)
    with pytest.raises(AudioError, match=f"{name} {message}") as caught:
        AudioReader(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_text_named_mp3_prints_no_library_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp3").write_bytes(b"dear diary\n" * 100)
    without_ffmpeg(monkeypatch)
    with pytest.raises(AudioError):
        AudioReader(tmp_path / "text.mp3")
    assert capfd.readouterr().err == ""  # libmpg123 complains there when it is asked


def test_without_ffmpeg_the_message_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " * 9)
    without_ffmpeg(monkeypatch)
    with pytest.raises(AudioError, match=r"a\.m4a .*apt install ffmpeg"):
        AudioReader(tmp_path / "a.m4a")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is a folder: name the recordings in it"):
        AudioReader(tmp_path)


def test_a_named_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AudioError, match="is not a regular file"):
        AudioReader(tmp_path / "pipe")


def test_a_file_without_read_permission_is_named(
    tmp_path: Path, noise: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path, "a.wav", noise)
    path.chmod(0)
    if os.access(path, os.R_OK):  # tests may run as root, so the refusal is simulated

        def refuse(self: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=r"cannot read .*a\.wav: Permission denied"):
        AudioReader(path)


def test_a_header_without_samples_is_no_audio(tmp_path: Path, noise: np.ndarray) -> None:
    path = stored(tmp_path, "a.wav", noise[:, :0])
    with pytest.raises(AudioError, match=r"a\.wav holds no audio: record or export it again"):
        read(path)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.mp3"])
def test_a_file_cut_short_is_read_to_its_end_with_a_warning(
    tmp_path: Path, noise: np.ndarray, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = read(stored(tmp_path, name, noise[:2]))
    assert caplog.text == ""
    part = read(cut(tmp_path / name, 0.6))
    length = part.shape[1]
    assert 0.3 * 6173 < length < 0.7 * 6173  # MP3 loses a frame or two more
    # A damaged MP3 is decoded by ffmpeg, whose floats are some 1e-5 off libmpg123's.
    np.testing.assert_allclose(part, whole[:, :length], atol=3e-5 if name == "a.mp3" else 0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    seconds = f"{length / RATE:.2f} s"
    assert f"{name}: the file ends earlier than its header says; {seconds}" in caplog.text


def test_a_wav_without_a_known_size_is_read_whole(
    tmp_path: Path, noise: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = stored(tmp_path, "a.wav", noise, "PCM_16")
    whole, content = read(path), bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"  # as ffmpeg writes to a pipe
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path), whole)
    assert caplog.text == ""


def test_a_damaged_flac_is_refused_with_the_position(tmp_path: Path) -> None:
    noise = np.random.default_rng(8).uniform(-1, 1, (2, 5 * RATE))
    path = cut(stored(tmp_path, "a.flac", noise), 0.6)
    with pytest.raises(AudioError, match=r"a\.flac is damaged after [23]\.\d s: copy it again"):
        with AudioReader(path) as reader:
            for _ in reader.blocks(1000):
                pass


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nan_sample_is_refused_with_its_time(
    tmp_path: Path, noise: np.ndarray, value: float
) -> None:
    noise[2, 4410] = value
    path = stored(tmp_path, "a.wav", noise, "FLOAT")
    with pytest.raises(AudioError, match=r"a\.wav holds a NaN or infinite sample at 0\.400 s"):
        with AudioReader(path) as reader:
            for _ in reader.blocks(1000):
                pass


@needs_ffmpeg
@pytest.mark.parametrize(
    ("codec", "subtype"),
    [
        ("pcm_u8", "PCM_U8"),
        ("pcm_s16le", "PCM_16"),
        ("pcm_s24le", "PCM_24"),
        ("flac", "PCM_24"),
        ("pcm_s32le", "PCM_32"),
        ("pcm_f32le", "FLOAT"),
        ("pcm_f64le", "DOUBLE"),
    ],
)
def test_lossless_audio_through_ffmpeg_is_exact(
    tmp_path: Path, noise: np.ndarray, codec: str, subtype: str
) -> None:
    source = stored(tmp_path, "a.wav", noise, subtype)
    path = ffmpeg(source, tmp_path / "a.mka", "-c:a", codec)
    with AudioReader(path) as reader:
        assert (reader.subtype, reader.sample_rate, reader.num_channels) == (subtype, RATE, 3)
        np.testing.assert_array_equal(reader.read(), read(source))


@needs_ffmpeg
def test_aac_decoded_by_ffmpeg_is_close_to_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)[None]
    ffmpeg(stored(tmp_path, "a.wav", tone), tmp_path / "-a.m4a")
    monkeypatch.chdir(tmp_path)
    with AudioReader("-a.m4a") as reader:  # a name that looks like an option
        decoded = reader.read()
        assert (reader.subtype, reader.sample_rate) == ("PCM_16", RATE)
    middle = slice(2000, 9000)
    # 0.05: one coefficient of AAC at 69 kbit/s may be off by a few per cent
    np.testing.assert_allclose(decoded[:, middle], tone[:, middle], atol=0.05)


@needs_ffmpeg
def test_only_the_sound_of_a_video_is_read(tmp_path: Path, noise: np.ndarray) -> None:
    source = stored(tmp_path, "a.wav", noise, "PCM_16")
    picture = ("-f", "lavfi", "-i", "testsrc=size=16x16:rate=5:duration=0.4")
    path = ffmpeg(source, tmp_path / "a.mkv", *picture, "-c:a", "pcm_s16le", "-c:v", "ffv1")
    np.testing.assert_array_equal(read(path), read(source))


@needs_ffmpeg
def test_a_playlist_is_refused(tmp_path: Path, noise: np.ndarray) -> None:
    stored(tmp_path, "private.wav", noise)
    (tmp_path / "a.mp3").write_text("ffconcat version 1.0\nfile private.wav\n")
    with pytest.raises(AudioError, match=r"a\.mp3 is not audio"):
        AudioReader(tmp_path / "a.mp3")


@needs_ffmpeg
def test_closing_early_ends_ffmpeg(tmp_path: Path, noise: np.ndarray) -> None:
    long = np.tile(noise, 50)  # more than a pipe holds
    path = ffmpeg(stored(tmp_path, "a.wav", long), tmp_path / "a.mka", "-c:a", "pcm_s16le")
    with AudioReader(path) as reader:
        next(reader.blocks(100))
        source = reader._source
        assert isinstance(source, FfmpegSource)
    assert source._process.poll() is not None


@needs_ffmpeg
def test_damage_that_ffmpeg_reports_is_a_warning(
    tmp_path: Path, noise: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = ffmpeg(stored(tmp_path, "a.wav", noise), tmp_path / "a.mka", "-c:a", "pcm_s16le")
    assert 0 < read(cut(path, 0.6)).shape[1] < 6173
    assert "a.mka: ffmpeg reports: " in caplog.text


def test_mono_at_another_rate_is_the_mean_resampled(tmp_path: Path, noise: np.ndarray) -> None:
    import soxr

    path = stored(tmp_path, "a.wav", noise)
    mono = soundfile.read(path)[0].mean(axis=1)
    np.testing.assert_allclose(
        read_mono(path, 8000), soxr.resample(mono, RATE, 8000, quality="HQ"), atol=1e-6
    )
    assert len(read_mono(path, RATE, max_seconds=0.5)) == round(0.5 * RATE)
