"""Devices: spectral edges, G.711's own quantisation, what codecs keep, and alignment."""

import numpy as np
import pytest

from qsep.recipes.data.effects.config import DEVICES, DeviceConfig
from qsep.recipes.data.effects.devices import (
    Device,
    clipped,
    random_device,
    recorded,
    telephone_band,
)

RATE = 32000


def noise(num_samples: int = 2 * RATE, rate: int = RATE) -> np.ndarray:
    """Noise whose level falls by 12 dB an octave above 500 Hz."""
    hz = np.fft.rfftfreq(num_samples, 1 / rate)
    white = np.fft.rfft(np.random.default_rng(0).standard_normal(num_samples))
    coloured = np.fft.irfft(white / (1 + (hz / 500) ** 2), num_samples)
    return (0.3 * coloured / np.abs(coloured).max()).astype(np.float32)


def gain_db(hz: float) -> float:
    tone = np.sin(2 * np.pi * hz / RATE * np.arange(2 * RATE))
    passed = telephone_band(tone, RATE)[RATE:]
    return float(10 * np.log10(np.square(passed).mean() / 0.5))


@pytest.mark.parametrize("edge_hz", [300.0, 3400.0])
def test_the_telephone_band_has_its_edges_at_3_db(edge_hz: float) -> None:
    assert gain_db(edge_hz) == pytest.approx(-3.01, abs=0.05)


BANDS = [(1000, -0.1, 0.1), (100, -99, -30), (8000, -99, -30)]


@pytest.mark.parametrize(("hz", "least", "most"), BANDS)
def test_the_telephone_band_passes_speech_and_nothing_else(
    hz: float, least: float, most: float
) -> None:
    assert least < gain_db(hz) < most


def test_nothing_above_4_khz_comes_through_a_telephone() -> None:
    device = Device("telephone", 0.5, 6.0)
    received = device.distorted(device.banded(noise(), RATE), RATE)
    energy = np.square(np.abs(np.fft.rfft(received)))
    beyond = np.fft.rfftfreq(len(received), 1 / RATE) > 4000
    assert energy[beyond].sum() < 1e-4 * energy.sum()


def test_the_telephone_quantises_as_g711_says() -> None:
    """Mu-law of 8 segments: a value of 13 bits plus 33 keeps its five leading bits."""
    sound = noise(8000, 8000)
    received = Device("telephone", 0.5, 6.0).distorted(sound, 8000)
    scaled = np.abs(sound * np.float32(0.5 / np.abs(sound).max())).astype(np.float64) * 8192 + 33
    step = 2.0 ** (np.floor(np.log2(scaled)) - 4)
    expected = (np.floor(scaled / step) + 0.5) * step - 33
    actual = np.abs(received).astype(np.float64) * 0.5 / np.abs(sound).max() * 8192
    # The encoder's input is rounded to 14 bits, which lifts values just below a step over it,
    # and where steps double by one and a half.
    assert np.all(np.abs(actual - expected) < 1.51 * step)
    assert np.mean(np.abs(actual - expected) < 1e-3 * step) > 0.97


def test_clipping_cuts_at_its_threshold_and_nowhere_else() -> None:
    sound = noise()
    threshold = np.abs(sound).max() * 10 ** (-6 / 20)
    cut = clipped(sound, 6.0)
    assert np.abs(cut).max() == pytest.approx(threshold, rel=1e-6)
    inside = np.abs(sound) < threshold
    assert np.array_equal(cut[inside], sound[inside])
    assert 0 < (~inside).sum() < len(sound)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 32000, 44100, 96000])
@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("compression", [0.0, 0.7, 1.0])
def test_what_comes_out_is_aligned_with_what_went_in(
    kind: str, rate: int, compression: float
) -> None:
    sound = noise(2 * rate, rate)
    device = Device(kind, compression, 6.0)
    sound = device.banded(sound, rate)
    received = device.distorted(sound, rate)
    assert received.shape == sound.shape
    assert received.dtype == np.float32
    spec = np.fft.rfft(received, 4 * rate) * np.conj(np.fft.rfft(sound, 4 * rate))
    assert int(np.fft.irfft(spec).argmax()) == 0


@pytest.mark.parametrize("kind", ["mp3", "vorbis"])
def test_lossy_files_keep_less_the_smaller_they_are(kind: str) -> None:
    def error_db(compression: float) -> float:
        error = Device(kind, compression, 6.0).distorted(noise(), RATE) - noise()
        return float(10 * np.log10(np.square(error).mean() / np.square(noise()).mean()))

    assert -80 < error_db(0.0) < -20
    assert error_db(0.0) < error_db(1.0) - 3


def test_a_codec_works_alike_at_any_level() -> None:
    device = Device("mobile", 0.5, 6.0)
    loud = device.distorted(noise(), RATE)
    faint = device.distorted(noise() / 1024, RATE)  # a power of two: no rounding
    assert faint * 1024 == pytest.approx(loud, abs=1e-6)


def test_silence_remains_silence() -> None:
    for kind in DEVICES:
        assert not Device(kind, 0.5, 6.0).distorted(np.zeros(800, np.float32), 8000).any()


def test_kinds_are_drawn_alike_often_and_settings_within_their_ranges() -> None:
    config = DeviceConfig(kinds=("mp3", "clipping"), compression=(0.2, 0.4), clip_db=(5.0, 6.0))
    rng = np.random.default_rng(1)
    drawn = [random_device(config, rng) for _ in range(200)]
    assert 70 < sum(device.kind == "mp3" for device in drawn) < 130
    assert all(0.2 <= device.compression <= 0.4 for device in drawn)
    assert all(5 <= device.clip_db <= 6 for device in drawn)


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("rate", [1000, 8000, 192_000])
@pytest.mark.parametrize("num_samples", [1, 2, 1153])
def test_any_length_at_any_rate_is_kept(kind: str, rate: int, num_samples: int) -> None:
    device = Device(kind, 1.0, 3.0)
    sound = noise()[:num_samples]
    received = device.distorted(device.banded(sound, rate), rate)
    assert received.shape == sound.shape
    assert received.dtype == np.float32
    assert np.isfinite(received).all()


def test_a_sound_that_a_telephone_does_not_transmit_is_kept() -> None:
    bat = np.sin(2 * np.pi * 12000 / RATE * np.arange(RATE)).astype(np.float32)
    telephone = Device("telephone", 0.5, 6.0)
    assert recorded(bat, telephone, RATE) is bat
    through = recorded(noise(), telephone, RATE)
    assert np.array_equal(through, telephone.distorted(telephone.banded(noise(), RATE), RATE))
