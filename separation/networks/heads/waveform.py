"""Direct estimation of samples, or of the outputs of learned filters, without a mask."""

from __future__ import annotations

from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """No settings."""


def build(config: Config) -> Waveform:
    """The head; it has no settings."""
    return Waveform()


class Waveform(nn.Module):
    """See `composition.Head`. Maps: the estimates."""

    num_maps = 1

    def forward(self, maps: Tensor, carrier: Tensor) -> Tensor:
        """maps (b, o, c, 1, f, n) to (b, o, c, f, n); of the carrier only the type is used. ValueError
        if it is complex."""
        if carrier.is_complex():
            raise ValueError(
                "the head 'waveform' needs an analysis of real values: waveform or filterbank"
            )
        return maps[:, :, :, 0]
