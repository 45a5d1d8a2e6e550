"""Decoding by ffmpeg, for all formats that libsndfile does not read."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .containers.content import CUT_SHORT, Part
from .sample_format import Waveform, sample_dtype
from .source import AudioError, check_properties

PLAYLISTS = {"hls", "concat", "dash", "imf"}  # files that make ffmpeg read other files
INSTALL_FFMPEG = "install ffmpeg (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg)"
# What a stream may lack of its claimed duration without a complaint: the smaller one, but at least a frame.
MAX_MISSING_SECONDS, MAX_MISSING_SHARE, FRAME_SECONDS = 0.5, 0.2, 0.1


def is_installed() -> bool:
    """Whether ffmpeg and ffprobe are on the PATH."""
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


@cache
def fault() -> str | None:
    """Why the installed ffmpeg cannot be used, or None if it can."""
    for program in ("ffmpeg", "ffprobe"):
        try:
            result = subprocess.run(
                [program, "-version"], capture_output=True, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            return f"{program} does not start ({error.strerror or error})"
        if result.returncode or not result.stdout.startswith(f"{program} version".encode()):
            reason = next(iter(result.stderr.decode(errors="replace").strip().splitlines()), "")
            code = f"exit code {result.returncode}"
            return f"{program} is installed but does not run ({reason or code})"
    return None


class FfmpegSource:
    """The first audio stream of any file that ffmpeg reads, as raw floats through a pipe; see `Source`.

    part: bytes of the file to decode, by default all. sample_rate, num_channels: of the output, by default
    those of the stream. Raises AudioError if ffmpeg cannot read the file.
    """

    def __init__(
        self,
        path: Path,
        part: Part | None = None,
        sample_rate: int | None = None,
        num_channels: int | None = None,
    ) -> None:
        self.path = path
        # Local files only, with "file:" so that no name is mistaken for an option or an address.
        url = f"file:{path}"
        if part and (part.start, part.stop) != (0, path.stat().st_size):
            url = f"subfile,,start,{part.start},end,{part.stop},,:{url}"
        self._input = ["-protocol_whitelist", "file,pipe,subfile", "-i", url]
        stream = self._probe()
        self.sample_rate = sample_rate or int(stream["sample_rate"])
        self.num_channels = num_channels or int(stream["channels"])
        self.subtype = ffmpeg_subtype(stream)
        check_properties(path, self.sample_rate, self.num_channels)
        duration = seconds_of(stream.get("duration"))
        self.claimed_samples = round(duration * self.sample_rate) if duration else None
        self._dtype = sample_dtype(self.subtype).newbyteorder("<")
        raw = "f64le" if self._dtype.itemsize == 8 else "f32le"
        command = ["ffmpeg", "-v", "error", "-nostdin", *self._input, "-map", "0:a:0"]
        # Stated, so that a stream that changes its format midway is converted to it.
        command += ["-ar", str(self.sample_rate), "-ac", str(self.num_channels)]
        command += ["-f", raw, "-c:a", f"pcm_{raw}", "pipe:1"]
        self._errors = tempfile.TemporaryFile()  # a full pipe would block ffmpeg
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._errors)

    def _probe(self) -> dict[str, Any]:
        """Properties of the first audio stream, by ffprobe's names."""
        fields = "codec_name,sample_fmt,sample_rate,channels,bits_per_raw_sample,duration"
        command = ["ffprobe", "-v", "error", *self._input, "-select_streams", "a:0", "-of", "json"]
        command += ["-show_entries", f"format=format_name:stream={fields}"]
        result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        stream: dict[str, Any]
        try:
            probed = json.loads(result.stdout) if result.returncode == 0 else {}
            container, stream = probed.get("format", {}), next(iter(probed.get("streams", [])), {})
            playlist = PLAYLISTS & set(container.get("format_name", "").split(","))
            # Random bytes may pass for a stream of an unknown rate.
            known = int(stream.get("sample_rate", 0)) * int(stream.get("channels", 0)) > 0
        except (ValueError, TypeError, AttributeError):
            playlist, known, stream = set(), False, {}
        if playlist or not known:
            self._check_ffmpeg()
            raise AudioError(
                f"{self.path} is not audio that libsndfile or ffmpeg reads: "
                "check that it is a recording, or convert it to WAV or FLAC"
            )
        return dict(stream)

    def _check_ffmpeg(self) -> None:
        """Raise AudioError if ffmpeg itself cannot be used, so that the file is not blamed."""
        if reason := fault():
            raise AudioError(
                f"{self.path} is not audio that libsndfile reads, and {reason}: reinstall ffmpeg"
            )

    def read(self, num_samples: int) -> Waveform:
        """As `Source.read`."""
        assert self._process.stdout is not None
        frame_bytes = self.num_channels * self._dtype.itemsize
        data = self._process.stdout.read(num_samples * frame_bytes)
        data = data[: len(data) // frame_bytes * frame_bytes]
        samples: Waveform = np.frombuffer(data, self._dtype).reshape(-1, self.num_channels)
        return samples

    def skip(self, num_samples: int) -> bool:
        """False: ffmpeg does not seek exactly in every format."""
        return False

    def complaint(self, num_read: int) -> str | None:
        """As `Source.complaint`: ffmpeg's first message, or a stream shorter than claimed."""
        failed = self._process.wait() != 0
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        if failed and num_read == 0:
            self._check_ffmpeg()
        if failed or lines:
            return (
                f"ffmpeg reports: {lines[0] if lines else f'exit code {self._process.returncode}'}"
            )
        claimed = self.claimed_samples or 0
        seconds = min(MAX_MISSING_SECONDS, MAX_MISSING_SHARE * claimed / self.sample_rate)
        tolerance = max(seconds, FRAME_SECONDS) * self.sample_rate
        if num_read < 0.99 * claimed - tolerance:
            return CUT_SHORT
        return None

    def close(self) -> None:
        """End ffmpeg and free the pipe."""
        self._process.kill()  # harmless after its end
        self._process.communicate()
        self._errors.close()


def seconds_of(text: Any) -> float | None:
    """ffprobe's duration as a number in (0, 1e9), or None."""
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < 1e9 else None


def ffmpeg_subtype(stream: dict[str, Any]) -> str:
    """The WAV subtype that holds a stream's values; PCM_16 for lossy codecs, which decode to floats."""
    kind = str(stream.get("sample_fmt", "")).removesuffix("p")  # p: planar
    if kind in ("flt", "dbl") and str(stream.get("codec_name", "")).startswith(("pcm_", "wavpack")):
        return {"flt": "FLOAT", "dbl": "DOUBLE"}[kind]
    if kind == "s32":
        bits = str(stream.get("bits_per_raw_sample", 32))
        return "PCM_24" if bits.isdecimal() and 1 <= int(bits) <= 24 else "PCM_32"
    return {"u8": "PCM_U8", "s64": "PCM_32"}.get(kind, "PCM_16")
