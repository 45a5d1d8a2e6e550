"""BSSEval as columns of items.csv, by our own implementation or by museval."""

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
Backend = Callable[..., Any]  # as bss_eval


def import_museval() -> Any:
    """museval, also where there is no ffmpeg: only its reader of files, unused here, needs that."""
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        sys.modules.setdefault("stempeg", ModuleType("stempeg"))  # it would refuse to be imported
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
    """As bss_eval, by museval, which refuses silence."""
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
    """Those of NAMES that are wanted, of the first of several sources (s, t), over the whole signal."""
    ratios = dict(zip(NAMES, backend(references[..., None], estimates[..., None]), strict=True))
    return {name: as_score(ratios[name][0, 0]) for name in names}


def as_score(value: float) -> float | None:
    """Rounded like other scores; None for the NaN of silence."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise ValueError("an estimate that equals its target to the last bit has no finite score")
    return round(float(value), 6) + 0.0
