"""PIT: CLIPSep's U-Net without queries, trained by permutation-invariant training (Yu et al. 2017).

    mixture (b, c, t) -> STFT -> log magnitude in log-frequency rows (b, k, n) -> U-Net
    U-Net -> masks (b, num_sources, k, n) -> linear bins -> times the mixture's STFT
    sources (b, num_sources, c, t), in no particular order

The baseline of Dong et al. (2023). Of the queries only their number is used: the first s sources are
returned, and which of them is the target has to be decided afterwards.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import Self

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import LossOutput, MixtureBatch, Separated
from ..networks.blocks.memory_format import to_channels_last
from ..networks.masks.log_frequency import LogFrequencySeparator, SpectrogramConfig
from ..networks.unets.clipsep_unet import UNet, initialise
from ..objectives.mask_bce import MaskTargetConfig, logit_bce, mask_targets
from ..objectives.permutation_invariant import permutation_invariant


@configuration
class Config:
    """num_sources: outputs for every mixture; complement: at use, give what each mask leaves instead of
    what it takes; the rest as of CLIPSep."""

    num_sources: int = 2
    complement: bool = False
    num_features: int = 32
    channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    target: MaskTargetConfig = field(default_factory=MaskTargetConfig)


def build(config: Config) -> PITSep:
    """The separator with these settings and random weights."""
    return PITSep(config)


class PITSep(LogFrequencySeparator):
    """See the module's docstring. Any number of channels: they share the mask."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, query_dim=0)  # queries are not read
        self.unet = UNet(1, config.num_features, config.channels)
        self.masks = nn.Conv2d(config.num_features, config.num_sources, 1)
        self.apply(initialise)
        to_channels_last(self)

    def with_masks(self, hard: bool, noise: str) -> list[Self]:
        """See `Separator.with_masks`. "best": by the first mask and by its complement."""
        if noise == "all":
            raise ValueError("noise=all: only CLIPSep-NIT has noise masks")
        config, weights = self.hard_masks(hard), self.state_dict()
        choices = (False, True) if noise == "best" else (config.complement,)
        return [self.reconfigured(replace(config, complement=c), weights) for c in choices]

    def logits(self, log_magnitude: Tensor) -> Tensor:
        """log_magnitude (b, k, n) to mask logits (b, num_sources, k, n), float32."""
        return self.masks(self.unet(log_magnitude[:, None])).float()

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), in [-1, 1]; queries.pooled (b, s, any). ValueError for more queries than
        sources."""
        num_queries = queries.pooled.shape[1]
        if num_queries > self.config.num_sources:
            raise ValueError(
                f"{num_queries} queries, but this model separates {self.config.num_sources} sources"
            )
        sign = -1 if self.config.complement else 1  # 1 - sigmoid(z) = sigmoid(-z)

        def masks_of(log_magnitude: Tensor) -> Tensor:
            return (sign * self.logits(log_magnitude)[:, :num_queries]).sigmoid()

        return self.spectrogram.separate(mixture, masks_of)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Weighted cross-entropy of the masks in their best order, mean over all sources, queried or
        not.

        If a batch has fewer sources than num_sources, the outputs left over are not trained.
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
