"""Training waveforms of the autoencoder and the vocoder: single sources, or at times whole mixtures."""

from __future__ import annotations

import torch
from torch import Tensor

from qsep.separation.interface import MixtureBatch
from qsep.separation.models.flowsep import PEAK


def draw_waveforms(
    batch: MixtureBatch, mixture_probability: float, generator: torch.Generator
) -> Tensor:
    """Waveforms (b, t): an audible source of each mixture, or with mixture_probability the mixture.

    Mean of channels, without DC offset, scaled so that the mixture peaks at 0.5, as FlowSep's input.
    """
    draws = torch.rand(len(batch.ids), 2, generator=generator).tolist()
    audible = batch.sources.abs().amax(dim=(-2, -1)) > 0
    chosen = []
    for item, (source_draw, mixture_draw) in enumerate(draws):
        sources = audible[item].nonzero()[:, 0].tolist()
        if mixture_draw < mixture_probability or not sources:
            chosen.append(batch.mixture[item])
        else:
            chosen.append(batch.sources[item, sources[int(source_draw * len(sources))]])
    waveforms = torch.stack(chosen).mean(dim=1)
    peaks = batch.mixture.abs().amax(dim=(-2, -1)).clamp_min(1e-8)
    return (waveforms - waveforms.mean(dim=-1, keepdim=True)) * (PEAK / peaks)[:, None]
