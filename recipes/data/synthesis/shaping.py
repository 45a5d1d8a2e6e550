"""Spectra and envelopes over noise and tones: what every synthesised sound is made of.

Waveforms are (t,) float32. A curve is a tuple of (Hz, dB) points, straight over the logarithm of
frequency between them and level beyond its ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..mixtures.augment import fast_length

Curve = Sequence[tuple[float, float]]

FRAME_SECONDS = 0.032  # formants move little in it; a quarter of the shortest bark


def curve_gain(hz: np.ndarray, curve: Curve) -> np.ndarray:
    """Linear gain of the curve at each frequency in hz, of any shape."""
    points_hz, points_db = np.array(curve, float).T
    return 10 ** (np.interp(np.log(hz + 1), np.log(points_hz + 1), points_db) / 20)


def rippled(generator: np.random.Generator, curve: Curve, ripple_db: float) -> Curve:
    """The curve with a random gain at every third of an octave: a body's or a room's resonances.

    ripple_db: standard deviation of the gains.
    """
    hz = np.geomspace(40, 20000, 28)
    db = 20 * np.log10(curve_gain(hz, curve)) + generator.normal(0, ripple_db, len(hz))
    return tuple(zip(hz.tolist(), db.tolist(), strict=True))


def coloured_noise(
    generator: np.random.Generator, num_samples: int, sample_rate: int, curve: Curve
) -> np.ndarray:
    """Gaussian noise whose spectrum follows the curve, of unit root mean square."""
    size = fast_length(num_samples)
    num_bins = size // 2 + 1
    gain = curve_gain(np.fft.rfftfreq(size, 1 / sample_rate), curve).astype(np.float32)
    parts = generator.standard_normal((num_bins, 2), dtype=np.float32) * gain[:, None]
    scale = size / (2 * np.sqrt((gain.astype(float) ** 2).sum()))  # Parseval
    noise = np.fft.irfft(parts.view(np.complex64)[:, 0], size)[:num_samples]
    return (noise * scale).astype(np.float32)


def shape_spectrum(waveform: np.ndarray, sample_rate: int, curve: Curve) -> np.ndarray:
    """The waveform through a filter with the curve's gain and no delay."""
    size = fast_length(len(waveform))
    spec = np.fft.rfft(waveform, size)
    spec *= curve_gain(np.fft.rfftfreq(size, 1 / sample_rate), curve)
    return np.fft.irfft(spec, size)[: len(waveform)].astype(np.float32)


def convolve(waveform: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """Sum over k of waveform (k, t) convolved with responses (k, r): (t,), cut at the end."""
    num_samples = waveform.shape[1]
    size = fast_length(num_samples + responses.shape[1])
    spec = np.fft.rfft(waveform, size, axis=1) * np.fft.rfft(responses, size, axis=1)
    return np.fft.irfft(spec.sum(axis=0), size)[:num_samples].astype(np.float32)


def wander(
    generator: np.random.Generator, num_samples: int, sample_rate: int, rate_hz: float
) -> np.ndarray:
    """A random curve of unit variance at its knots, rate_hz of them a second, straight between."""
    num_knots = int(num_samples / sample_rate * rate_hz) + 3
    start = generator.random()
    times = np.arange(num_samples, dtype=np.float32) * (rate_hz / sample_rate) + start
    knots = generator.standard_normal(num_knots)
    return np.interp(times, np.arange(num_knots), knots).astype(np.float32)


def frame_grid(num_samples: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Where filter_over_time wants gains: frame centres in seconds (n,), bins in Hz (f,)."""
    hop = round(FRAME_SECONDS * sample_rate / 2)
    num_frames = -(-num_samples // hop) + 1
    return np.arange(num_frames) * hop / sample_rate, np.fft.rfftfreq(2 * hop, 1 / sample_rate)


def filter_over_time(waveforms: np.ndarray, gains: np.ndarray, sample_rate: int) -> np.ndarray:
    """Sum over k of waveforms (k, t), each through its own changing filter: (t,).

    gains: (k, n, f), on the points of frame_grid. Root-Hann windows before and after the
    filter, half overlapping, so that unit gains give the sum of the waveforms back.
    """
    num_samples = waveforms.shape[1]
    hop = round(FRAME_SECONDS * sample_rate / 2)
    num_frames = gains.shape[1]
    padded = np.zeros((len(waveforms), (num_frames + 1) * hop), np.float32)
    padded[:, hop : hop + num_samples] = waveforms
    halves = padded.reshape(len(waveforms), num_frames + 1, hop)
    window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)).astype(np.float32)
    frames = np.concatenate([halves[:, :-1], halves[:, 1:]], axis=2) * window
    spec = (np.fft.rfft(frames, axis=2) * gains.astype(np.float32)).sum(axis=0)
    filtered = np.fft.irfft(spec, 2 * hop, axis=1) * window
    total = np.zeros((num_frames + 1, hop))
    total[:-1] += filtered[:, :hop]
    total[1:] += filtered[:, hop:]
    return total.reshape(-1)[hop : hop + num_samples].astype(np.float32)


def normalize_peak(waveform: np.ndarray) -> np.ndarray:
    """The waveform with a peak of 0.9; silence stays silence."""
    return (waveform * (0.9 / max(float(np.abs(waveform).max()), 1e-9))).astype(np.float32)
