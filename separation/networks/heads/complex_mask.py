"""Complex mask: changes magnitude and phase."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """sum_to_one: add the same value to the masks of all outputs, so that they sum to 1
    (Xu et al., "TIGER", 2025, sec. 3.4)."""

    sum_to_one: bool = False


def build(config: Config) -> ComplexMask:
    """The head with these settings."""
    return ComplexMask(config.sum_to_one)


class ComplexMask(nn.Module):
    """See `composition.Head`. Maps: real and imaginary part of the mask, unbounded."""

    num_maps = 2

    def __init__(self, sum_to_one: bool) -> None:
        super().__init__()
        self.sum_to_one = sum_to_one

    def forward(self, maps: Tensor, carrier: Tensor) -> Tensor:
        """maps (b, o, c, 2, f, n), complex carrier (b, c, f, n) to complex (b, o, c, f, n). ValueError
        if the carrier is real."""
        if not carrier.is_complex():
            raise ValueError(
                "complex_mask needs an analysis of complex spectra: stft, bands or mel_bands"
            )
        mask = torch.complex(maps[:, :, :, 0], maps[:, :, :, 1])
        if self.sum_to_one:
            mask = mask + (1 - mask.sum(dim=1, keepdim=True)) / mask.shape[1]
        return mask * carrier[:, None]
