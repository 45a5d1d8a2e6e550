"""BSSEval scores as columns of items.csv, by this package or by museval."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bss_eval import bss_eval

NAMES = ("bss_sdr", "bss_isr", "bss_sir", "bss_sar")
Backend = Callable[..., Any]  # called as bss_eval


def import_museval() -> Any:
    """The module museval, also without ffmpeg, which only its file reader needs.

    Raises ValueError if it is not installed.
    """
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        # museval imports it, and it needs ffmpeg.
        sys.modules.setdefault("stempeg", ModuleType("stempeg"))
    try:
        import museval
    except ImportError as error:
        raise ValueError("backend=museval needs museval: pip install 'qsep[museval]'") from error
    return museval


def by_museval(
    references: NDArray[np.float64],
    estimates: NDArray[np.float64],
    window: float = math.inf,
    hop: float = math.inf,
) -> Any:
    """As bss_eval for signals (s, t, c), by museval, which raises ValueError for silence."""
    metrics = import_museval().metrics
    result = metrics.bss_eval(references, estimates, window=window, hop=hop)
    return result[:4]


BACKENDS: Mapping[str, Backend] = {"qsep": bss_eval, "museval": by_museval}


def first_source(
    backend: Backend,
    references: NDArray[np.float64],
    estimates: NDArray[np.float64],
    names: Sequence[str] = NAMES,
) -> dict[str, float | None]:
    """Scores in dB of the first source of several (s, t), over the whole signal. names: some of NAMES."""
    ratios = dict(zip(NAMES, backend(references[..., None], estimates[..., None]), strict=True))
    return {name: as_score(ratios[name][0, 0]) for name in names}


def as_score(value: float) -> float | None:
    """A ratio in dB, rounded as other scores; None for NaN, which silence gives. ValueError for infinity."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise ValueError("an estimate that equals its target to the last bit has no finite score")
    return round(float(value), 6) + 0.0
