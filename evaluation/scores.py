"""Scores of one item: the columns of items.csv."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .interface import Item
from .metrics.sdr import leakage_db, sa_sdr, sdr, si_sdr
from .metrics.spectral import log_spectral_distance_db, multi_resolution_distance

SDRS = ("si_sdr", "si_sdr_i", "sdr", "sdr_i")
SPECTRAL = ("lsd_db", "mr_distance")
EMBEDDED = ("text_score", "audio_score")  # only where an evaluation has an audio embedding
# Scores of publications, each only under its protocol: BSSEval 4 (see bss_eval.py), over the whole signal
# and as the median of frames, BSSEval 3, SI-SDR without removing means, and class-aware SDR improvement.
BSS = ("bss_sdr", "bss_isr", "bss_sir", "bss_sar")
BSS3 = ("bss3_sdr", "bss3_sir", "bss3_sar")
FRAMES = ("frames_sdr", "frames_isr", "frames_sir", "frames_sar")
# No SAR of the mixture: it is the sum of the references, so its artefacts are rounding errors alone.
MIXTURE_BSS = tuple(f"mixture.{name}" for name in ("bss_sdr", "bss_isr", "bss_sir", "bss3_sdr"))
PUBLISHED = (*BSS, *BSS3, *FRAMES, "uncentred_si_sdr", "capi_sdr_i")
METRICS = (*SDRS, "sa_sdr", *SPECTRAL, *EMBEDDED, "leakage_db", *PUBLISHED)
LOWER_IS_BETTER = frozenset({"leakage_db", *SPECTRAL})
# Scores of the same item without the model, or with another query: see baselines.py.
BASELINES = ("mixture", "random_query", "label_query", "ibm", "irm", "psm")
BASELINE_COLUMNS = tuple(f"{name}.{sdr}" for name in BASELINES for sdr in ("si_sdr", "sdr"))
NUMBERS = (*METRICS, *BASELINE_COLUMNS, *MIXTURE_BSS)
SILENT = ("target", "estimate")  # signals whose silence is counted
COLUMNS = ("id", "label", "query", "setting", "num_sources", "silent", *NUMBERS)
Row = dict[str, Any]  # by COLUMNS; numbers are floats, or None where they are not defined


def score(item: Item, estimate: Any) -> Row:
    """The row of an item and its estimate (t,): leakage_db for a silent target, else all other metrics.

    num_sources: number of sounds in the mixture, None if the protocol does not know it.
    silent: "target", "estimate", "target estimate" or "". Raises ValueError as `checked` does.
    """
    estimate = checked(item, estimate)
    row: Row = {"id": item.id, "label": item.label, "query": item.query, "setting": item.setting}
    row["num_sources"] = len(item.others) + bool(item.target.any()) if item.others else None
    silent = dict(zip(SILENT, (not item.target.any(), not bool(estimate.any())), strict=True))
    row["silent"] = " ".join(name for name, is_silent in silent.items() if is_silent)
    row |= dict.fromkeys(NUMBERS)
    if silent["target"]:
        return row | rounded({"leakage_db": leakage_db(estimate, item.mixture)})
    parts = torch.stack([estimate, torch.from_numpy(item.mixture) - estimate])
    sources = torch.stack([torch.from_numpy(item.target), torch.from_numpy(item.rest)])
    values = {
        "sa_sdr": sa_sdr(parts, sources),
        "lsd_db": log_spectral_distance_db(estimate, item.target),
        "mr_distance": multi_resolution_distance(estimate, item.target),
    }
    return row | sdr_scores(item, estimate) | rounded(values)


def sdr_scores(item: Item, estimate: Any) -> dict[str, float]:
    """SDRS in dB of an estimate (t,) of a target that is not silent."""
    values = {
        "si_sdr": si_sdr(estimate, item.target),
        "si_sdr_i": si_sdr(estimate, item.target) - si_sdr(item.mixture, item.target),
        "sdr": sdr(estimate, item.target),
        "sdr_i": sdr(estimate, item.target) - sdr(item.mixture, item.target),
    }
    return rounded(values)


def checked(item: Item, estimate: Any) -> Tensor:
    """The estimate as float64 on the CPU; ValueError unless finite and of the mixture's shape."""
    estimate = torch.as_tensor(estimate, device="cpu").detach().double()
    if estimate.shape != item.mixture.shape:
        expected = tuple(item.mixture.shape)
        raise ValueError(f"the estimate has shape {tuple(estimate.shape)}, expected {expected}")
    if not estimate.isfinite().all():
        raise ValueError("the estimate contains NaN or infinity")
    return estimate


def rounded(values: Mapping[str, Tensor]) -> dict[str, float]:
    """The values rounded to 1e-6, so that rows read back are equal; ValueError for NaN or infinity."""
    if not all(value.isfinite() for value in values.values()):
        raise ValueError("the mixture or its target contains NaN or infinity")
    # + 0.0 turns -0.0 into 0.0
    return {metric: round(float(value), 6) + 0.0 for metric, value in values.items()}
