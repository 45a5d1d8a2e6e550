"""PIT: the family's U-Net without queries, trained by permutation-invariant training (Yu et al. 2017).

The comparison of Dong et al. (2023): it separates every mixture into num_sources parts, in an order of
its own. Queries only say how many parts are wanted; somebody has to choose among them afterwards.
"""

from __future__ import annotations

from dataclasses import field

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import LossOutput, MixtureBatch, Separated
from ..networks.masks.log_frequency import LogFrequencySeparator, SpectrogramConfig
from ..networks.unets.clipsep_unet import UNet, initialise
from ..objectives.mask_bce import MaskTargetConfig, logit_bce, mask_targets
from ..objectives.permutation_invariant import permutation_invariant


@configuration
class Config:
    """num_sources: parts of every mixture; the rest as of CLIPSep."""

    num_sources: int = 2
    num_features: int = 32
    channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    target: MaskTargetConfig = field(default_factory=MaskTargetConfig)


def build(config: Config) -> PITSep:
    return PITSep(config)


class PITSep(LogFrequencySeparator):
    """See the module's docstring."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, query_dim=0)  # whatever queries hold is not read
        self.unet = UNet(1, config.num_features, config.channels)
        self.masks = nn.Conv2d(config.num_features, config.num_sources, 1)
        self.apply(initialise)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def logits(self, log_magnitude: Tensor) -> Tensor:
        """log_magnitude: (b, k, n). Mask logits (b, num_sources, k, n), float32."""
        return self.masks(self.unet(log_magnitude[:, None])).float()

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture: (b, c, t), in [-1, 1]; queries.pooled: (b, s, any), for the first s parts."""
        num_wanted = queries.pooled.shape[1]
        if num_wanted > self.config.num_sources:
            raise ValueError(
                f"{num_wanted} queries, but this separator makes {self.config.num_sources} parts"
            )
        return self.spectrogram.separate(
            mixture, lambda log_magnitude: self.logits(log_magnitude)[:, :num_wanted].sigmoid()
        )

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Weighted cross-entropy of the masks in their best order, mean over all sources, asked or not.

        A batch may have fewer sources than num_sources: then some parts are free.
        """
        magnitudes = self.spectrogram.magnitudes(batch)
        target, weight = mask_targets(magnitudes.mixture, magnitudes.sources, self.config.target)
        logits = self.logits(magnitudes.mixture.log())[:, None]
        shape = (-1, target.shape[1], logits.shape[2], *target.shape[2:])
        costs = logit_bce(
            logits.expand(shape), target[:, :, None].expand(shape), weight[:, None, None]
        )
        paired, _ = permutation_invariant(costs)
        total = paired.mean(dim=1)
        return LossOutput(total, {"mask_bce": total.detach()})
