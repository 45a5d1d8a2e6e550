"""Mutated and cut recordings: finite samples of the true length, or one line with the file's name.

Never a traceback, a crash, a hang or a length that is wrong without a warning.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile

from .commands import COMMANDS, Workshop
from .forked import Ended, forked, in_process

RATE, NUM_SAMPLES, NUM_CHANNELS = 8000, 6011, 2
MAX_BYTES = 3 * 2**30  # of memory that a damaged header may claim
TOLERANCE = 0.16  # seconds: a page of Ogg, or the frames that an encoder adds and a cut splits


@dataclass(frozen=True)
class Format:
    """How a format is written: by soundfile (container, subtype), else by ffmpeg with these options.

    exact: whether every sample takes the same number of bytes, at the end of the file. stated: whether the
    file states its length, so that a cut can be noticed.
    """

    ending: str
    container: str = ""
    subtype: str = "PCM_16"
    options: str = ""
    exact: bool = False
    stated: bool = True


FORMATS = (
    Format("wav", "WAV", "PCM_24", exact=True),
    Format("rf64", "RF64", exact=True),
    Format("aiff", "AIFF", exact=True),
    Format("caf", "CAF", exact=True),
    Format("au", "AU", exact=True),
    Format("w64", "W64", exact=True),
    Format("sph", "NIST", exact=True),
    Format("sf", "IRCAM", exact=True, stated=False),
    Format("voc", "VOC"),
    Format("flac", "FLAC"),
    Format("ogg", "OGG", "VORBIS"),
    Format("opus", "OGG", "OPUS"),
    Format("mp3", "MP3", "MPEG_LAYER_III"),
    Format("m4a"),
    Format("alac.m4a", options="-c:a alac"),
    Format("wma"),
    Format("wv"),
    Format("tta"),
    Format("webm"),
    Format("ac3", options="-ar 32000", stated=False),
    Format("aac", stated=False),
    Format("mp2", options="-ar 16000", stated=False),
)


class Part:
    """One damaged recording at a time, separated by a tiny model."""

    name = "damaged_audio"
    num_trials = 3000

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    @cached_property
    def originals(self) -> dict[Format, bytes]:
        """An undamaged file of each format that can be written here."""
        folder = self.workshop.folder / "originals"
        folder.mkdir(exist_ok=True)  # another part object may have made them
        rng = np.random.default_rng(3)
        waveform = 0.3 * rng.normal(size=(NUM_SAMPLES, NUM_CHANNELS)).clip(-3, 3)
        written = {}
        for format in FORMATS:
            path = folder / f"a.{format.ending}"
            if write(path, format, waveform):
                written[format] = path.read_bytes()
        return written

    def trial(self, number: int, rng: np.random.Generator) -> str:
        formats = list(self.originals)
        format = formats[number % len(formats)]
        damage = DAMAGES[rng.choice(len(DAMAGES), p=[0.3, 0.3, 0.2, 0.1, 0.1])]
        original = self.originals[format]
        content = damage(original, rng)
        path = self.workshop.folder / f"case-{number}.{format.ending}"
        path.write_bytes(content)
        out = self.workshop.folder / "separated"
        shutil.rmtree(out, ignore_errors=True)
        command = f"separate {path.name} -q rain -m tiny --json -o".split()
        here = self.workshop.folder
        self.workshop.undisturbed(COMMANDS["separate"])  # warms up
        ended = forked(lambda: in_process([*command, out], here), here, max_bytes=MAX_BYTES)
        try:
            kind = self.judge(ended, path, out, format, damage.__name__, len(content))
        except AssertionError as error:
            kept = Path(self.workshop.folder.parent.parent, f"qsep-{path.name}")
            shutil.copyfile(path, kept)
            raise AssertionError(f"{damage.__name__}, kept as {kept}: {error}") from error
        finally:
            path.unlink()
        return f"{format.ending} {kind}"

    def judge(
        self, ended: Ended, path: Path, out: Path, format: Format, damage: str, num_bytes: int
    ) -> str:
        assert ended.code in (0, 1, 2), f"exit code {ended.code}:\n{ended.err}"
        lines = [line for line in ended.err.splitlines() if line.startswith("qsep: ")]
        ended.check_messages()
        about_it = [line for line in lines if path.name in line]
        if ended.code:
            assert len([line for line in lines if "error:" in line]) == 1, ended.err
            assert about_it, f"the file is not named:\n{ended.err}"
            assert "memory" not in ended.err.lower(), f"claimed too much memory:\n{ended.err}"
            assert not list(out.glob("*.*")) if out.exists() else True, (
                "a refused file has a result"
            )
            return "refused"
        (row,) = [json.loads(line) for line in ended.out.splitlines()]
        (result,) = row["files"]
        samples, rate = soundfile.read(result, always_2d=True)
        assert np.isfinite(samples).all(), "samples that are not finite"
        assert len(samples), "an empty result"
        self.check_length(len(samples), rate, bool(about_it), format, damage, num_bytes)
        return "read, with a warning" if about_it else "read"

    def check_length(
        self, length: int, rate: int, warned: bool, format: Format, damage: str, num_bytes: int
    ) -> None:
        """A header that was damaged may state another rate or width; elsewhere the length is known."""
        seconds, whole = length / rate, NUM_SAMPLES / RATE
        if damage == "cut":
            assert seconds < whole + TOLERANCE, f"{seconds} s of a cut file of {whole} s"
            noticed = warned or not format.stated or seconds > whole - TOLERANCE
            assert noticed, f"{seconds} of {whole} s without a warning"
            if format.exact:
                missing = len(self.originals[format]) - num_bytes
                frame_bytes = NUM_CHANNELS * (3 if format.subtype == "PCM_24" else 2)
                expected = NUM_SAMPLES - missing / frame_bytes
                assert abs(length - expected) <= 1.5, f"{length} samples, expected {expected:.1f}"
        elif damage == "flip_payload":
            if format.exact:
                assert length == NUM_SAMPLES, f"{length} samples, expected {NUM_SAMPLES}"
            elif not warned:
                assert abs(seconds - whole) < TOLERANCE, f"{seconds} of {whole} s without a warning"


def write(path: Path, format: Format, waveform: np.ndarray) -> bool:
    """Write the waveform, (t, c), in a format; False if neither library here can."""
    if format.container:
        try:
            soundfile.write(path, waveform, RATE, format.subtype, format=format.container)
            return True
        except (soundfile.LibsndfileError, ValueError):
            return False
    wav = path.with_suffix(".wav.tmp")
    soundfile.write(wav, waveform, RATE, format="WAV")
    command = ["ffmpeg", "-v", "error", "-i", str(wav), *format.options.split(), str(path)]
    try:
        return (
            subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
        )
    except FileNotFoundError:
        return False


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def flip_header(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four bytes of the first 100 replaced, half of them by extremes."""
    damaged = bytearray(content)
    for position in rng.integers(min(100, len(content)), size=rng.integers(1, 5)):
        damaged[position] = (
            rng.choice([0, 1, 127, 128, 255]) if rng.random() < 0.5 else rng.integers(256)
        )
    return bytes(damaged)


def flip_payload(content: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped in the second half."""
    damaged = bytearray(content)
    for position in rng.integers(len(content) // 2, len(content), size=rng.integers(1, 20)):
        damaged[position] ^= 1 << rng.integers(8)
    return bytes(damaged)


def moved(content: bytes, rng: np.random.Generator) -> bytes:
    """A piece removed, doubled, or replaced by zeros or noise."""
    first, last = sorted(rng.integers(len(content), size=2))
    piece = content[first:last]
    kind = rng.integers(4)
    new = (b"", 2 * piece, bytes(len(piece)), rng.bytes(len(piece)))[kind]
    return content[:first] + new + content[last:]


def foreign(content: bytes, rng: np.random.Generator) -> bytes:
    """The format's first bytes and then nothing of it; or something after the recording's end."""
    first = int(rng.integers(1, 64))
    if rng.random() < 0.5:
        return content[:first] + rng.bytes(int(rng.integers(5000)))
    return content + (rng.bytes(first) if rng.random() < 0.5 else bytes(first))


DAMAGES = (cut, flip_header, flip_payload, moved, foreign)
