"""What an autoencoder or a vocoder hears of mixtures: single sounds, or at times the mixtures themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from qsep.separation.interface import MixtureBatch
from qsep.separation.models.flowsep import PEAK


def draw_waveforms(
    batch: MixtureBatch, mixture_probability: float, generator: torch.Generator
) -> Tensor:
    """(b, t): one of the sounding sources of each mixture, or with this probability the mixture.

    The mean of channels, without an offset, at the level where FlowSep separates: the mixture peaks at 0.5.
    """
    draws = torch.rand(len(batch.ids), 2, generator=generator).tolist()
    sounding = batch.sources.abs().amax(dim=(-2, -1)) > 0
    chosen = []
    for item, (which, whether) in enumerate(draws):
        places = sounding[item].nonzero()[:, 0].tolist()
        if whether < mixture_probability or not places:
            chosen.append(batch.mixture[item])
        else:
            chosen.append(batch.sources[item, places[int(which * len(places))]])
    waveforms = torch.stack(chosen).mean(dim=1)
    peaks = batch.mixture.abs().amax(dim=(-2, -1)).clamp_min(1e-8)
    return (waveforms - waveforms.mean(dim=-1, keepdim=True)) * (PEAK / peaks)[:, None]
