"""Sounds as microphones in a line receive them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

SOUND_MPS = 343.0
MARGIN_SAMPLES = 64  # of silence, into which a fractional delay rings


def plane_wave(
    waveform: NDArray[np.float32],
    angle: float,
    num_microphones: int,
    spacing_meters: float,
    sample_rate: int,
) -> NDArray[np.float32]:
    """A sound from far away at each microphone of a line: (t,) to (num_microphones, t) float32.

    angle: in radians between the line, from the first microphone to the last, and where the sound travels:
    at 0 the first one hears it first. spacing_meters: between neighbours. The first receives the waveform
    as it is.
    """
    step = spacing_meters * math.cos(angle) / SOUND_MPS * sample_rate
    delays = step * np.arange(num_microphones)
    num_samples = len(waveform)
    size = next_fast_len(num_samples + math.ceil(np.abs(delays).max()) + MARGIN_SAMPLES, real=True)
    turns = delays[:, None] * rfftfreq(size)
    received = irfft(rfft(waveform, size) * np.exp(-2j * np.pi * turns), size)[:, :num_samples]
    received[0] = waveform
    return received.astype(np.float32)
