"""A discriminator of log-mel spectrograms that judges overlapping patches: PatchGAN.

Isola et al., "Image-to-image translation with conditional adversarial networks" (2017), as in
Esser et al. (2021).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from qsep.queries.settings import configuration

KERNEL = 4
SLOPE = 0.2  # of the activation below zero
MAX_WIDENING = 8
DEVIATION = 0.02  # of the weights at the start


@configuration
class PatchConfig:
    """channels: of the first layer, doubled by each of num_layers more, at most eightfold; each layer but
    the last of these halves frames and bands."""

    channels: int = 64
    num_layers: int = 3


class PatchDiscriminator(nn.Module):
    """Batch norms use the batch at hand, as in training, which is all that a discriminator is for."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        widths = [
            config.channels * min(2**layer, MAX_WIDENING) for layer in range(config.num_layers + 1)
        ]
        layers: list[nn.Module] = [nn.Conv2d(1, widths[0], KERNEL, 2, 1), nn.LeakyReLU(SLOPE)]
        for index, (before, own) in enumerate(pairwise(widths), start=1):
            stride = 1 if index == config.num_layers else 2
            layers += [
                nn.Conv2d(before, own, KERNEL, stride, 1, bias=False),
                nn.BatchNorm2d(own, track_running_stats=False),
                nn.LeakyReLU(SLOPE),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, KERNEL, 1, 1))
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, DEVIATION)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, DEVIATION)

    def forward(self, log_mel: Tensor) -> Tensor:
        """log_mel: (b, 1, n, k), to a score for each of m patches: (b, m)."""
        return self.layers(log_mel).flatten(1)
