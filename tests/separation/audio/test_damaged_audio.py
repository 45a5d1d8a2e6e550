"""qsep.separation.audio.reader: what is in a file, not what its header says, and one line for the rest."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile

from qsep.separation.audio import ffmpeg
from qsep.separation.audio.reader import AudioError, AudioReader

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="ffmpeg and ffprobe are not on PATH",
)
RATE = 11025


def noise(num_samples: int, num_channels: int = 2, seed: int = 1) -> np.ndarray:
    """(t, c)"""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (num_samples, num_channels))


def stored(
    path: Path, num_samples: int, subtype: str = "PCM_16", rate: int = RATE, seed: int = 1
) -> Path:
    soundfile.write(path, noise(num_samples, seed=seed), rate, subtype=subtype)
    return path


def encoded(folder: Path, name: str, num_samples: int, seed: int = 1, rate: int = RATE) -> Path:
    """By soundfile where it writes the format, else by ffmpeg."""
    path = folder / name
    if path.suffix in (".wav", ".flac", ".aiff", ".caf", ".au", ".w64", ".voc", ".nist"):
        return stored(path, num_samples, rate=rate, seed=seed)
    path.write_bytes(by_ffmpeg(path.suffix, num_samples, seed, rate))
    return path


@cache
def by_ffmpeg(suffix: str, num_samples: int, seed: int, rate: int, *options: str) -> bytes:
    """What ffmpeg makes of `stored` samples; several tests read the same."""
    with TemporaryDirectory() as scratch:
        wav = stored(Path(scratch) / "a.wav", num_samples, rate=rate, seed=seed)
        path = wav.with_name(f"b{suffix}")
        subprocess.run(["ffmpeg", "-v", "error", "-i", wav, *options, path], check=True)
        return path.read_bytes()


def read(path: Path) -> np.ndarray:
    with AudioReader(path) as reader:
        return reader.read()


def patched(path: Path, position: int, content: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(content)
    return path


def data_offset(path: Path, name: bytes = b"data") -> int:
    """Where the samples of a WAV file begin."""
    return path.read_bytes().index(name) + 8


JOINABLE = ["wav", "flac", "aiff", "caf", "au", "w64"]
BY_FFMPEG = ["ogg", "opus", "mp3", "m4a", "wma"]


@pytest.mark.parametrize(
    "ending", [*JOINABLE, *(pytest.param(name, marks=needs_ffmpeg) for name in BY_FFMPEG)]
)
def test_recordings_joined_end_to_end_are_read_whole(tmp_path: Path, ending: str) -> None:
    parts = [
        encoded(tmp_path, f"{number}.{ending}", 20011 + 7000 * number, seed=number)
        for number in range(3)
    ]
    joined = tmp_path / f"joined.{ending}"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    each = [read(part) for part in parts]
    assert all(part.shape[1] > 19000 for part in each)
    np.testing.assert_array_equal(read(joined), np.concatenate(each, axis=1))


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["wav", "ogg", "mp3", "flac"])
def test_a_joined_recording_of_another_rate_is_brought_to_the_first(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = encoded(tmp_path, f"a.{ending}", 22050, rate=22050)
    second = encoded(tmp_path, f"b.{ending}", 48000, rate=48000)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with caplog.at_level(logging.WARNING):
        samples = read(first)
    assert abs(samples.shape[1] - 2 * 22050) < 1200  # MP3 begins with silence of its encoder
    assert "changes to 2 channels at 48000 Hz after 1.0" in caplog.text


def test_without_ffmpeg_a_change_of_rate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    first = stored(tmp_path / "a.wav", 5000)
    second = stored(tmp_path / "b.wav", 5000, rate=8000)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(
        AudioError, match=r"a.wav changes to 2 channels at 8000 Hz after 0.45 s.*split"
    ):
        read(first)


@pytest.mark.parametrize("claim", [0, 4000, 40000])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_a_wav_whose_header_states_too_small_a_size_is_read_to_its_end(
    tmp_path: Path, claim: int, subtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = stored(tmp_path / "a.wav", 20011, subtype)
    expected = read(path)
    offset = data_offset(path)
    with caplog.at_level(logging.WARNING):
        samples = read(patched(path, offset - 4, struct.pack("<I", claim)))
    # Float and double files of soundfile end with a PEAK chunk before their samples, none after.
    np.testing.assert_array_equal(samples, expected)
    assert "the header says less than the file holds" in caplog.text


@pytest.mark.parametrize(
    ("name", "mark", "subtype", "endian"),
    [
        ("a.aiff", b"SSND", "PCM_24", "FILE"),
        ("a.aiff", b"SSND", "PCM_16", "LITTLE"),
        ("a.aiff", b"SSND", "PCM_S8", "FILE"),
        ("a.caf", b"data", "PCM_16", "FILE"),
        ("a.caf", b"data", "FLOAT", "LITTLE"),
        ("a.au", b"", "PCM_16", "FILE"),
        ("a.au", b"", "PCM_32", "LITTLE"),
        ("a.w64", b"data", "PCM_24", "FILE"),
        ("a.wav", b"data", "PCM_24", "BIG"),
    ],
)
def test_other_headers_with_too_small_a_size_are_read_to_the_end(
    tmp_path: Path, name: str, mark: bytes, subtype: str, endian: str
) -> None:
    path = tmp_path / name
    soundfile.write(path, noise(20011), RATE, subtype=subtype, endian=endian)
    expected = read(path)
    content = path.read_bytes()
    if name.endswith(".au"):
        position, size = 8, struct.pack(">I" if content[:4] == b".snd" else "<I", 6000)
    elif name.endswith(".w64"):
        position, size = content.index(mark) + 16, struct.pack("<Q", 6000 + 24)
    elif name.endswith(".caf"):
        position, size = content.index(mark) + 4, struct.pack(">Q", 6000 + 4)
    else:
        order = "<" if content[:4] == b"RIFF" else ">"
        position, size = content.index(mark) + 4, struct.pack(f"{order}I", 6000)
    np.testing.assert_array_equal(read(patched(path, position, size)), expected)


def test_sizes_that_overflowed_are_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = stored(tmp_path / "a.wav", 20011)
    start = read(path)
    offset = data_offset(path)
    num_bytes = 2**32 + 400_000
    os.truncate(path, offset + num_bytes)  # sparse: the rest is silence
    patched(path, offset - 4, struct.pack("<I", num_bytes % 2**32))
    with AudioReader(path) as reader, caplog.at_level(logging.WARNING):
        assert reader.claimed_samples == num_bytes // 4
        blocks = reader.blocks(20011)
        np.testing.assert_array_equal(next(blocks), start)
        assert not next(blocks).any()
    with AudioReader(path) as reader:
        end = list(reader.blocks(1 << 16, start=num_bytes // 4 - 1234))
    assert sum(block.shape[1] for block in end) == 1234


def test_riff_chunks_after_the_samples_are_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = stored(tmp_path / "a.wav", 20011)
    expected = read(path)
    for after in (
        b"LIST\x06\0\0\0INFO\0\0",
        b"LIST\x06\0\0\0INFO\0\0id3 \x02\0\0\0ab",
        b"\0" * 300,
        b"TAG" + b"x" * 125,
    ):
        other = tmp_path / "b.wav"
        other.write_bytes(path.read_bytes() + after)
        np.testing.assert_array_equal(read(other), expected)
    assert not caplog.records


@needs_ffmpeg
@pytest.mark.parametrize(
    "ending", ["ogg", "opus", "mp3", "wav", "aiff", "caf", "w64", "au", "m4a", "voc", "nist"]
)
@pytest.mark.parametrize("share", [0.31, 0.5, 0.97])
def test_a_file_that_was_cut_is_read_to_its_end_with_a_warning(
    tmp_path: Path, ending: str, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    if ending == "m4a":  # with its table of contents in front
        path = tmp_path / "a.m4a"
        path.write_bytes(by_ffmpeg(".m4a", 10 * RATE, 1, RATE, "-movflags", "faststart"))
    else:
        path = encoded(tmp_path, f"a.{ending}", 10 * RATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with caplog.at_level(logging.WARNING):
        with AudioReader(path) as reader:
            seconds = reader.read().shape[1] / reader.sample_rate
    assert abs(seconds - 10 * share) < 1.6  # pages of Ogg last a second
    assert len(caplog.records) == 1
    assert f"{seconds:.2f} s of audio were read" in caplog.text


@needs_ffmpeg
def test_a_frame_count_that_is_too_small_does_not_end_an_mp3(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = encoded(tmp_path, "a.mp3", 10 * RATE)
    at = path.read_bytes().index(b"Xing" if b"Xing" in path.read_bytes() else b"Info")
    with caplog.at_level(logging.WARNING):
        samples = read(patched(path, at + 8, struct.pack(">I", 40)))
    assert abs(samples.shape[1] / RATE - 10) < 0.2
    assert "the header says less than the file holds" in caplog.text
    assert capfd.readouterr() == ("", "")  # nothing of libmpg123's own


def caf_of(num_channels: int, rate: float) -> bytes:
    description = struct.pack(
        ">d4sIIIII", rate, b"lpcm", 0, 2 * num_channels % 2**32, 1, num_channels, 16
    )
    body = b"desc" + struct.pack(">Q", 32) + description
    return b"caff\0\1\0\0" + body + b"data" + struct.pack(">QI", 4 + 4000, 0) + bytes(4000)


def wav_of(num_channels: int, rate: int) -> bytes:
    frame = 2 * num_channels
    fmt = struct.pack("<HHIIHH", 1, num_channels, rate, rate * frame % 2**32, frame % 2**16, 16)
    body = (
        b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", 8000) + bytes(8000)
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "content",
    [
        caf_of(15_000_000, 44100.0),
        caf_of(1, 1e300),
        caf_of(1, float("nan")),
        wav_of(1, 1),
        wav_of(1, 10),
        wav_of(1, 999),
        wav_of(1, 768_001),
        wav_of(1025, 8000),
        wav_of(0, 8000),
        wav_of(1, 2**32 - 1),
        b"",
        b"RIFF",
        b"OggS" + bytes(40),
        b"fLaC",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
        b"\xff\xfb\x90\x00" * 9,
        b".snd\xff\xff\xff\xff" + bytes(30),
        b"caff\0\1\0\0desc" + b"\xff" * 40,
        b"\0\0\0\0ftypisom" + bytes(20),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        b"<!DOCTYPE html><title>Not found</title>",
    ],
)
def test_a_file_that_is_no_recording_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "this.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        read(path)
    assert "this.wav" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("num_channels", "rate"), [(1, 1000), (1024, 8000), (3, 768_000)])
def test_files_at_the_limits_are_read(tmp_path: Path, num_channels: int, rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(5003, num_channels), rate)
    with AudioReader(path) as reader:
        blocks = list(reader.blocks(1 << 17))
    assert sum(block.shape[1] for block in blocks) == 5003
    assert max(block.size for block in blocks) <= 1 << 22


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("a\nb"), struct.error("x"), KeyError(1)]
)
def test_any_library_error_is_one_line_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = stored(tmp_path / "a.wav", 3000)

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(AudioError, match=r"a.wav cannot be read \(") as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1


@needs_ffmpeg
def test_a_broken_ffmpeg_is_named_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ffmpeg", "ffprobe"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'libavutil.so.57: cannot open' >&2\nexit 127\n")
        program.chmod(0o755)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"no matter what")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ffmpeg.fault.cache_clear()
    try:
        with pytest.raises(AudioError, match=r"does not run \(libavutil.so.57: cannot open\)"):
            read(path)
    finally:
        ffmpeg.fault.cache_clear()


@needs_ffmpeg
def test_an_ffmpeg_that_breaks_while_decoding_is_named_and_not_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside an ffprobe that works."""
    path = encoded(tmp_path, "a.m4a", 30011)
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ffmpeg.fault.cache_clear()
    try:
        with pytest.raises(AudioError, match=r"a.m4a .* ffmpeg .* does not run \(exit code 3\)"):
            read(path)
    finally:
        ffmpeg.fault.cache_clear()


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "m4a", "ogg"])
def test_reading_from_the_middle_equals_the_middle_of_reading(tmp_path: Path, ending: str) -> None:
    path = encoded(tmp_path, f"a.{ending}", 30011)
    path.write_bytes(2 * path.read_bytes())  # joined
    whole = read(path)
    for start in (0, 1, 9001, 30011 + 5000):
        with AudioReader(path) as reader:
            part = np.concatenate(list(reader.blocks(4001, start)), axis=1)
        # After seeking, an MP3 decoder lacks the bits of earlier frames.
        skipped = 2500 if ending == "mp3" else 0
        np.testing.assert_allclose(part[:, skipped:], whole[:, start + skipped :], atol=2e-7)


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF", "CAF", "W64", "AU"])
@pytest.mark.parametrize(("subtype", "num_bytes"), [("PCM_16", 2), ("PCM_24", 3), ("FLOAT", 4)])
def test_every_whole_sample_before_a_cut_is_read(
    tmp_path: Path, container: str, subtype: str, num_bytes: int
) -> None:
    """Of CAF libsndfile leaves out up to three, which the soak found."""
    path = tmp_path / "a"
    soundfile.write(path, noise(2003, 2), 8000, subtype, format=container)
    content, whole = path.read_bytes(), read(path)
    for num_missing in (1, 5, 274, 1000, 3333):
        path.write_bytes(content[:-num_missing])
        num_whole = 2003 - -(-num_missing // (2 * num_bytes))
        np.testing.assert_array_equal(read(path), whole[:, :num_whole])


@needs_ffmpeg
@pytest.mark.parametrize(
    ("claimed", "num_read", "complains"),
    [
        (6144, 4608, True),  # of a WMA file with a damaged packet, which ffmpeg leaves out silently
        (6144, 5300, False),  # a frame of an encoder
        (400, 1, False),
        (80_000, 75_300, False),
        (80_000, 75_000, True),
        (800_000, 789_000, False),  # a hundredth, as durations of long files are estimates
    ],
)
def test_a_stream_shorter_than_claimed_is_complained_of_by_a_share_of_its_length(
    tmp_path: Path, claimed: int, num_read: int, complains: bool
) -> None:
    source = ffmpeg.FfmpegSource(stored(tmp_path / "a.wav", 3000), sample_rate=8000)
    while len(source.read(1 << 16)):
        pass
    source.claimed_samples = claimed
    assert (source.complaint(num_read) is not None) == complains
    source.close()


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF", "CAF", "AU", "W64", "NIST", "IRCAM"])
def test_a_file_that_ends_within_its_header_holds_no_audio(tmp_path: Path, container: str) -> None:
    path = tmp_path / "a"
    soundfile.write(path, noise(100), RATE, "PCM_16", format=container)
    whole = path.read_bytes()
    header_bytes = len(whole) - 2 * 2 * 100
    step = max(37, header_bytes // 12)  # a CAF file's header has 4 kB, and each look takes ffmpeg
    for num_bytes in {header_bytes, header_bytes - 1, *range(30, header_bytes, step)}:
        path.write_bytes(whole[:num_bytes])
        with pytest.raises(AudioError, match=r"\A[^\n]*/a [^\n]*\Z"):
            read(path)
