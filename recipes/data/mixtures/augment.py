"""Data augmentation: speed, equalisation and reverberation. Waveforms are (t,) float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from qsep.queries.settings import configuration

NUM_POINTS = 8  # of the equaliser's curve
MAX_REVERBERATION_SECONDS = 0.8
TAIL = 0.7  # of the reverberation time: the part of a room's response that is kept


@configuration
class AugmentConfig:
    """Probabilities are in [0, 1].

    speed_semitones: largest change of speed, and with it of pitch. equalizer_db: standard deviation of the
    gain at each point of the equaliser's curve. second_probability: of adding a second recording of the same
    label to a sound, at a level within second_db of the first.
    """

    speed_probability: float = 0.5
    speed_semitones: float = 3.0
    filter_probability: float = 0.4
    equalizer_db: float = 4.0
    reverb_probability: float = 0.4
    second_probability: float = 0.0
    second_db: float = 6.0


def change_speed(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """Resample, so that speed and pitch rise by this many semitones (negative: fall)."""
    ratio = 2 ** (semitones / 12)
    return soxr.resample(waveform, ratio, 1.0, quality="LQ")


def equalizer_points_hz(sample_rate: int) -> np.ndarray:
    """The frequencies at which the equaliser's gains are drawn: (NUM_POINTS,), spaced logarithmically."""
    return np.geomspace(30, sample_rate / 2, NUM_POINTS)


def equalizer_response(gains_db: np.ndarray, num_bins: int, sample_rate: int) -> np.ndarray:
    """The gain of each bin, (num_bins,), for gains in dB at the equaliser's points, (NUM_POINTS,)."""
    points_hz = equalizer_points_hz(sample_rate)
    bins_hz = np.linspace(0, sample_rate / 2, num_bins)
    return 10 ** (np.interp(np.log(bins_hz + 1), np.log(points_hz + 1), gains_db) / 20)


def room_response(rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """A random room impulse response: the direct sound, then noise that decays by 60 dB in 0.1 to 0.8 s.

    The direct sound is 0 to 15 dB above the reverberation (Polack's statistical model, 1988).
    """
    reverberation_seconds = rng.uniform(0.1, MAX_REVERBERATION_SECONDS)
    num_samples = int(reverberation_seconds * sample_rate * TAIL)
    decay = 10 ** (-3 * np.arange(num_samples) / (reverberation_seconds * sample_rate))
    tail = rng.standard_normal(num_samples, dtype=np.float32) * decay
    tail[: int(rng.uniform(0.001, 0.01) * sample_rate)] = 0
    tail *= 10 ** (-rng.uniform(0, 15) / 20) / np.linalg.norm(tail)
    tail[0] = 1
    return tail.astype(np.float32)


def longest_room(sample_rate: int) -> int:
    """The largest number of samples of a `room_response`."""
    return int(MAX_REVERBERATION_SECONDS * sample_rate * TAIL)


@dataclass(frozen=True)
class Filter:
    """What was drawn for a sound. gains_db: of the equaliser, (NUM_POINTS,). room: response, (k,).
    cutoff_hz: of a low-pass filter with 24 dB per octave. None for those that it does not have."""

    gains_db: np.ndarray | None
    room: np.ndarray | None
    cutoff_hz: float | None


def random_filter(
    rng: np.random.Generator,
    sample_rate: int,
    config: AugmentConfig,
    cutoff_hz: float | None = None,
) -> Filter:
    """Random equalisation and reverberation, and the low-pass filter if a cutoff is given."""
    equalize = rng.random() < config.filter_probability
    reverberate = rng.random() < config.reverb_probability
    room = room_response(rng, sample_rate) if reverberate else None
    gains_db = rng.normal(0, config.equalizer_db, NUM_POINTS) if equalize else None
    return Filter(gains_db, room, cutoff_hz)


def filtered(waveform: np.ndarray, drawn: Filter, sample_rate: int) -> np.ndarray:
    """The waveform (t,) through all of a filter, in one multiplication of spectra: (t,) float32."""
    if drawn.gains_db is None and drawn.room is None and drawn.cutoff_hz is None:
        return waveform
    room = np.ones(1, np.float32) if drawn.room is None else drawn.room
    size = fast_length(len(waveform) + len(room))
    spec = np.fft.rfft(waveform, size)
    if drawn.gains_db is not None:
        spec *= equalizer_response(drawn.gains_db, len(spec), sample_rate)
    if drawn.room is not None:
        spec *= np.fft.rfft(room, size)
    if drawn.cutoff_hz is not None:  # Butterworth's magnitude, order 4
        bins_hz = np.linspace(0, sample_rate / 2, len(spec), dtype=np.float32)
        spec *= 1 / np.sqrt(1 + (bins_hz / np.float32(drawn.cutoff_hz)) ** 8)
    return np.fft.irfft(spec, size)[: len(waveform)].astype(np.float32)


def equalised_and_reverberated(
    waveform: np.ndarray, rng: np.random.Generator, sample_rate: int, config: AugmentConfig
) -> np.ndarray:
    """Random equalisation and reverberation: (t,) to (t,)."""
    return filtered(waveform, random_filter(rng, sample_rate, config), sample_rate)


def fast_length(num_samples: int) -> int:
    """The smallest 2^i, 3 * 2^i or 5 * 2^i that is not smaller; other sizes have slow transforms."""
    power = 1 << max(0, (num_samples - 1).bit_length())
    return min(size for size in (power, power * 3 // 4, power * 5 // 8) if size >= num_samples)
