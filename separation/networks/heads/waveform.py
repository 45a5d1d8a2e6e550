"""Samples, or outputs of learned filters, themselves; no mask."""

from __future__ import annotations

from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """Nothing to set."""


def build(config: Config) -> Waveform:
    return Waveform()


class Waveform(nn.Module):
    """See `composition.Head`."""

    num_maps = 1

    def forward(self, maps: Tensor, carrier: Tensor) -> Tensor:
        if carrier.is_complex():
            raise ValueError(
                "a waveform head needs the waveform or learned filters as its analysis"
            )
        return maps[:, :, :, 0]
