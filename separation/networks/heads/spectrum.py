"""Spectral mapping: the complex spectrum is estimated directly, without a mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """No settings."""


def build(config: Config) -> Spectrum:
    """The head; it has no settings."""
    return Spectrum()


class Spectrum(nn.Module):
    """See `composition.Head`. Maps: real and imaginary part of the spectrum."""

    num_maps = 2

    def forward(self, maps: Tensor, carrier: Tensor) -> Tensor:
        """maps (b, o, c, 2, f, n) to complex (b, o, c, f, n); of the carrier only the type is used.
        ValueError if it is real."""
        if not carrier.is_complex():
            raise ValueError(
                "spectrum needs an analysis of complex spectra: stft, bands or mel_bands"
            )
        return torch.complex(maps[:, :, :, 0], maps[:, :, :, 1])
