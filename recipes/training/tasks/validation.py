"""Validation scores of a separator on mixtures of held-out sounds."""

from __future__ import annotations

import math
from typing import Any

import torch

from qsep.evaluation.metrics.sdr import si_sdr
from qsep.queries.interface import QueryEncoder
from qsep.separation.interface import MixtureBatch

from ...data.mixtures.interface import Mixtures
from ..query_batch import encode_batch
from .interface import Validation


@torch.no_grad()  # measured, not trained
def validate(separator: Any, encoder: QueryEncoder, data: Mixtures, num_items: int) -> Validation:
    """Scores on the first num_items mixtures of the data, in dB; merits: the improvements.

    si_sdr_i: mean SI-SDR improvement of present sounds. absent_db: median level of the output for absent
    sounds, relative to the mixture; left out if there are none.
    """
    device = next(separator.parameters()).device
    improvements: list[float] = []
    leaks: list[float] = []
    for draw in range(num_items):
        batch: MixtureBatch = data.collate([data[draw]]).to(device)
        queries = encode_batch(encoder, batch.queries).to(device)
        target = separator.separate(batch.mixture, queries).target
        for index, query in enumerate(batch.queries[0]):
            if query is None:
                continue
            source, mixture = batch.sources[0, index, 0], batch.mixture[0, 0]
            estimate = target[0, index, 0]
            if source.any():
                gain = si_sdr(estimate, source) - si_sdr(mixture, source)
                improvements.append(float(gain))
            else:
                ratio = estimate.square().sum() / mixture.square().sum() + 1e-10
                leaks.append(10 * math.log10(float(ratio)))
    result = {"si_sdr_i": sum(improvements) / max(1, len(improvements))}
    if leaks:
        result["absent_db"] = sorted(leaks)[len(leaks) // 2]
    return Validation(result, improvements)
