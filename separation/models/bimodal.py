"""Bi-modal weakly supervised separation: a mask U-Net with attention to the query's tokens.

    mixture (b, c, t) -> STFT -> magnitude (b, f, n) -> log(1 + magnitude) -> U-Net with attention to tokens
    features (q, d, f, n), one item for each query -> inner product with the query's vector -> mask (q, f, n)
    mask -> times the mixture's STFT -> targets (b, s, c, t)

Mahmud et al., "Weakly-supervised audio separation via bi-modal semantic similarity" (2024), sec. 3. As
published its queries are CLAP's text embedding and the 77 token states of its RoBERTa. It learns from
single sounds, or from captioned mixtures through the phrases of their captions, where the query encoder
judges the estimates (`objectives/weak_supervision.py`). It works on absolute magnitudes, so recordings
should have natural levels within [-1, 1].
"""

from __future__ import annotations

from dataclasses import field

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import LossOutput, MixtureBatch, Separated, Separator
from ..networks.blocks.memory_format import to_channels_last
from ..networks.masks.magnitude_masks import MagnitudeMasks, SegmentConfig
from ..networks.masks.query_masks import QueryMasks, only_queried
from ..networks.unets.attention_unet import AttentionUNet
from ..objectives.weak_supervision import (
    WeakSupervisionConfig,
    agreement,
    consistency,
    mix_and_separate,
)
from ..signal.spectra import rms_magnitude


@configuration
class Config:
    """token_dim: width of the query's token states; 0 for encoders without tokens: attention then sees
    the query's vector and a vector of zeros. channels: of the U-Net's levels; the num_attentive lowest
    attend to the tokens."""

    query_dim: int = 512
    token_dim: int = 768
    num_features: int = 32
    channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    num_attentive: int = 3
    num_heads: int = 8
    spectrogram: SegmentConfig = field(default_factory=SegmentConfig)
    weak: WeakSupervisionConfig = field(default_factory=WeakSupervisionConfig)

    def __post_init__(self) -> None:
        if not 0 < self.num_attentive <= len(self.channels):
            most = len(self.channels)
            raise ValueError(f"num_attentive is {self.num_attentive}; expected 1 to {most}")
        stride = 2 ** len(self.channels)
        num_bins = self.spectrogram.window_samples // 2 + 1
        for name, number in (
            ("window_samples / 2 + 1", num_bins),
            ("segment_frames", self.spectrogram.segment_frames),
        ):
            if number % stride:
                raise ValueError(
                    f"spectrogram: {name} is {number}; expected a multiple of {stride}"
                )


def build(config: Config) -> BiModal:
    """The separator with these settings and random weights."""
    return BiModal(config)


class BiModal(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share the mask."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.masker = MagnitudeMasks(config.spectrogram)
        self.sample_rate = config.spectrogram.sample_rate
        self.num_channels = None
        self.query_dim = config.query_dim
        self.stride_samples = self.masker.geometry.stride_samples
        self.context_samples = self.masker.geometry.context_samples
        self.unet = AttentionUNet(
            config.num_features,
            config.channels,
            config.num_attentive,
            config.num_heads,
            config.token_dim or config.query_dim,
        )
        self.project = nn.Linear(config.query_dim, config.num_features)
        self.masks = QueryMasks(config.num_features)
        # As in the authors' code: the queries' weights are nearly equal at first.
        nn.init.normal_(self.project.weight, 0.0, 0.0001)
        to_channels_last(self)

    def logits(self, magnitude: Tensor, queries: QueryEmbedding, item: Tensor) -> Tensor:
        """Mask logits (q, f, n), float32.

        magnitude: (b, f, n); queries: q of them, without the dimension of mixtures; item: (q,), index
        of each one's mixture.
        """
        tokens, mask = self.tokens(queries)
        features = self.unet(magnitude.log1p(), item, tokens, mask)
        vectors = self.project(queries.pooled).sigmoid()
        return self.masks(features, vectors[:, None])[:, 0]

    def tokens(self, queries: QueryEmbedding) -> tuple[Tensor, Tensor | None]:
        """Tokens (q, k, d) and which of them are real, (q, k) bool, or None if all are. ValueError if
        the encoder gave none and the model needs them."""
        if not self.config.token_dim:
            return torch.stack([queries.pooled, torch.zeros_like(queries.pooled)], dim=1), None
        if queries.tokens is None:
            raise ValueError(
                "this model reads its queries' tokens, but their encoder gives none; use an encoder that "
                "does, as clap with tokens = true, or train with separator.token_dim = 0"
            )
        mask = queries.token_mask
        if mask is not None:
            # Attention over no token would be nan: a query without real tokens sees all of them.
            mask = mask | ~mask.any(dim=-1, keepdim=True)
        return queries.tokens, mask

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), in [-1, 1]; queries.pooled (b, s, q). target + residual = mixture."""
        num_items, num_queries = queries.pooled.shape[:2]
        flat_queries = queries.map(lambda entry: entry.flatten(0, 1))
        item = torch.arange(num_items, device=mixture.device).repeat_interleave(num_queries)

        def masks_of(magnitude: Tensor) -> Tensor:
            masks = self.logits(magnitude, flat_queries, item).sigmoid()
            return masks.unflatten(0, (num_items, num_queries))

        return self.masker.separate(mixture, masks_of)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Weighted L1 distance of magnitudes, summed over the known sources; with `batch.part_of` also
        consistency of the parts with their mixture, and agreement of the parts with their phrases."""
        weak, queried = self.config.weak, batch.queried()
        if not queried.any():  # the loss needs a graph even where nothing is queried
            nothing = torch.zeros(len(queried), device=queried.device) + 0 * self.masks.bias
            return LossOutput(nothing, {"separation": nothing.detach()})
        part_of = batch.part_of
        if part_of is None:
            part_of = torch.full_like(queried, -1, dtype=torch.long)
        is_part = queried & (part_of >= 0)
        steps = self.unet.norm.num_batches_tracked  # training steps so far; saved with the weights
        assert steps is not None
        ramp = weak.ramp(int(steps)) if bool(is_part.any()) else 0.0
        used = queried if ramp else queried & ~is_part  # parts are not computed before they count
        item = used.nonzero()[:, 0]
        with torch.no_grad():  # spectra of recordings have no weights to learn
            spec = self.masker.spectrum(batch.mixture)
            magnitude = rms_magnitude(spec)
            sources = rms_magnitude(self.masker.spectrum(batch.sources))
        used_queries = only_queried(queries, queried).map(lambda entry: entry[used])
        mask = self.logits(magnitude, used_queries, item).sigmoid()
        estimates = torch.zeros_like(sources)
        estimates[used] = mask * magnitude[item]
        separation = mix_and_separate(estimates, sources, magnitude, queried & ~is_part)
        total = weak.separation * separation
        terms = {"separation": separation}
        if ramp:
            share = nn.functional.one_hot(part_of + 1, part_of.shape[1] + 1)[..., 1:].to(sources)
            share = share * is_part[..., None]
            consistent = consistency(estimates, share, sources)
            total = total + ramp * weak.consistency * consistent
            terms["consistency"] = consistent
        if ramp and weak.agreement:
            of_part = is_part[used]
            masked = mask[of_part][:, None] * spec[item[of_part]]
            num_samples = self.masker.num_covered(batch.mixture.shape[-1])
            sounds = self.masker.waveform(masked, num_samples).mean(dim=1)
            disagreement = self.agreement(sounds, queries.pooled[is_part], is_part, part_of)
            total = total + ramp * weak.agreement * disagreement
            terms["agreement"] = disagreement
        return LossOutput(total, {name: value.detach() for name, value in terms.items()})

    def agreement(
        self, sounds: Tensor, phrases: Tensor, is_part: Tensor, part_of: Tensor
    ) -> Tensor:
        """Per item, the sum over its sources of the mean disagreement of their parts: (b,).

        sounds: (r, t); phrases: (r, d); both of the r parts, in the order of is_part (b, s) bool;
        part_of: (b, s). As published, parts are compared with those of the same source index in the
        whole batch. ValueError without a sound encoder.
        """
        if self.sound_encoder is None:
            raise ValueError(
                "sources known by name alone need an encoder of both text and sound to judge them: "
                "set the recipe's encoder to joint or clap, or separator.weak.agreement to 0"
            )
        import torchaudio

        resampled = torchaudio.functional.resample(
            sounds, self.sample_rate, self.sound_encoder.sample_rate
        )
        embedded = self.sound_encoder.embed_sound(resampled)
        scale, alike_cosine = self.sound_encoder.similarity_scale(), self.config.weak.alike_cosine
        rows = torch.full_like(part_of, -1)
        rows[is_part] = torch.arange(len(sounds), device=rows.device)
        total = torch.zeros(len(part_of), device=sounds.device)
        for source in range(part_of.shape[1]):
            is_part_of_source = is_part & (part_of == source)
            if not is_part_of_source.any():
                continue
            selected = rows[is_part_of_source]
            costs = agreement(embedded[selected], phrases[selected], scale, alike_cosine)
            spread = torch.zeros_like(total[:, None].expand(is_part_of_source.shape)).contiguous()
            spread[is_part_of_source] = costs
            total = total + spread.sum(dim=1) / is_part_of_source.sum(dim=1).clamp_min(1)
        return total
