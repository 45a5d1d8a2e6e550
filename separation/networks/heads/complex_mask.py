"""A complex mask: phases are turned as well."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """sum_to_one: the same is added to the masks of all outputs, so that they sum to 1 (Xu et al.,
    "TIGER", 2025, sec. 3.4)."""

    sum_to_one: bool = False


def build(config: Config) -> ComplexMask:
    return ComplexMask(config.sum_to_one)


class ComplexMask(nn.Module):
    """See `composition.Head`. Maps: real and imaginary part of the mask, of any size."""

    num_maps = 2

    def __init__(self, sum_to_one: bool) -> None:
        super().__init__()
        self.sum_to_one = sum_to_one

    def forward(self, maps: Tensor, carrier: Tensor) -> Tensor:
        if not carrier.is_complex():
            raise ValueError("a complex mask needs an STFT as its analysis")
        mask = torch.complex(maps[:, :, :, 0], maps[:, :, :, 1])
        if self.sum_to_one:
            mask = mask + (1 - mask.sum(dim=1, keepdim=True)) / mask.shape[1]
        return mask * carrier[:, None]
