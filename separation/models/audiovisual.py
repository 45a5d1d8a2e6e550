"""One model that separates what a picture shows, tells where in it a sound is, and recognises sounds.

    picture (b, s, k, q) of k frozen patch vectors -> projection -> unit vectors (b, s, k, d)
    unit vectors -> maximum over the patches -> the picture's vector (b, s, d)
    mixture (b, c, t) -> STFT -> log magnitude in log-frequency rows -> U-Net -> features (b, e, k, n)
    inner product of features and the picture's vector -> sigmoid -> masks -> targets (b, s, c, t)
    sound (n, t) -> the U-Net's encoder -> mean and maximum over frames -> projection -> unit vector (n, d)

Mo and Morgado, "A unified audio-visual learning framework for localization, separation, and recognition"
(2023, arXiv 2305.19458): encoder and projections are shared by the three tasks, see
`objectives/audiovisual.py`. Here the eye is a frozen CLIP, of which only the projection is trained; it also
reads words. A picture is the bag of its patches and of itself as a whole; the maximum of each coordinate
over the bag is the query, so a picture of two things is a query for the sounds of both. It works on the
logarithm of absolute magnitudes, so recordings should have natural levels within [-1, 1].
"""

from __future__ import annotations

from dataclasses import field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import Capabilities, Likeness, LossOutput, MixtureBatch, Separated
from ..networks.blocks.memory_format import to_channels_last
from ..networks.masks.log_frequency import (
    FLOOR,
    LogFrequencySeparator,
    SpectrogramConfig,
    repeat_to,
)
from ..networks.masks.query_masks import QueryMasks, only_queried
from ..networks.unets.clipsep_unet import UNet
from ..objectives.audiovisual import AudioVisualConfig, alignment, localisation, recognition
from ..objectives.mask_bce import MaskTargetConfig, logit_bce, mask_targets
from ..objectives.means import mean_of_queried, weighted_mean
from ..signal.segments import segment_starts


@configuration
class Config:
    """dim: of the common space of sounds and pictures. num_features: of the U-Net's output; channels: of its
    levels."""

    query_dim: int = 512
    dim: int = 128
    num_features: int = 32
    channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    target: MaskTargetConfig = field(default_factory=MaskTargetConfig)
    objective: AudioVisualConfig = field(default_factory=AudioVisualConfig)

    def __post_init__(self) -> None:
        stride = 2 ** len(self.channels)
        if self.spectrogram.num_rows % stride:
            raise ValueError(
                f"spectrogram: num_rows is {self.spectrogram.num_rows}; expected a multiple of {stride}"
            )


def build(config: Config) -> AudioVisual:
    """The separator with these settings and random weights."""
    return AudioVisual(config)


class AudioVisual(LogFrequencySeparator):
    """See the module's docstring. Any number of channels: they share the mask."""

    capabilities = Capabilities(compares=True)

    def __init__(self, config: Config) -> None:
        super().__init__(config, query_dim=config.query_dim)
        self.unet = UNet(1, config.num_features, config.channels)
        self.see = nn.Sequential(
            nn.LayerNorm(config.query_dim),  # CLIP's vectors have norms of about 10, others of 1
            nn.Linear(config.query_dim, config.dim),
            nn.GELU(),
            nn.Linear(config.dim, config.dim),
        )
        # Rows are kept apart: two sounds may differ in their pitch alone.
        num_rows = config.spectrogram.num_rows // self.unet.stride
        self.hear = nn.Linear(2 * config.channels[-1] * num_rows, config.dim)
        self.weigh = nn.Linear(config.dim, config.num_features)
        self.masks = QueryMasks(config.num_features)
        to_channels_last(self)

    def bag(self, queries: QueryEmbedding) -> tuple[Tensor, Tensor]:
        """queries (..., q) and their k tokens to unit vectors (..., 1 + k, d), that of the whole query first,
        and which of them are no padding, (..., 1 + k) bool."""
        vectors, mask = queries.pooled[..., None, :], None
        if queries.tokens is not None:
            vectors, mask = torch.cat([vectors, queries.tokens], dim=-2), queries.token_mask
        real = torch.ones(vectors.shape[:-1], dtype=torch.bool, device=vectors.device)
        if mask is not None:
            real[..., 1:] = mask
        return F.normalize(self.see(vectors).float(), dim=-1), real

    def pictures(self, bags: Tensor, mask: Tensor) -> Tensor:
        """Bags of unit vectors (..., k, d) and their mask to one unit vector each, (..., d)."""
        joined = bags.masked_fill(~mask[..., None], -torch.inf).amax(dim=-2)
        return F.normalize(joined, dim=-1)

    def sounds(self, encoded: Tensor) -> Tensor:
        """The encoder's lowest level (n, c, k, frames) to unit vectors (n, d)."""
        pooled = torch.cat([encoded.mean(dim=-1), encoded.amax(dim=-1)], dim=1)
        return F.normalize(self.hear(pooled.flatten(1)).float(), dim=-1)

    def logits(self, features: Tensor, pictures: Tensor) -> Tensor:
        """features (b, d, k, n), vectors of pictures (b, s, d) to mask logits (b, s, k, n), float32."""
        return self.masks(features, self.weigh(pictures).sigmoid())

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), in [-1, 1]; queries.pooled (b, s, q). target + residual = mixture."""
        pictures = self.pictures(*self.bag(queries))
        return self.spectrogram.separate(
            mixture,
            lambda log_magnitude: self.logits(
                self.unet(log_magnitude[:, None]), pictures
            ).sigmoid(),
        )

    def likeness(self, sound: Tensor, queries: QueryEmbedding) -> Likeness:
        """See `Separator.likeness`. A sound longer than a segment is the mean of its segments, by energy."""
        sounds = self.embed(sound)
        bags, mask = self.bag(queries)
        whole = torch.einsum("bd,bsd->bs", sounds, self.pictures(bags, mask))
        if queries.tokens is None:
            return Likeness(whole, None)
        return Likeness(whole, torch.einsum("bd,bskd->bsk", sounds, bags[:, :, 1:]))

    def embed(self, sound: Tensor) -> Tensor:
        """sound (b, c, t) to unit vectors (b, d), those of its segments averaged by their energy."""
        geometry, size = self.spectrogram.geometry, self.spectrogram.config.segment_frames
        spec = self.spectrogram.spectrum(repeat_to(sound, geometry.segment_samples))
        magnitude = self.spectrogram.rows(spec) + FLOOR
        total = torch.zeros(len(sound), self.config.dim, device=sound.device)
        for start in segment_starts(magnitude.shape[-1], size, geometry.step_frames):
            segment = magnitude[..., start : start + size]
            vectors = self.sounds(self.unet.encode(segment.log()[:, None])[-1])
            total = total + segment.square().sum(dim=(-2, -1))[:, None] * vectors
        return F.normalize(total, dim=-1)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Cross-entropy of the masks, and the contrastive terms of `objectives/audiovisual.py` between the
        audible sources of the batch and their pictures; each the mean over a mixture's sources."""
        config, num = self.config.objective, len(batch.mixture)
        queried, whole = batch.queried(), batch.queried_whole()
        audible = queried & (batch.sources.abs().amax(dim=(-2, -1)) > 0)
        magnitudes = self.spectrogram.magnitudes(batch)
        target, weight = mask_targets(magnitudes.mixture, magnitudes.sources, self.config.target)
        heard = torch.cat([magnitudes.mixture, magnitudes.sources[audible] + FLOOR])
        levels = self.unet.encode(heard.log()[:, None])
        features = self.unet.decode([level[:num] for level in levels], heard.shape[-1])
        bags, mask = self.bag(only_queried(queries, queried | whole))
        pictures = self.pictures(bags, mask)
        bce = logit_bce(self.logits(features, pictures), target, weight[:, None])
        total = mean_of_queried(bce, queried)
        terms = {"mask_bce": total.detach()}
        if not audible.any():  # nothing to compare
            return LossOutput(total, terms)

        sounds = self.sounds(levels[-1][num:])
        patches = slice(1 if bags.shape[-2] > 1 else 0, None)  # without patches the picture itself
        bags, mask = bags[..., patches, :], mask[..., patches]
        costs = {
            "localisation": localisation(sounds, bags[audible], mask[audible], config.temperature),
            "recognition": recognition(sounds, pictures[audible], config.temperature),
        }
        weights = {
            "localisation": config.localisation_weight,
            "recognition": config.recognition_weight,
        }
        if whole.any() and config.alignment_weight:
            contains = audible.nonzero()[:, :1] == whole.nonzero()[:, 0]
            seen = contains.any(dim=0)  # a mixed picture of inaudible sounds alone has no match
            costs["alignment"] = alignment(
                sounds, bags[whole][seen], mask[whole][seen], contains[:, seen], config.temperature
            )
            weights["alignment"] = config.alignment_weight
        for name, values in costs.items():
            spread = values.new_zeros(audible.shape).masked_scatter(audible, values)
            cost = weighted_mean(spread, audible)
            total = total + weights[name] * cost
            terms[name] = cost.detach()
        return LossOutput(total, terms)
