"""The synthesised sounds are what their labels say, by measurements made here, independently."""

from __future__ import annotations

import numpy as np
import pytest

from qsep.recipes.data.synthesis.melody import perform
from qsep.recipes.data.synthesis.oscillators import ring
from qsep.recipes.data.synthesis.percussion import ticking
from qsep.recipes.data.synthesis.shaping import coloured_noise, filter_over_time, frame_grid
from qsep.recipes.data.synthesis.sustained import CLARINET, FLUTE, Voice, render
from qsep.recipes.data.synthetic import KINDS, synthesize

RATE = 32000


def clip(label: str, seed: int, num_samples: int = 2 * RATE) -> np.ndarray:
    return synthesize(label, np.random.default_rng(seed), num_samples, RATE)


def mean_power(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Welch's estimate with Hann windows of 2,048 samples: power (f,) and bins in Hz (f,)."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform.astype(float), 2048)[::1024]
    power = (np.abs(np.fft.rfft(frames * np.hanning(2048), axis=1)) ** 2).mean(axis=0)
    return power, np.fft.rfftfreq(2048, 1 / RATE)


def centroid_hz(waveform: np.ndarray) -> float:
    power, hz = mean_power(waveform)
    return float((power * hz).sum() / power.sum())


def flatness(waveform: np.ndarray) -> float:
    """Geometric over arithmetic mean of the power from 200 to 8,000 Hz: 1 for white noise."""
    power, hz = mean_power(waveform)
    band = power[(hz > 200) & (hz < 8000)]
    return float(np.exp(np.log(band).mean()) / band.mean())


def share_below(waveform: np.ndarray, cutoff_hz: float) -> float:
    power, hz = mean_power(waveform)
    return float(power[hz < cutoff_hz].sum() / power.sum())


def level_variation(waveform: np.ndarray) -> float:
    """Standard deviation over mean of the level in frames of 20 ms."""
    frames = waveform[: len(waveform) // 640 * 640].reshape(-1, 640)
    level = np.sqrt((frames.astype(float) ** 2).mean(axis=1))
    return float(level.std() / level.mean())


def steady_tone(voice: Voice, pitch_hz: float) -> np.ndarray:
    generator = np.random.default_rng(5)
    melody = perform(generator, np.array([pitch_hz]), np.array([RATE]), RATE, voice.playing)
    return render(generator, melody, RATE, voice)


def harmonic_power(tone: np.ndarray, pitch_hz: float, harmonic: int) -> float:
    """Power within 4 % of the harmonic, beyond any vibrato here."""
    power = np.abs(np.fft.rfft(tone * np.hanning(len(tone)))) ** 2
    hz = np.fft.rfftfreq(len(tone), 1 / RATE)
    near = np.abs(hz / (harmonic * pitch_hz) - 1) < 0.04
    return float(power[near].sum())


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
def test_sound_of_any_length_and_rate_is_finite_with_peak_at_most_one(
    label: str, num_samples: int, rate: int
) -> None:
    sound = synthesize(label, np.random.default_rng(0), num_samples, rate)
    assert sound.shape == (num_samples,)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert 0 < np.abs(sound).max() <= 1


@pytest.mark.parametrize("label", KINDS)
def test_no_clip_of_three_seconds_is_nearly_silent(label: str) -> None:
    for seed in range(5):
        # a single tick has 5 ms of sound in 3 s: 28 dB below its peak
        assert 20 * np.log10(clip(label, seed, 3 * RATE).std()) > -45


def test_an_unknown_label_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="theremin"):
        synthesize("theremin", np.random.default_rng(0), 100, RATE)


@pytest.mark.parametrize("period_seconds", [0.25, 0.5])
def test_ticks_repeat_at_the_stated_period(period_seconds: float) -> None:
    ticks = ticking(np.random.default_rng(2), 8 * RATE, RATE, period_seconds)
    level = np.abs(ticks[: 8 * RATE]).reshape(-1, 160).max(axis=1)  # in steps of 5 ms
    level = level - level.mean()
    similarity = np.correlate(level, level, mode="full")[len(level) - 1 :]
    # tick and tock differ, so twice the period may win; anything else may not
    lag_seconds = (20 + int(similarity[20:300].argmax())) * 0.005
    multiple = round(lag_seconds / period_seconds)
    assert multiple in (1, 2)
    assert lag_seconds == pytest.approx(multiple * period_seconds, abs=0.006)  # a step and jitter


def test_a_flute_has_nearly_all_its_energy_at_harmonics() -> None:
    tone = steady_tone(FLUTE, 523.25)
    at_harmonics = sum(harmonic_power(tone, 523.25, k) for k in range(1, 12))
    everything = (np.abs(np.fft.rfft(tone * np.hanning(len(tone)))) ** 2).sum()
    assert at_harmonics / everything > 0.97


def test_a_low_clarinet_tone_lacks_its_second_harmonic() -> None:
    tone = steady_tone(CLARINET, 220.0)
    assert harmonic_power(tone, 220, 2) < 0.1 * harmonic_power(tone, 220, 1)
    assert harmonic_power(tone, 220, 2) < 0.5 * harmonic_power(tone, 220, 3)


def test_rain_is_flatter_than_a_cello_by_twenty_decibels() -> None:
    rains = np.median([flatness(clip("rain", seed)) for seed in range(5)])
    cellos = np.median([flatness(clip("cello", seed)) for seed in range(5)])
    assert rains > 100 * cellos


def test_a_bass_drum_is_below_200_hz() -> None:
    assert min(share_below(clip("bass_drum", seed), 200) for seed in range(8)) > 0.8


def test_a_hi_hat_is_above_1000_hz() -> None:
    assert max(share_below(clip("hi_hat", seed), 1000) for seed in range(8)) < 0.1


def test_rain_is_steadier_than_barking() -> None:
    steadiest_bark = min(level_variation(clip("dog_bark", seed)) for seed in range(8))
    assert max(level_variation(clip("rain", seed)) for seed in range(8)) < steadiest_bark


def test_strings_are_ordered_by_pitch() -> None:
    centroids = [
        np.median([centroid_hz(clip(label, seed)) for seed in range(8)])
        for label in ("double_bass", "cello", "violin")
    ]
    assert centroids == sorted(centroids)


def test_two_measures_tell_six_kinds_apart() -> None:
    """Nearest neighbour in (log centroid, level variation, log flatness), leave one out."""
    labels = ("rain", "clock_tick", "bass_drum", "flute", "dog_bark", "hi_hat")
    measured = [
        (np.log(centroid_hz(sound)), level_variation(sound), 0.3 * np.log(flatness(sound)))
        for label in labels
        for sound in (clip(label, seed, 3 * RATE) for seed in range(8))
    ]
    points = np.array(measured)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    truth = np.repeat(np.arange(len(labels)), 8)
    assert (truth[distances.argmin(axis=1)] == truth).mean() > 0.75  # chance: 0.17


def test_ring_is_the_sum_of_damped_sines() -> None:
    hz, decay = np.array([440.0, 1234.5]), np.array([0.3, 1.1])
    sizes, phases = np.array([1.0, 0.5]), np.array([0.2, -1.0])
    times = np.arange(1001)[:, None] / RATE
    expected = sizes * 1000 ** (-times / decay) * np.cos(2 * np.pi * hz * times + phases)
    found = ring(1001, RATE, hz, decay, sizes, phases)
    np.testing.assert_allclose(found, expected.sum(axis=1), atol=3e-6)  # float32 products


def test_coloured_noise_follows_its_curve() -> None:
    curve = ((100, 0.0), (1000, 0.0), (4000, -20.0), (16000, -20.0))
    noise = coloured_noise(np.random.default_rng(0), 20 * RATE, RATE, curve)
    power, hz = mean_power(noise)
    low, high = power[(hz > 200) & (hz < 900)].mean(), power[(hz > 5000) & (hz < 15000)].mean()
    assert 10 * np.log10(high / low) == pytest.approx(-20, abs=0.3)  # 600 frames, 45 bins: 0.03 dB
    assert noise.std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("num_samples", [1, 511, 5003])
def test_filter_over_time_with_unit_gains_returns_the_sum(num_samples: int) -> None:
    waveforms = np.random.default_rng(0).standard_normal((2, num_samples)).astype(np.float32)
    frames, bins = frame_grid(num_samples, RATE)
    found = filter_over_time(waveforms, np.ones((2, len(frames), len(bins))), RATE)
    np.testing.assert_allclose(found, waveforms.sum(axis=0), atol=3e-6)  # float32 transforms
