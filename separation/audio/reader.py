"""Recordings read in blocks: all that libsndfile reads, and with ffmpeg installed all it reads."""

import json
import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import soundfile

from .sample_format import SUBTYPES, Waveform, sample_dtype

logger = logging.getLogger("qsep")

# The subtype of a WAV file that holds the same values. Everything else that libsndfile decodes is
# lossy (or 8-bit telephony, decoded to 16): PCM_16, because its step lies 98 dB under full scale
# and so below the codec's own error, every player reads it, and floats would double the size.
EQUAL_SUBTYPES = {name: name for name in SUBTYPES} | {
    "PCM_S8": "PCM_U8",
    "ALAC_20": "PCM_24",
    "ALAC_24": "PCM_24",
    "ALAC_32": "PCM_32",
    "DWVW_24": "PCM_24",
}
STREAMED_BYTES = 0x7FFFF000  # what programs that write WAV to a pipe claim, or more
PLAYLISTS = {"hls", "concat", "dash", "imf"}  # files that make ffmpeg read other files
INSTALL_FFMPEG = "install ffmpeg (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg)"


class AudioError(ValueError):
    """A recording that cannot be read or written: one line naming the file and the remedy."""


class Source(Protocol):
    """What a way of decoding provides. subtype: of a WAV file that holds the same values."""

    sample_rate: int
    num_channels: int
    subtype: str
    claimed_samples: int | None

    def read(self, num_samples: int) -> Waveform:
        """The next samples, (t, c); fewer than asked for only at the end. AudioError if damaged."""
        ...

    def complaint(self, num_read: int) -> str | None:
        """After the end: why the file is thought to be cut short or damaged, or None."""
        ...

    def close(self) -> None: ...


class AudioReader:
    """A recording of any length as (c, t) blocks, full scale at 1; use it as a context manager.

    subtype: of a WAV file that holds the same values; for a lossy format PCM_16.
    claimed_samples: what the header says, or None; it may be wrong and only serves progress bars.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._source = open_source(self.path)
        self.sample_rate = self._source.sample_rate
        self.num_channels = self._source.num_channels
        self.subtype = self._source.subtype
        self.claimed_samples = self._source.claimed_samples

    def blocks(self, block_samples: int) -> Iterator[Waveform]:
        """Blocks of (c, block_samples), the last one shorter, as sample_dtype(subtype).

        That is float32, or float64 where the file holds more, so that no value is rounded.
        Once per reader. AudioError for no audio at all, damage, and NaN or infinite samples;
        a file that ends early is read to its end, with a warning.
        """
        num_read = 0
        while len(interleaved := self._source.read(block_samples)):
            finite = np.isfinite(interleaved).all(axis=1)
            if not finite.all():
                seconds = (num_read + int(finite.argmin())) / self.sample_rate
                raise AudioError(
                    f"{self.path} holds a NaN or infinite sample at {seconds:.3f} s: "
                    "repair it or export it again"
                )
            num_read += len(interleaved)
            yield np.array(interleaved.T, dtype=sample_dtype(self.subtype), order="C")
        complaint = self._source.complaint(num_read)
        if num_read == 0:
            reason = f" ({complaint})" if complaint else ""
            raise AudioError(f"{self.path} holds no audio{reason}: record or export it again")
        if complaint:
            seconds = num_read / self.sample_rate
            logger.warning("%s: %s; %.2f s of audio were read", self.path, complaint, seconds)

    def read(self) -> Waveform:
        """All of it, (c, t)."""
        return np.concatenate(list(self.blocks(1 << 16)), axis=1)

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_source(path: Path) -> Source:
    """Open by content, never by the file's extension; AudioError if nothing here can read it."""
    try:
        if not path.exists():
            raise AudioError(f"{path} does not exist: check the name")
        if path.is_dir():
            raise AudioError(f"{path} is a folder: name the recordings in it")
        if not path.is_file():
            raise AudioError(f"{path} is not a regular file: save the audio to a file first")
        if path.stat().st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes): record or copy it again")
        return SndfileSource(path)
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror}: check its permissions") from error
    except (soundfile.SoundFileError, TypeError):  # TypeError: the name ends in .raw
        pass
    if shutil.which("ffmpeg") and shutil.which("ffprobe"):
        return FfmpegSource(path)
    raise AudioError(
        f"{path} is not audio that libsndfile reads: {INSTALL_FFMPEG} "
        "for more formats, or convert it to WAV or FLAC"
    )


class SndfileSource:
    """WAV, FLAC, Ogg, MP3, AIFF and others, decoded by libsndfile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not its name: by name, text called .mp3 is decoded as MP3. And the file's number, not the
        # file: libsndfile's calls into Python swallow the exceptions of signal handlers (Ctrl-C).
        self._raw = path.open("rb")
        try:
            self._file = soundfile.SoundFile(self._raw.fileno(), closefd=False)
        except BaseException:
            self._raw.close()
            raise
        self.sample_rate: int = self._file.samplerate
        self.num_channels: int = self._file.channels
        self.subtype = EQUAL_SUBTYPES.get(self._file.subtype, "PCM_16")
        frames: int = self._file.frames
        self.claimed_samples = frames if frames < 2**62 else None  # libsndfile's "unknown"

    def read(self, num_samples: int) -> Waveform:
        dtype = sample_dtype(self.subtype).name
        try:
            samples: Waveform = self._file.read(num_samples, dtype=dtype, always_2d=True)
        except soundfile.SoundFileError as error:
            seconds = self._file.tell() / self.sample_rate
            raise AudioError(
                f"{self.path} is damaged after {seconds:.1f} s: copy it again, or save what is "
                f"left with ffmpeg -i {self.path.name} repaired.wav"
            ) from error
        return samples

    def complaint(self, num_read: int) -> str | None:
        claim = re.search(r"(?:data|SSND) *: (\d+) \(should be (\d+)\)", self._file.extra_info)
        cut_short = claim and int(claim[2]) < int(claim[1]) < STREAMED_BYTES
        if cut_short or (self.claimed_samples is not None and num_read < self.claimed_samples):
            return "the file ends earlier than its header says"
        return None

    def close(self) -> None:
        self._file.close()
        self._raw.close()


class FfmpegSource:
    """The first audio stream of anything ffmpeg reads, through a pipe of raw floats."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Only local files, and "file:" so that no name is taken for an option or an address.
        self._input = ["-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
        stream, duration = self._probe()
        self.sample_rate = int(stream["sample_rate"])
        self.num_channels = int(stream["channels"])
        self.subtype = ffmpeg_subtype(stream)
        self.claimed_samples = round(duration * self.sample_rate) if duration else None
        self._dtype = sample_dtype(self.subtype).newbyteorder("<")
        raw = "f64le" if self._dtype.itemsize == 8 else "f32le"
        command = ["ffmpeg", "-v", "error", "-nostdin", *self._input, "-map", "0:a:0"]
        command += ["-ar", str(self.sample_rate), "-f", raw, "-c:a", f"pcm_{raw}", "pipe:1"]
        self._errors = tempfile.TemporaryFile()  # a pipe that nobody empties would block ffmpeg
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._errors)

    def _probe(self) -> tuple[dict[str, str], float | None]:
        """The stream's properties, and the duration in seconds that the container claims."""
        fields = "codec_name,sample_fmt,sample_rate,channels,bits_per_raw_sample"
        command = ["ffprobe", "-v", "error", *self._input, "-select_streams", "a:0", "-of", "json"]
        command += ["-show_entries", f"format=format_name,duration:stream={fields}"]
        result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        found = json.loads(result.stdout) if result.returncode == 0 else {}
        container, streams = found.get("format", {}), found.get("streams", [])
        playlist = PLAYLISTS & set(container.get("format_name", "").split(","))
        # Random bytes may pass for a stream of an unknown rate.
        known = streams and int(streams[0].get("sample_rate", 0)) * streams[0].get("channels", 0)
        if playlist or not known:
            raise AudioError(
                f"{self.path} is not audio that libsndfile or ffmpeg reads: "
                "check that it is a recording, or convert it to WAV or FLAC"
            )
        return streams[0], float(container["duration"]) if "duration" in container else None

    def read(self, num_samples: int) -> Waveform:
        assert self._process.stdout is not None
        frame_bytes = self.num_channels * self._dtype.itemsize
        data = self._process.stdout.read(num_samples * frame_bytes)
        data = data[: len(data) // frame_bytes * frame_bytes]
        samples: Waveform = np.frombuffer(data, self._dtype).reshape(-1, self.num_channels)
        return samples

    def complaint(self, num_read: int) -> str | None:
        failed = self._process.wait() != 0
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        if not failed and not lines:
            return None
        return f"ffmpeg reports: {lines[0] if lines else f'exit code {self._process.returncode}'}"

    def close(self) -> None:
        self._process.kill()  # no harm after its end
        self._process.communicate()
        self._errors.close()


def ffmpeg_subtype(stream: dict[str, str]) -> str:
    """The subtype that holds what ffprobe describes. Decoders of lossy codecs give floats."""
    kind = stream.get("sample_fmt", "").removesuffix("p")  # p: planar
    if kind in ("flt", "dbl") and stream.get("codec_name", "").startswith(("pcm_", "wavpack")):
        return {"flt": "FLOAT", "dbl": "DOUBLE"}[kind]
    if kind == "s32":
        return "PCM_24" if int(stream.get("bits_per_raw_sample", 32)) in range(1, 25) else "PCM_32"
    return {"u8": "PCM_U8", "s64": "PCM_32"}.get(kind, "PCM_16")
