"""A microphone and headphones, by PortAudio through sounddevice, with a queue on either side."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

POLL_SECONDS = 0.1  # interval at which the end of a session is checked while no input arrives
AHEAD_SECONDS = 1.0  # of sound ready to be played, when it comes from a file
SPARE_SECONDS = 0.5  # of sound ready to be played, beyond the longest block, when it comes live
MAX_BEHIND_SECONDS = 10.0  # of input that is not yet separated

Waveform = NDArray[np.floating]


@dataclass(frozen=True)
class Device:
    """A microphone or a pair of headphones. sample_rate: its usual one in Hz."""

    index: int
    name: str
    num_channels: int
    sample_rate: int


def load_sounddevice() -> Any:
    """The module; ValueError where it, or PortAudio, is not installed."""
    try:
        import sounddevice
    except ImportError:
        raise ValueError(
            "microphone and headphones need sounddevice: pip install 'qsep[live]', or give --input "
            "and --output files"
        ) from None
    except OSError:  # what sounddevice raises
        raise ValueError(
            "sounddevice finds no PortAudio: install it (apt install libportaudio2, dnf install "
            "portaudio, brew install portaudio), or give --input and --output files"
        ) from None
    return sounddevice


def find_device(sounddevice: Any, kind: str, wanted: str | None) -> Device:
    """The input or output device (kind) of this number or part of a name; None: the system's default.

    Raises ValueError if there is none, or several.
    """
    chosen = int(wanted) if wanted is not None and wanted.isdecimal() else wanted
    try:
        facts = sounddevice.query_devices(chosen, kind)
    except (ValueError, sounddevice.PortAudioError) as error:
        role, name = ("microphone", "input") if kind == "input" else ("headphones", "output")
        text = " ".join(str(error).split())
        raise ValueError(
            f"{role}: {text}: qsep live --devices lists the devices, --{name}-device chooses, "
            f"--{name} FILE uses a file instead"
        ) from None
    return Device(
        int(facts["index"]),
        str(facts["name"]),
        int(facts[f"max_{kind}_channels"]),
        round(facts["default_samplerate"]),
    )


def device_lines(sounddevice: Any) -> list[str]:
    """One line for each device: number, name, system, channels, and whether it is a default.

    Raises ValueError if there are none.
    """
    devices = list(sounddevice.query_devices())
    if not devices:
        raise ValueError("this machine has no sound device: connect one, or give files")
    systems = sounddevice.query_hostapis()
    default_input, default_output = (int(index) for index in sounddevice.default.device)
    lines = []
    for device in devices:
        number = int(device["index"])
        system = systems[device["hostapi"]]["name"]
        line = (
            f"{number:3} {device['name']} ({system}): {device['max_input_channels']} in, "
            f"{device['max_output_channels']} out, {device['default_samplerate']:.0f} Hz"
        )
        line += ", default microphone" * (number == default_input)
        lines.append(line + ", default headphones" * (number == default_output))
    return lines


class SoundCard:
    """Records and plays until its context ends. Waveforms are (c, t), full scale at 1.

    microphone, headphones: either may be None, not both. num_channels: of input and output; one channel is
    played on two. With a microphone, output that lags behind is dropped.
    num_lost: how often the microphone was not read in time. num_gaps: how often, after the first sound,
    there was nothing to play. num_dropped: samples dropped. is_behind: whether separation was too slow.
    Raises ValueError, in one line, for what the devices cannot do.
    """

    def __init__(
        self,
        sounddevice: Any,
        microphone: Device | None,
        headphones: Device | None,
        num_channels: int,
        sample_rates: list[int],
    ) -> None:
        """sample_rates: in Hz, the preferred first; the first that all devices accept is taken."""
        self.microphone, self.headphones = microphone, headphones
        self.num_channels = num_channels
        self._sounddevice = sounddevice
        self._num_played = num_channels
        if headphones and num_channels == 1:
            self._num_played = min(2, headphones.num_channels)
        self.sample_rate = self._accepted(list(dict.fromkeys(sample_rates)))
        self.num_lost = self.num_gaps = self.num_dropped = 0
        self.is_behind = False
        self._recorded: queue.SimpleQueue[Waveform] = queue.SimpleQueue()
        self._num_waiting = 0
        self._ready: deque[Waveform] = deque()
        self._num_ready = self._longest = 0
        self._playing = self._ending = False
        self._lock = threading.Lock()
        self._stream: Any = None

    def _accepted(self, sample_rates: list[int]) -> int:
        check = self._sounddevice
        reason = ""
        for rate in sample_rates:
            try:
                if self.microphone:
                    check.check_input_settings(
                        self.microphone.index, self.num_channels, "float32", samplerate=rate
                    )
                if self.headphones:
                    check.check_output_settings(
                        self.headphones.index, self._num_played, "float32", samplerate=rate
                    )
                return rate
            except (ValueError, check.PortAudioError) as error:
                reason = " ".join(str(error).split())
        names = " and ".join(device.name for device in (self.microphone, self.headphones) if device)
        rates = " or ".join(map(str, sample_rates))
        raise ValueError(
            f"{names}: refused {self.num_channels} channels at {rates} Hz ({reason}): choose another "
            "with --input-device and --output-device"
        )

    def __enter__(self) -> SoundCard:
        sounddevice = self._sounddevice
        options: dict[str, Any] = {
            "dtype": "float32",
            "latency": "low",
            "samplerate": self.sample_rate,
        }
        try:
            if self.microphone and self.headphones:
                self._stream = sounddevice.Stream(
                    device=(self.microphone.index, self.headphones.index),
                    channels=(self.num_channels, self._num_played),
                    callback=self._record_and_fill,
                    **options,
                )
            elif self.microphone:
                self._stream = sounddevice.InputStream(
                    device=self.microphone.index,
                    channels=self.num_channels,
                    callback=self._record,
                    **options,
                )
            else:
                assert self.headphones
                self._stream = sounddevice.OutputStream(
                    device=self.headphones.index,
                    channels=self._num_played,
                    callback=self._fill,
                    **options,
                )
            self._stream.start()
        except (ValueError, sounddevice.PortAudioError) as error:
            text = " ".join(str(error).split())
            raise ValueError(f"the sound device cannot be opened: {text}") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    @property
    def latency_seconds(self) -> float:
        """Latency of the devices, as they report it."""
        latency = self._stream.latency
        return float(np.sum(latency))

    def blocks(self, stop: threading.Event) -> Iterator[Waveform]:
        """The input, block by block, until `stop` is set or separation is too far behind.

        Raises ValueError when the microphone is disconnected.
        """
        while not stop.is_set():
            try:
                block = self._recorded.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._check()
                continue
            with self._lock:
                self._num_waiting -= block.shape[-1]
            if self._num_waiting > MAX_BEHIND_SECONDS * self.sample_rate:
                self.is_behind = True
                return
            yield block
        while not self.headphones and not self._recorded.empty():  # a file gets all input
            yield self._recorded.get()

    def play(self, waveform: Waveform) -> None:
        """Queue the samples for playback; drops the oldest if playback lags behind the input."""
        if waveform.shape[-1] == 0:
            return
        with self._lock:
            self._ready.append(waveform)
            self._num_ready += waveform.shape[-1]
            self._longest = max(self._longest, waveform.shape[-1])
            most = self._longest + round(SPARE_SECONDS * self.sample_rate)
            if self.microphone and self._num_ready > most:
                self.num_dropped += self._num_ready - self._longest
                self._take(self._num_ready - self._longest)

    def play_in_time(self, waveform: Waveform, stop: threading.Event) -> None:
        """As `play`, after waiting until less than AHEAD_SECONDS are ready."""
        self._wait_for(round(AHEAD_SECONDS * self.sample_rate), stop)
        self.play(waveform)

    def play_out(self, stop: threading.Event) -> None:
        """Wait until all has been played."""
        self._ending = True
        self._wait_for(0, stop)
        if not stop.is_set():
            time.sleep(self.latency_seconds)

    def _wait_for(self, most: int, stop: threading.Event) -> None:
        while self._num_ready > most and not stop.wait(POLL_SECONDS / 10):
            self._check()

    def _check(self) -> None:
        if not self._stream.active:
            raise ValueError("the sound device stopped: is it still connected?")

    def _record(self, recorded: Waveform, num_frames: int, times: Any, status: Any) -> None:
        self.num_lost += bool(status.input_overflow)
        with self._lock:
            self._num_waiting += num_frames
        self._recorded.put(recorded.T.copy())  # the device uses its buffer again

    def _fill(self, played: Waveform, num_frames: int, times: Any, status: Any) -> None:
        with self._lock:
            waveform = self._take(min(num_frames, self._num_ready))
        num = waveform.shape[-1]
        self.num_gaps += self._playing and not self._ending and num < num_frames
        self._playing = num == num_frames
        played[:num] = waveform.T
        played[num:] = 0

    def _record_and_fill(
        self, recorded: Waveform, played: Waveform, num_frames: int, times: Any, status: Any
    ) -> None:
        self._record(recorded, num_frames, times, status)
        self._fill(played, num_frames, times, status)

    def _take(self, num: int) -> Waveform:
        """The oldest num samples that are ready to be played; the lock is held."""
        parts, missing = [np.zeros((self.num_channels, 0), np.float32)], num
        while missing:
            first = self._ready[0]
            parts.append(first[:, :missing])
            if first.shape[-1] <= missing:
                self._ready.popleft()
            else:
                self._ready[0] = first[:, missing:]
            missing -= parts[-1].shape[-1]
        self._num_ready -= num
        return np.concatenate(parts, axis=-1)
