"""The file formats of results: WAV, and what libsndfile makes of a WAV file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

import soundfile

from ..storage.temporary import temporary_path
from .encoding import encoding
from .source import AudioError

BLOCK_SAMPLES = 1 << 16
# Of libsndfile's 0 to 1. Stereo at 44.1 kHz takes about 265 kbit/s as Vorbis, 180 kbit/s as MP3.
LOSSY_COMPRESSION = 0.2

Commit = Callable[[Path, Path], object]


@dataclass(frozen=True)
class FileFormat:
    """What a format can hold.

    title: its name in messages. container, codec: libsndfile's names; a lossless format has no codec.
    wide: whether it stores floats and 32-bit integers; elsewhere these are rounded to 24 bits.
    rates: the sample rates that it can hold, in Hz.
    """

    title: str
    container: str
    codec: str
    wide: bool
    max_channels: int
    rates: Container[int]


MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
FORMATS = {  # by the ending of a file's name
    "wav": FileFormat("WAV", "WAV", "", True, 1024, range(1, 2**31)),
    "flac": FileFormat("FLAC", "FLAC", "", False, 8, range(1, 655_351)),  # RFC 9639, 9.1
    "aiff": FileFormat("AIFF", "AIFF", "", True, 1024, range(1, 2**31)),
    "ogg": FileFormat("Ogg Vorbis", "OGG", "VORBIS", False, 255, range(1000, 200_001)),
    "opus": FileFormat("Opus", "OGG", "OPUS", False, 8, (8000, 12000, 16000, 24000, 48000)),
    "mp3": FileFormat("MP3", "MP3", "MPEG_LAYER_III", False, 2, MPEG_RATES),
}
ALIASES = {"wave": "wav", "aif": "aiff", "oga": "ogg"}
# Recordings that are read, never written.
NO_RESULTS = {
    "aac",
    "caf",
    "m4a",
    "mp4",
    "w64",
    "webm",
    "wma",
}


def format_named(ending: str) -> str | None:
    """The key of FORMATS for a file name's ending in any case, with or without its dot, or None.

    Raises ValueError for the ending of an audio format that results cannot have.
    """
    key = ending.lower().removeprefix(".")
    if key in NO_RESULTS:
        raise ValueError(f"results cannot be written as .{key}: expected {', '.join(FORMATS)}")
    key = ALIASES.get(key, key)
    return key if key in FORMATS else None


def wav_subtype(name: str, subtype: str) -> str:
    """The subtype in which samples of `subtype` are quantised before they become the named format."""
    if name == "wav":
        return subtype
    if subtype in ("PCM_U8", "PCM_16"):
        return "PCM_16"
    return subtype if FORMATS[name].wide else "PCM_24"


def check_format(name: str, path: Path, sample_rate: int, num_channels: int) -> None:
    """Raise AudioError, about the recording `path`, if the format cannot hold its rate or channels."""
    target = FORMATS[name]
    if num_channels > target.max_channels:
        raise AudioError(
            f"{path}: {target.title} holds up to {target.max_channels} channels, not {num_channels}: "
            "use --format wav"
        )
    if sample_rate not in target.rates:
        raise AudioError(
            f"{path}: {target.title} cannot hold a sample rate of {sample_rate} Hz: use --format wav"
        )


def converting(name: str, commit: Commit) -> Commit:
    """A `commit` for an AudioWriter, which turns its finished WAV file into the named format first.

    commit: gives the converted file its name. The result is `commit` itself for "wav".
    """
    if name == "wav":
        return commit

    def convert(wav: Path, path: Path) -> None:
        temporary = temporary_path(path.parent)
        try:
            rewrite(wav, temporary, FORMATS[name])
            commit(temporary, path)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"cannot write {path}: {error}: choose another folder") from error
        finally:
            with contextlib.suppress(OSError):  # already renamed if all went well
                temporary.unlink()

    return convert


def rewrite(wav: Path, path: Path, target: FileFormat) -> None:
    """Write the samples of a WAV file to `path`, which must not exist, in another format."""
    with wav.open("rb") as file, soundfile.SoundFile(file.fileno(), closefd=False) as source:
        dtype = "float64" if source.subtype in ("FLOAT", "DOUBLE") else "int32"
        with encoding(
            path,
            samplerate=source.samplerate,
            channels=source.channels,
            subtype=target.codec or source.subtype,
            format=target.container,
            compression_level=LOSSY_COMPRESSION if target.codec else None,
        ) as encoder:
            for block in source.blocks(BLOCK_SAMPLES, dtype=dtype, always_2d=True):
                encoder.write(block)
