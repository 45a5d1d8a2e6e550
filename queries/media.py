"""Pictures and recordings of queries: identified by their content, decoded when they are encoded."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("qsep")

DIGEST_LETTERS = 32


# From a file and max_seconds to samples (t, c), their rate in Hz, and whether the file has more.
Decode = Callable[[Path, float], tuple[NDArray[np.floating], int, bool]]


@dataclass(frozen=True)
class Media:
    """A file or an array; media of equal content compare equal.

    digest: of the file's bytes, or of the array's values, shape, type and rate. name: for display.
    sample_rate: of an audio array, in Hz. decode: reads an audio file; by default libsndfile.
    """

    digest: str
    name: str = field(compare=False, repr=False)
    source: Path | NDArray[Any] = field(compare=False, repr=False)
    sample_rate: int | None = field(default=None, compare=False, repr=False)
    decode: Decode | None = field(default=None, compare=False, repr=False)


def media_file(path: str | Path) -> Media:
    """A file, which is read for its digest only. Raises ValueError if it does not exist."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; check the name of the query's example")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_LETTERS]
    return Media(digest, path.stem, path)


def media_array(values: NDArray[Any], kind: str, sample_rate: int | None = None) -> Media:
    """A copy of an array. kind: first word of its name. sample_rate: in Hz, for audio."""
    values = np.array(values, order="C")  # a copy, so that the digest stays valid
    header = f"{values.dtype.str} {values.shape} {sample_rate} ".encode()
    digest = hashlib.sha256(header + values.tobytes()).hexdigest()[:DIGEST_LETTERS]
    return Media(digest, f"{kind} {digest[:8]}", values, sample_rate)


def picture(frame: str | Path | NDArray[np.uint8]) -> Media:
    """A picture from a file or an array (height, width, 3) of uint8; ValueError for anything else."""
    if isinstance(frame, str | Path):
        return media_file(frame)
    pixels = np.asarray(frame)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(
            f"expected a picture as (height, width, 3) of uint8, got {pixels.shape} of {pixels.dtype}"
        )
    return media_array(pixels, "image")


def recording(example: str | Path | NDArray[np.floating], sample_rate: int | None) -> Media:
    """A recording from a file, or an array (t,) or (c, t) of floats, full scale at 1, at sample_rate in Hz.

    Raises ValueError for other shapes and types, samples that are not finite, and a missing rate.
    """
    if isinstance(example, str | Path):
        if sample_rate is not None:
            raise ValueError("sample_rate is the file's own; give it for arrays only")
        return media_file(example)
    samples = np.asarray(example)
    if samples.ndim not in (1, 2) or not samples.size or samples.dtype.kind != "f":
        raise ValueError(
            "expected a recording as (t,) or (c, t) of floating point, full scale at 1, "
            f"got {samples.shape} of {samples.dtype}"
        )
    if sample_rate is None or sample_rate < 1 or sample_rate != int(sample_rate):
        raise ValueError(f"a recording as an array needs its sample_rate in Hz, got {sample_rate}")
    if not np.isfinite(samples).all():
        raise ValueError("the query's example holds NaN or infinite samples; repair it first")
    return media_array(samples, "audio", int(sample_rate))


def read_picture(media: Media) -> Image:
    """Decode a picture as RGB, upright by its EXIF orientation; ValueError if it cannot be read."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not isinstance(media.source, Path):
        return Image.fromarray(media.source)
    try:
        with Image.open(media.source) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError:
        raise ValueError(
            f"{media.source} is not a picture that Pillow reads: convert it to PNG or JPEG"
        ) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{media.source} cannot be read as a picture ({error})") from error


def read_recording(
    media: Media, sample_rate: int, max_seconds: float = math.inf
) -> NDArray[np.float32]:
    """Mean of the channels of a recording's first max_seconds, resampled to sample_rate in Hz: (t,), t >= 1.

    Logs a warning if the recording is longer. Raises ValueError if it cannot be read.
    """
    import soxr

    if isinstance(media.source, Path):
        samples, rate, cut = (media.decode or read_samples)(media.source, max_seconds)
    else:
        assert media.sample_rate is not None
        rate = media.sample_rate
        samples = np.atleast_2d(media.source).T
        max_samples = num_samples(max_seconds, rate)
        cut = len(samples) > max_samples
        samples = samples[:max_samples]
    if cut:
        log.warning("%s: only its first %g s are used", media.name, max_seconds)
    mono = samples.mean(axis=1, dtype=np.float64).astype(np.float32)
    if rate == sample_rate:
        return mono
    resampled: NDArray[np.float32] = soxr.resample(mono, rate, sample_rate, quality="HQ")
    if not len(resampled):  # soxr may round one sample down to none
        return mono[:1]
    return resampled[: num_samples(max_seconds, sample_rate)]


def num_samples(seconds: float, sample_rate: int) -> int:
    """Seconds, perhaps infinite, in samples: at most 2**62."""
    return round(min(seconds * sample_rate, 2.0**62))


def read_samples(path: Path, max_seconds: float) -> tuple[NDArray[np.float32], int, bool]:
    """Samples (t, c) of the first max_seconds, their rate in Hz, and whether the file has more.

    Raises ValueError for files that libsndfile does not read, without samples, or with NaN or infinity.
    """
    import soundfile

    try:
        # By file descriptor: by name, text called .mp3 would be decoded as MP3.
        with path.open("rb") as raw, soundfile.SoundFile(raw.fileno(), closefd=False) as file:
            max_samples = num_samples(max_seconds, file.samplerate)
            samples = file.read(min(max_samples, file.frames), dtype="float32", always_2d=True)
            rate, cut = file.samplerate, file.frames > max_samples
    except soundfile.SoundFileError:
        raise ValueError(
            f"{path} is not audio that libsndfile reads: convert it to WAV or FLAC, as by "
            f"ffmpeg -i {path.name} {path.stem}.wav"
        ) from None
    if not len(samples):
        raise ValueError(f"{path} holds no audio: record or export it again")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds NaN or infinite samples: repair it or export it again")
    return samples, rate, cut
