"""The synthetic sounds are what their labels say, by measurements made here, independently."""

from __future__ import annotations

import numpy as np
import pytest

from qsep.recipes.data.synthetic import KINDS, band_noise, ring, synthesize

RATE = 32000


def clip(label: str, seed: int, num_samples: int = 2 * RATE) -> np.ndarray:
    return synthesize(label, np.random.default_rng(seed), num_samples, RATE)


def mean_power(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Welch's estimate with Hann windows of 2,048 samples: power (f,) and bins in Hz (f,)."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform.astype(float), 2048)[::1024]
    power = (np.abs(np.fft.rfft(frames * np.hanning(2048), axis=1)) ** 2).mean(axis=0)
    return power, np.fft.rfftfreq(2048, 1 / RATE)


def flatness(waveform: np.ndarray) -> float:
    """Geometric over arithmetic mean of the power from 200 to 8,000 Hz: 1 for white noise."""
    power, hz = mean_power(waveform)
    band = power[(hz > 200) & (hz < 8000)]
    return float(np.exp(np.log(band).mean()) / band.mean())


def share_below(waveform: np.ndarray, cutoff_hz: float) -> float:
    power, hz = mean_power(waveform)
    return float(power[hz < cutoff_hz].sum() / power.sum())


@pytest.mark.parametrize("label", KINDS)
def test_the_same_seed_gives_the_same_sound(label: str) -> None:
    np.testing.assert_array_equal(clip(label, 3), clip(label, 3))


@pytest.mark.parametrize("label", KINDS)
def test_another_seed_gives_another_sound(label: str) -> None:
    first, second = clip(label, 1).astype(float), clip(label, 2).astype(float)
    correlation = first @ second / np.sqrt((first @ first) * (second @ second))
    assert abs(correlation) < 0.7


@pytest.mark.parametrize("label", KINDS)
@pytest.mark.parametrize(("num_samples", "rate"), [(1, 32000), (777, 8000), (44101, 44100)])
def test_sound_of_any_length_and_rate_is_finite_with_a_peak_of_nine_tenths(
    label: str, num_samples: int, rate: int
) -> None:
    sound = synthesize(label, np.random.default_rng(0), num_samples, rate)
    assert sound.shape == (num_samples,)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() == pytest.approx(0.9, rel=1e-6)  # float32


@pytest.mark.parametrize("label", KINDS)
def test_no_clip_of_three_seconds_is_nearly_silent(label: str) -> None:
    for seed in range(5):
        assert 20 * np.log10(clip(label, seed, 3 * RATE).std()) > -45  # a tick is short


def test_an_unknown_label_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="theremin"):
        synthesize("theremin", np.random.default_rng(0), 100, RATE)


def test_ticks_are_short_and_come_again() -> None:
    ticks = clip("clock_tick", 2, 4 * RATE)
    level = np.abs(ticks).reshape(-1, 320).max(axis=1)  # in steps of 10 ms
    sounding = level > 0.1
    starts = np.flatnonzero(sounding[1:] & ~sounding[:-1])
    assert len(starts) >= 3
    assert sounding.mean() < 0.4
    assert np.diff(starts).min() >= 18  # 0.2 s apart or more, within two steps


def test_a_flute_has_nearly_all_its_energy_at_harmonics_of_its_loudest_tone() -> None:
    sound = clip("flute", 4, 4096)  # one note, for none is shorter than a quarter of a second
    power = np.abs(np.fft.rfft(sound[1024:] * np.hanning(3072))) ** 2
    hz = np.fft.rfftfreq(3072, 1 / RATE)
    pitch = hz[power.argmax()]
    near = np.abs(hz / pitch - np.round(hz / pitch)) * pitch < 40  # the window's main lobe: 21 Hz
    assert power[near & (hz > pitch / 2)].sum() / power.sum() > 0.97


def test_rain_is_flatter_than_a_flute_by_twenty_decibels() -> None:
    rains = np.median([flatness(clip("rain", seed)) for seed in range(5)])
    flutes = np.median([flatness(clip("flute", seed)) for seed in range(5)])
    assert rains > 100 * flutes


def test_a_bass_drum_is_below_200_hz() -> None:
    assert min(share_below(clip("bass_drum", seed), 200) for seed in range(8)) > 0.8


def test_ring_is_the_sum_of_damped_sines_below_the_nyquist_frequency() -> None:
    times = np.arange(1001) / RATE
    expected = np.sin(2 * np.pi * 440 * times) * 1000 ** (-times / 0.1)
    expected += np.sin(2 * np.pi * 5000 * times) * 1000 ** (-times / 0.02)
    actual = ring(1001, RATE, np.array([440, 5000, 16001]), np.array([0.1, 0.02, 1.0]))
    np.testing.assert_allclose(actual, expected, atol=1e-12)  # float64


def test_noise_falls_by_twelve_decibels_an_octave_beside_its_band() -> None:
    noise = band_noise(np.random.default_rng(0), 20 * RATE, RATE, 100, 1000)
    power, hz = mean_power(noise)
    octave = [power[(hz > low) & (hz < 1.1 * low)].mean() for low in (5000, 10000)]
    assert 10 * np.log10(octave[0] / octave[1]) == pytest.approx(12, abs=0.3)  # 600 frames
    assert noise.std() == pytest.approx(1, abs=1e-6)
