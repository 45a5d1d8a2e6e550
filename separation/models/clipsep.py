"""CLIPSep (Dong et al. 2023, sec. 3): a mask U-Net over log frequency, queried by CLIP embeddings.

    mixture (b, c, t) -> STFT -> log magnitude in log-frequency rows (b, k, n) -> U-Net
    U-Net -> features (b, d, k, n); query (b, s, q) -> linear layer, sigmoid (b, s, d)
    inner product of features and query -> sigmoid -> masks (b, s, k, n)
    masks -> linear bins (b, s, f, n) -> times the mixture's STFT -> targets (b, s, c, t)

The query joins late (as above, the paper's CLIPSep), early (as channels of the input) or in the middle
(at the lowest level of the U-Net). Its vector may come from any encoder, or from a learned table of
labels (LabelSep). It works on the logarithm of absolute magnitudes, so recordings should have natural
levels within [-1, 1].
"""

from __future__ import annotations

from dataclasses import field

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import LossOutput, MixtureBatch, Separated
from ..networks.blocks.memory_format import to_channels_last
from ..networks.masks.log_frequency import LogFrequencySeparator, SpectrogramConfig
from ..networks.masks.query_masks import QueryMasks, only_queried, scaled
from ..networks.unets.clipsep_unet import UNet, initialise
from ..objectives.mask_bce import MaskTargetConfig, logit_bce, mask_targets
from ..objectives.means import mean_of_queried


@configuration
class Config:
    """fusion: "late", "early" or "middle". channels: of the U-Net's levels. table_dim: width of a
    learned table of labels, whose queries are one-hot vectors; 0 for none. query_scale: factor of the
    queries. CLIP's embeddings have a norm of about 10; with embeddings of norm 1, as sentence encoders
    give, the projection learns ten times more slowly."""

    fusion: str = "late"
    query_dim: int = 512
    table_dim: int = 0
    query_scale: float = 1.0
    num_features: int = 32
    channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    target: MaskTargetConfig = field(default_factory=MaskTargetConfig)

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion is {self.fusion!r}; expected one of {', '.join(FUSIONS)}")


def build(config: Config) -> CLIPSep:
    """The separator with these settings and random weights."""
    return CLIPSep(config)


class LateFusion(nn.Module):
    """One pass of the U-Net for all queries, each of which weights the features."""

    def __init__(self, query_dim: int, num_features: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.unet = UNet(1, num_features, channels)
        self.project = nn.Linear(query_dim, num_features)
        self.masks = QueryMasks(num_features)

    def forward(self, log_magnitude: Tensor, queries: QueryEmbedding) -> Tensor:
        """log_magnitude (b, k, n), queries.pooled (b, s, q) to mask logits (b, s, k, n)."""
        vectors = self.project(queries.pooled).sigmoid()
        return self.masks(self.unet(log_magnitude[:, None]), vectors)


class EarlyFusion(nn.Module):
    """One pass for each query, which is repeated over the spectrogram as channels of the input.

    If a query has several vectors (tokens; in the paper, video frames), each channel takes their
    maximum.
    """

    def __init__(self, query_dim: int, num_features: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.unet = UNet(1 + num_features, 1, channels)
        self.project = nn.Linear(query_dim, num_features)

    def forward(self, log_magnitude: Tensor, queries: QueryEmbedding) -> Tensor:
        """log_magnitude (b, k, n), queries.pooled (b, s, q) or tokens (b, s, l, q) to mask logits
        (b, s, k, n)."""
        if queries.tokens is None:
            vectors = self.project(queries.pooled)
        else:
            vectors = self.project(queries.tokens)
            if queries.token_mask is not None:
                vectors = vectors.masked_fill(~queries.token_mask[..., None], -torch.inf)
            vectors = vectors.amax(dim=-2)
        spread = vectors.sigmoid()[..., None, None].expand(-1, -1, -1, *log_magnitude.shape[1:])
        repeated = log_magnitude[:, None, None].expand(-1, vectors.shape[1], -1, -1, -1)
        joined = torch.cat([repeated, spread], dim=2)
        return self.unet(joined.flatten(0, 1)).unflatten(0, vectors.shape[:2])[:, :, 0]


class MiddleFusion(nn.Module):
    """One pass for each query, which is joined with the features at the lowest level."""

    def __init__(self, query_dim: int, num_features: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.unet = UNet(1, 1, channels, num_condition=num_features)
        self.project = nn.Linear(query_dim, num_features)

    def forward(self, log_magnitude: Tensor, queries: QueryEmbedding) -> Tensor:
        """log_magnitude (b, k, n), queries.pooled (b, s, q) to mask logits (b, s, k, n)."""
        vectors = self.project(queries.pooled).sigmoid()
        num_queries = vectors.shape[1]
        repeated = log_magnitude.repeat_interleave(num_queries, dim=0)[:, None]
        logits = self.unet(repeated, vectors.flatten(0, 1))
        return logits.unflatten(0, (-1, num_queries))[:, :, 0]


FUSIONS = {"late": LateFusion, "early": EarlyFusion, "middle": MiddleFusion}


class CLIPSep(LogFrequencySeparator):
    """See the module's docstring. Any number of channels: they share the mask."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, query_dim=config.query_dim)
        width = config.table_dim or config.query_dim
        self.table = nn.Embedding(config.query_dim, width) if config.table_dim else None
        self.network = FUSIONS[config.fusion](width, config.num_features, config.channels)
        self.network.apply(initialise)
        to_channels_last(self)

    def logits(self, log_magnitude: Tensor, queries: QueryEmbedding) -> Tensor:
        """log_magnitude (b, k, n), queries.pooled (b, s, q) to mask logits (b, s, k, n), float32."""
        if self.table is not None:  # queries are one-hot, or weights of several labels
            queries = QueryEmbedding(queries.pooled @ self.table.weight)
        return self.network(log_magnitude, scaled(queries, self.config.query_scale)).float()

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), in [-1, 1]; queries.pooled (b, s, q). target + residual = mixture."""
        return self.spectrogram.separate(
            mixture, lambda log_magnitude: self.logits(log_magnitude, queries).sigmoid()
        )

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Weighted cross-entropy of the masks, mean over the queries of each mixture."""
        queried = batch.queried()
        magnitudes = self.spectrogram.magnitudes(batch)
        target, weight = mask_targets(magnitudes.mixture, magnitudes.sources, self.config.target)
        logits = self.logits(magnitudes.mixture.log(), only_queried(queries, queried))
        total = mean_of_queried(logit_bce(logits, target, weight[:, None]), queried)
        activity = mean_of_queried(logits.detach().sigmoid().mean(dim=(-2, -1)), queried)
        return LossOutput(total, {"mask_bce": total.detach(), "activity": activity})
