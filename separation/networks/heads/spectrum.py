"""The complex spectrum itself, no mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """Nothing to set."""


def build(config: Config) -> Spectrum:
    return Spectrum()


class Spectrum(nn.Module):
    """See `composition.Head`. Maps: real and imaginary part."""

    num_maps = 2

    def forward(self, maps: Tensor, carrier: Tensor) -> Tensor:
        if not carrier.is_complex():
            raise ValueError("a direct spectrum needs an STFT as its analysis")
        return torch.complex(maps[:, :, :, 0], maps[:, :, :, 1])
