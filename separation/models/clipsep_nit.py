"""CLIPSep-NIT (Dong et al. 2023, sec. 4): CLIPSep trained on noisy sources.

    mixture (b, c, t) -> STFT -> log magnitude in log-frequency rows (b, k, n) -> U-Net
    U-Net -> features (b, d, k, n); query (b, s, q) -> linear layer (b, s, d)
    inner product of features and query -> sigmoid -> masks (b, s, k, n)
    in training: mean of the mixture's queries (b, d) -> noise heads (b, j, d) -> noise masks (b, j, k, n)

The j noise masks may explain what no query names (`objectives/noise_invariant.py`); at use they are
discarded.
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
from ..networks.masks.query_masks import QueryMasks, only_queried
from ..networks.unets.clipsep_unet import UNet, initialise
from ..objectives.mask_bce import MaskTargetConfig, logit_bce, mask_targets
from ..objectives.means import mean_of_queried
from ..objectives.noise_invariant import (
    NoiseConfig,
    gamma_at,
    noise_activity,
    noise_excess,
    noise_invariant,
    union,
)


@configuration
class Config:
    """As of CLIPSep with late fusion; noise: settings of the objective."""

    query_dim: int = 512
    query_scale: float = 1.0
    num_features: int = 32
    channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    target: MaskTargetConfig = field(default_factory=MaskTargetConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)


def build(config: Config) -> CLIPSepNIT:
    """The separator with these settings and random weights."""
    return CLIPSepNIT(config)


class CLIPSepNIT(LogFrequencySeparator):
    """See the module's docstring. Any number of channels: they share the mask."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, query_dim=config.query_dim)
        width = config.num_features
        self.unet = UNet(1, width, config.channels)
        self.project = nn.Linear(config.query_dim, width)
        self.masks = QueryMasks(width)
        self.noise_heads = nn.ModuleList(
            nn.Linear(width, width) for _ in range(config.noise.num_heads)
        )
        self.apply(initialise)
        to_channels_last(self)

    def with_masks(self, hard: bool, noise: str) -> list[Self]:
        """See `Separator.with_masks`."""
        config = self.hard_masks(hard)
        if noise != "best":
            noise_config = replace(config.noise, keep_noise=noise == "all")
            return [self.reconfigured(replace(config, noise=noise_config), self.state_dict())]
        single_head = replace(config.noise, keep_noise=True, num_heads=1)
        return [
            self.with_head(replace(config, noise=single_head), head) for head in self.noise_heads
        ]

    def with_head(self, config: Config, head: nn.Module) -> Self:
        """The same separator with one of the noise heads only."""
        separator = type(self)(config)
        for name, part in separator.named_children():
            source = nn.ModuleList([head]) if name == "noise_heads" else self.get_submodule(name)
            part.load_state_dict(source.state_dict(), strict=True)
        return separator.to(next(self.parameters()).device).train(self.training)

    def noise_logits(self, features: Tensor, projected: Tensor) -> Tensor:
        """features (b, d, k, n), projected query of each mixture (b, d) to logits (b, j, k, n) of the j
        noise masks."""
        vectors = torch.stack([head(projected) for head in self.noise_heads], dim=1)
        return self.masks(features, vectors.sigmoid())

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), in [-1, 1]; queries.pooled (b, s, q). target + residual = mixture."""
        projected = self.project(self.config.query_scale * queries.pooled)

        def masks_of(log_magnitude: Tensor) -> Tensor:
            features = self.unet(log_magnitude[:, None])
            masks = self.masks(features, projected.sigmoid()).sigmoid()
            if not self.config.noise.keep_noise:
                return masks
            noise = [
                self.noise_logits(features, query).sigmoid().sum(dim=1)
                for query in projected.unbind(dim=1)
            ]
            return union(masks, torch.stack(noise, dim=1))

        return self.spectrogram.separate(mixture, masks_of)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Noise-invariant cross-entropy, mean over the queries of each mixture, plus a penalty on noise
        masks' activity."""
        config = self.config.noise
        queried = batch.queried()
        magnitudes = self.spectrogram.magnitudes(batch)
        target, weight = mask_targets(magnitudes.mixture, magnitudes.sources, self.config.target)
        step = self.unet.norm.num_batches_tracked  # training steps so far; saved with the weights
        assert step is not None
        features = self.unet(magnitudes.mixture.log()[:, None])
        pooled = only_queried(queries, queried).pooled
        projected = self.project(self.config.query_scale * pooled)
        logits = self.masks(features, projected.sigmoid())
        without_noise = mean_of_queried(logit_bce(logits, target, weight[:, None]), queried)
        noise = self.noise_logits(features, mean_of_queried(projected, queried))
        costs = noise_invariant(logits, noise, target, weight, queried, config)
        united = mean_of_queried(costs, queried)
        excess = noise_excess(noise, gamma_at(step, config), config.batch_penalty)
        total = united + config.weight * excess
        if config.warmup_steps:
            total = torch.where(step <= config.warmup_steps, without_noise, total)
        activity = noise_activity(noise)
        terms = {"mask_bce": without_noise, "united_bce": united, "noise_activity": activity}
        return LossOutput(total, {name: value.detach() for name, value in terms.items()})
