"""Results as FLAC: the same samples as WAV at about half the size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from ..storage.temporary import temporary_path
from .source import AudioError

FORMATS = ("wav", "flac")
SUBTYPES = {"PCM_U8": "PCM_16", "PCM_16": "PCM_16"}  # WAV subtype to FLAC subtype
WIDEST = "PCM_24"  # the most that libsndfile writes; FLAC has no floats
MAX_CHANNELS, MAX_RATE = 8, 655350  # RFC 9639, section 9.1
BLOCK_SAMPLES = 1 << 16

Commit = Callable[[Path, Path], object]


def flac_subtype(subtype: str) -> str:
    """The FLAC subtype that holds all values of a WAV subtype, or 24 bits if none does."""
    return SUBTYPES.get(subtype, WIDEST)


def check_flac(path: Path, sample_rate: int, num_channels: int) -> None:
    """Raise AudioError if FLAC cannot hold a recording of this rate in Hz and number of channels."""
    if num_channels > MAX_CHANNELS or sample_rate > MAX_RATE:
        raise AudioError(
            f"{path}: FLAC holds up to {MAX_CHANNELS} channels and {MAX_RATE} Hz, not {num_channels} and "
            f"{sample_rate} Hz: take --format wav"
        )


def as_flac(commit: Commit) -> Commit:
    """A `commit` for an AudioWriter of integer samples that converts its WAV file to FLAC.

    commit: moves the finished FLAC file to its path. Raises AudioError if it cannot be written.
    """

    def convert(wav: Path, path: Path) -> None:
        import soundfile

        temporary = temporary_path(path.parent)
        try:
            with soundfile.SoundFile(wav) as source:
                form = (source.samplerate, source.channels, source.subtype)
                with soundfile.SoundFile(temporary, "x", *form, format="FLAC") as target:
                    for block in source.blocks(BLOCK_SAMPLES, dtype="int32", always_2d=True):
                        target.write(block)
            commit(temporary, path)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"cannot write {path}: {error}: choose another folder") from error
        finally:
            with contextlib.suppress(OSError):  # already moved if all went well
                temporary.unlink()

    return convert
