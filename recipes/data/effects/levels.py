"""Levels of sources by signal-to-noise ratio or by loudness, and a limit on the mixture's peak.

Sources are scaled as wholes, so each remains part of the mixture, which is their sum. The level of a source
at several microphones is the mean over them.
"""

from __future__ import annotations

import numpy as np
import torch

from qsep.separation.signal.mixing import gain_for_snr

from .config import LevelConfig
from .loudness import loudness_lufs

MEASURED_DB = -20.0  # mean power at which loudness is measured, far above the absolute gate


def leveled(
    sources: np.ndarray, config: LevelConfig, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """The sources (s, m, t) at levels drawn by config.rule: (s, m, t) float32. What is silent remains so."""
    if config.rule == "loudness":
        drawn_lufs = rng.uniform(*config.loudness_lufs, len(sources))
        return np.stack(
            [
                at_loudness(source, level, sample_rate)
                for source, level in zip(sources, drawn_lufs, strict=True)
            ]
        )
    if config.rule == "snr" and len(sources) > 1:
        snr_db = rng.uniform(*config.snr_db)
        if not sources[0].any():
            return sources
        first, rest = torch.from_numpy(sources[:1]), torch.from_numpy(sources[1:])
        gain = gain_for_snr(first, rest.sum(dim=0, keepdim=True), snr_db)
        return torch.cat([first, rest * gain]).numpy()
    return sources


def at_loudness(waveform: np.ndarray, lufs: float, sample_rate: int) -> np.ndarray:
    """The waveform (m, t) scaled to an integrated loudness in LUFS; silence as it is.

    Loudness is measured on the microphones' signals one after another, as if they were one longer signal.
    Inaudible rumble, which has no loudness, is scaled to this power in dB instead.
    """
    if not power(waveform):
        return waveform
    common = 10 ** (MEASURED_DB / 20) / np.sqrt(power(waveform))
    measured = loudness_lufs((waveform * common).ravel(), sample_rate)
    gain_db = lufs - (measured if np.isfinite(measured) else MEASURED_DB)
    return waveform * np.float32(common * 10 ** (gain_db / 20))


def at_powers(sources: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The sources (s, m, t) scaled to the powers of `like` (s, 1, t); a silent source remains so."""
    expected = np.sqrt(np.square(like, dtype=np.float64).mean(axis=(1, 2)))
    actual = np.sqrt(np.square(sources, dtype=np.float64).mean(axis=(1, 2)))
    gains = np.divide(expected, actual, out=np.ones_like(expected), where=actual > 0)
    return sources * gains[:, None, None].astype(np.float32)


def within_peak(sources: np.ndarray, max_peak: float) -> np.ndarray:
    """The sources (s, m, t), scaled down together if the peak of their sum exceeds max_peak."""
    peak = float(np.abs(sources.sum(axis=0)).max())
    return sources * np.float32(max_peak / peak) if peak > max_peak else sources


def power(waveform: np.ndarray) -> float:
    """Mean square of (m, t)."""
    return float(np.square(waveform, dtype=np.float64).mean())
