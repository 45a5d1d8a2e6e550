"""Integrated loudness of a mono waveform: Recommendation ITU-R BS.1770-5, annex 1.

The recommendation gives the filters' coefficients at 48 kHz. Those for other rates come from the analogue
prototypes of De Man, "Evaluation of implementations of the EBU R128 loudness measurement", AES 2018.
"""

from __future__ import annotations

import functools
import math

import numpy as np

BLOCK_SECONDS, STEP_SECONDS = 0.4, 0.1
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0
STATED_RATE = 48000
OFFSET_LUFS = -0.691  # so that a sine of 997 Hz at full scale has -3.01 LUFS

SHELF_HZ, SHELF_DB, SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
SHELF_MIDDLE = 0.4996667741545416  # exponent of the gain in the numerator's middle term
HIGHPASS_HZ, HIGHPASS_Q = 38.13547087602444, 0.5003270373238773


@functools.lru_cache(maxsize=8)
def k_weighting(sample_rate: int) -> np.ndarray:
    """The two filters before the power is measured, as second-order sections of scipy.signal: (2, 6).

    The first, which lifts high frequencies, is left out (1, 6) where these are beyond the sample rate.
    """

    def denominator(cutoff: float, q: float) -> list[float]:
        return [1 + cutoff / q + cutoff**2, 2 * (cutoff**2 - 1), 1 - cutoff / q + cutoff**2]

    cutoff = math.tan(math.pi * SHELF_HZ / sample_rate)
    gain = 10 ** (SHELF_DB / 20)
    middle = gain**SHELF_MIDDLE * cutoff / SHELF_Q
    shelf = [gain + middle + cutoff**2, 2 * (cutoff**2 - gain), gain - middle + cutoff**2]
    below = denominator(cutoff, SHELF_Q)
    sections = [[*(value / below[0] for value in shelf), *(value / below[0] for value in below)]]
    cutoff = math.tan(math.pi * HIGHPASS_HZ / sample_rate)
    below = denominator(cutoff, HIGHPASS_Q)
    # The recommendation does not divide this numerator by a0, which is a gain of 0.04 dB at its rate.
    reference = denominator(math.tan(math.pi * HIGHPASS_HZ / STATED_RATE), HIGHPASS_Q)
    above = [reference[0] / below[0] * value for value in (1.0, -2.0, 1.0)]
    sections.append([*above, *(value / below[0] for value in below)])
    return np.array(sections if SHELF_HZ < sample_rate / 2 else sections[1:])


def loudness_lufs(waveform: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of (t,), full scale at 1, in LUFS; -inf if every block lies below the gate.

    A waveform shorter than a block of 400 ms counts as one block.
    """
    from scipy.signal import sosfilt

    weighted = sosfilt(k_weighting(sample_rate), waveform.astype(np.float64))
    block, step = round(BLOCK_SECONDS * sample_rate), round(STEP_SECONDS * sample_rate)
    energy = np.concatenate([[0.0], np.cumsum(np.square(weighted))])
    block = min(block, len(waveform))
    starts = np.arange(0, len(waveform) - block + 1, step)
    powers = (energy[starts + block] - energy[starts]) / block
    loud = powers[powers > power_of(ABSOLUTE_GATE_LUFS)]
    if not len(loud):
        return -math.inf
    gate = power_of(lufs_of(loud.mean()) + RELATIVE_GATE_LU)
    return lufs_of(loud[loud > gate].mean())


def lufs_of(power: float) -> float:
    """The loudness of a weighted mean square."""
    return OFFSET_LUFS + 10 * math.log10(power)


def power_of(lufs: float) -> float:
    """The weighted mean square of a loudness."""
    return float(10 ** ((lufs - OFFSET_LUFS) / 10))
