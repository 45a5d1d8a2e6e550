"""`qsep live`, with files and with a sounddevice that only these tests have."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from command import Run, names, record
from tiny import noise, tiny_separator
from tiny_settings import RATE

from qsep.queries.encoders import minilm
from qsep.recipes.inference.sound_card import SPARE_SECONDS, Device, SoundCard
from qsep.separation.storage.checkpoint import describe, save_checkpoint

FINE = SimpleNamespace(input_overflow=False, output_underflow=False)
BLOCKS = [256, 1, 700, 64]


class PortAudioError(Exception): ...


class FakeStream:
    """What the microphone hears is `heard` (t, c); `played` has what reached the headphones, (t, c)."""

    latency = 0.01
    active = True

    def __init__(self, module: Any, kind: str, **options: Any) -> None:
        self.module, self.kind, self.options = module, kind, options
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.closed = False
        module.streams.append(self)

    def start(self) -> None:
        if self.module.threaded:
            self.thread.start()

    def run(self) -> None:
        start, turn, heard = 0, 0, self.module.heard
        while not self.closed and (self.kind == "output" or start < len(heard)):
            start += self.step(heard[start : start + BLOCKS[turn % len(BLOCKS)]])
            turn += 1
        if self.module.at_end:
            self.module.at_end()

    def step(self, block: np.ndarray, frames: int = 100) -> int:
        callback = self.options["callback"]
        if self.kind == "input":
            callback(block, len(block), None, FINE)
            return len(block)
        channels = self.options["channels"]
        if self.kind == "output":
            threading.Event().wait(0.001)  # leaves the processor to the model
            played = np.full((frames, channels), 9.0, np.float32)
            callback(played, frames, None, FINE)
        else:
            played = np.full((len(block), channels[1]), 9.0, np.float32)
            callback(block, played, len(block), None, FINE)
        self.module.played.append(played)
        return len(block)

    def close(self) -> None:
        self.closed = True


class FakeSounddevice:
    """Two devices; rates: those that they accept."""

    PortAudioError = PortAudioError
    default = SimpleNamespace(device=(0, 1))

    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.heard = np.zeros((0, 1), np.float32)
        self.played: list[np.ndarray] = []
        self.rates: tuple[int, ...] = (RATE, 44100)
        self.threaded, self.at_end = True, None
        self.devices = [
            {"index": 0, "name": "Mic", "max_input_channels": 1, "max_output_channels": 0},
            {"index": 1, "name": "Phones", "max_input_channels": 0, "max_output_channels": 2},
        ]
        for device in self.devices:
            device |= {"hostapi": 0, "default_samplerate": 44100.0}

    def query_devices(self, device: Any = None, kind: str | None = None) -> Any:
        if kind is None:
            return self.devices
        able = [each for each in self.devices if each[f"max_{kind}_channels"]]
        if not able:
            raise PortAudioError("Error querying device -1")
        if device is None:
            return able[0]
        for each in able:
            if device == each["index"] or str(device) in str(each["name"]):
                return each
        raise ValueError(f"No {kind} device matching {device!r}")

    def query_hostapis(self) -> Any:
        return ({"name": "ALSA"},)

    def check_input_settings(
        self, device: int, channels: int, dtype: str, samplerate: float
    ) -> None:
        if samplerate not in self.rates:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    check_output_settings = check_input_settings

    def Stream(self, **options: Any) -> FakeStream:  # noqa: N802
        return FakeStream(self, "both", **options)

    def InputStream(self, **options: Any) -> FakeStream:  # noqa: N802
        return FakeStream(self, "input", **options)

    def OutputStream(self, **options: Any) -> FakeStream:  # noqa: N802
        return FakeStream(self, "output", **options)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> FakeSounddevice:
    monkeypatch.setattr("qsep.separation.inference.stream.MIN_SECONDS", 0.05)
    fake = FakeSounddevice()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def read(path: Path) -> np.ndarray:
    waveform, _ = soundfile.read(path, always_2d=True, dtype="float32")
    return waveform


@pytest.fixture
def expected(qsep: Run, tiny_model: Path, folder: Path) -> np.ndarray:
    """The target of a.wav by `qsep separate`, (t, c)."""
    record(folder / "a.wav", 5001, subtype="FLOAT")
    assert qsep("separate", "a.wav", "-q", "rain", "-o", "off.wav", "-m", tiny_model).code == 0
    return read(folder / "off.wav")


def test_from_file_to_file_equals_separate_without_a_sound_card(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    command = ("live", "-q", "rain", "-m", tiny_model, "--input", "a.wav", "--output", "live.wav")
    done = qsep(*command, "--chunk-seconds", "0.1")
    assert done.code == 0, done.err
    # Chunks of other lengths: float32 sums in another order.
    np.testing.assert_allclose(read(folder / "live.wav"), expected, atol=1e-6)
    first, last = done.err.splitlines()[-2:]
    assert first.startswith("qsep: “rain” from a.wav to live.wav, ")
    assert last.startswith("qsep: 0.6 s, separated in ")
    assert names(folder) == {"a.wav", "off.wav", "live.wav"}
    assert "live.wav exists: add --overwrite" in qsep(*command).error
    shorter = qsep(*command, "--overwrite", "--seconds", "0.25")
    assert shorter.code == 0, shorter.err
    assert len(read(folder / "live.wav")) == RATE // 4


def test_a_causal_model_is_one_window_late(
    qsep: Run, folder: Path, tmp_path: Path, card: FakeSounddevice
) -> None:
    separator = tiny_separator("queried:causal", query_dim=384)
    encoder = minilm.build(minilm.Config())
    description = describe("queried", separator, "minilm", encoder, {"recipe": "tests"})
    save_checkpoint(tmp_path / "causal", description, separator.state_dict(), "# Causal\n")
    record(folder / "a.wav", 5001, subtype="FLOAT")
    model = ("-q", "rain", "-m", tmp_path / "causal")
    assert qsep("separate", "a.wav", "-o", "off.wav", *model).code == 0
    card.heard = read(folder / "a.wav")
    done = qsep("live", "--output", "live.wav", "--seconds", 5001 / RATE, *model)
    assert done.code == 0, done.err
    assert "(model 0.008, devices 0.010)" in done.err  # 64 samples at 8 kHz
    # 1e-6: float32 through a few layers, in blocks of other sizes
    np.testing.assert_allclose(
        read(folder / "live.wav"), read(folder / "off.wav"), atol=1e-6, rtol=1e-5
    )


def test_what_the_microphone_heard_until_ctrl_c_is_in_the_file(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    expected: np.ndarray,
    card: FakeSounddevice,
) -> None:
    card.heard = read(folder / "a.wav")
    card.at_end = lambda: os.kill(os.getpid(), signal.SIGINT)  # type: ignore[assignment]
    done = qsep("live", "-q", "rain", "-m", tiny_model, "--output", "live.wav")
    assert done.code == 0, done.err
    np.testing.assert_allclose(read(folder / "live.wav"), expected, atol=1e-6)
    assert "from Mic to live.wav, 8000 Hz" in done.err
    assert "Ctrl-C ends it" in done.err
    assert "interrupted" not in done.err
    assert [stream.closed for stream in card.streams] == [True]


def test_a_file_is_played_in_full_on_both_ears(
    qsep: Run, tiny_model: Path, folder: Path, expected: np.ndarray, card: FakeSounddevice
) -> None:
    done = qsep("live", "-q", "rain", "-m", tiny_model, "--input", "a.wav")
    assert done.code == 0, done.err
    played = np.concatenate(card.played)
    assert played.shape[1] == 2
    np.testing.assert_array_equal(played[:, 0], played[:, 1])
    sounding = played[
        played[:, 0] != 0, 0
    ]  # silence comes before, after, and where a block is late
    np.testing.assert_allclose(sounding, expected[expected != 0], atol=1e-6)


def test_without_the_models_rate_the_devices_own_is_used(
    qsep: Run, tiny_model: Path, folder: Path, card: FakeSounddevice
) -> None:
    card.rates, card.heard = (44100,), noise(4410, 1).numpy()
    done = qsep("live", "-q", "rain", "-m", tiny_model, "--output", "a.flac", "--seconds", "0.1")
    assert done.code == 0, done.err
    assert soundfile.info(folder / "a.flac").samplerate == 44100
    assert soundfile.info(folder / "a.flac").frames == 4410
    card.rates = (96000,)
    refused = qsep("live", "-q", "rain", "-m", tiny_model, "--output", "b.wav")
    assert "Mic: refused 1 channels at 8000 or 44100 Hz (Invalid sample rate" in refused.err
    assert not (folder / "b.wav").exists()


MICROPHONE, HEADPHONES = Device(0, "Mic", 1, 44100), Device(1, "Phones", 2, 44100)


def test_between_both_devices_samples_come_in_order_and_silence_before(
    card: FakeSounddevice,
) -> None:
    card.threaded = False
    sound = noise(900, 1).numpy()
    stop = threading.Event()
    with SoundCard(card, MICROPHONE, HEADPHONES, 1, [RATE]) as both:
        (stream,) = card.streams
        blocks = both.blocks(stop)
        for start in range(0, 900, 100):
            stream.step(sound[start : start + 100])
            both.play(next(blocks))  # as a model without latency
        stop.set()
        assert list(blocks) == []
    played = np.concatenate(card.played)
    np.testing.assert_array_equal(played[:100], 0)
    np.testing.assert_array_equal(played[100:], sound[:800].repeat(2, axis=1))
    assert (both.num_gaps, both.num_lost, both.num_dropped) == (0, 0, 0)


def test_gaps_are_counted_and_a_backlog_is_dropped(card: FakeSounddevice) -> None:
    card.threaded = False
    sound, spare = noise(1, 100).numpy(), round(SPARE_SECONDS * RATE)
    with SoundCard(card, MICROPHONE, HEADPHONES, 1, [RATE]) as both:
        (stream,) = card.streams
        both.play(sound)
        for _ in range(3):  # the sound, then twice nothing
            stream.step(np.zeros((100, 1), np.float32))
        assert both.num_gaps == 1
        for _ in range(spare // 100 + 1):
            both.play(sound)
        assert both.num_dropped == 0
        both.play(sound)  # now more than the spare time waits: one block is kept
        assert both.num_dropped == spare + 100
        stream.step(np.zeros((100, 1), np.float32))
        np.testing.assert_array_equal(card.played[-1][:, 0], sound[0])


def test_a_model_that_is_too_slow_ends_the_session(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    card: FakeSounddevice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qsep.recipes.inference.sound_card.MAX_BEHIND_SECONDS", 0)
    card.heard = noise(5000, 1).numpy()
    done = qsep("live", "-q", "rain", "-m", tiny_model, "--output", "a.wav")
    assert done.code == 2
    assert "separation takes longer than the sound lasts" in done.err
    assert (folder / "a.wav").exists()


def test_a_device_that_stops_is_an_error(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    card: FakeSounddevice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeStream, "active", False)
    done = qsep("live", "-q", "rain", "-m", tiny_model)
    assert done.code == 2
    assert "the sound device stopped: is it still connected?" in done.err


def test_devices_are_listed(qsep: Run, card: FakeSounddevice) -> None:
    assert qsep("live", "--devices").out == (
        "  0 Mic (ALSA): 1 in, 0 out, 44100 Hz, default microphone\n"
        "  1 Phones (ALSA): 0 in, 2 out, 44100 Hz, default headphones\n"
    )
    card.devices = []
    assert "no sound device: connect one" in qsep("live", "--devices").error


def test_what_is_missing_is_one_line_before_any_model_is_loaded(
    qsep: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("live", "-q", "rain", "-m", "no-such-model")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "pip install 'qsep[live]'" in qsep(*command).error
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "finds no PortAudio: install it (apt install" in qsep(*command).error
    fake = FakeSounddevice()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    wrong = qsep(*command, "--input-device", "Mac").error
    assert "microphone: No input device matching 'Mac': qsep live --devices lists" in wrong
    fake.devices = fake.devices[:1]
    silent = qsep(*command).error
    assert "headphones: Error querying device -1: qsep live --devices lists" in silent
    assert "say which one sound to hear" in qsep("live").error
    assert "missing.wav does not exist" in qsep(*command, "--input", "missing.wav").error
    assert "end the name in .wav" in qsep(*command, "--output", "a.txt").error
    record(folder / "a.wav")
    both = qsep(*command, "--input", "a.wav", "--output", "a.wav", "--overwrite")
    assert "a.wav is an input too" in both.error
    assert names(folder) == {"a.wav"}
