"""CLAPSep (Ma et al. 2024, arXiv 2402.17455): by what CLAP hears, of what is wanted and what is not.

    mixture -> HTS-AT of CLAP, tuned by low-rank changes -> features
    features, wanted and unwanted query -> decoder; with the mixture's magnitude -> mask

As published it works on linear magnitudes and is asked by CLAP's embeddings, of text or sound; it expects
recordings at natural levels in [-1, 1]. The features are computed once a mixture, whatever is asked.
"""

from __future__ import annotations

from dataclasses import field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import Capabilities, LossOutput, MixtureBatch, Separated, Separator
from ..networks.clapsep.decoder import CLAPSepDecoder
from ..networks.clapsep.htsat import HTSAT, HTSATConfig
from ..networks.masks.magnitude_masks import MagnitudeMasks, SegmentConfig, rms_magnitude
from ..networks.masks.query_masks import only_queried
from ..objectives.means import mean_of_queried
from ..objectives.snr import negative_si_snr, negative_snr

RESAMPLER_SAMPLES = 32  # within which an output of torchaudio's resampler depends on its input


@configuration
class Config:
    """mask_width, num_mask_layers, num_mask_heads: of the transformer that makes the mask. drop: stochastic
    depth in training. negative_only: share of the queries given a negative that lose their positive, in
    training. si_snr_weight: of the scale-invariant ratio in the loss, the rest is the plain one's."""

    query_dim: int = 512
    encoder: HTSATConfig = field(default_factory=HTSATConfig)
    spectrogram: SegmentConfig = field(
        default_factory=lambda: SegmentConfig(32000, 1024, 320, 1001)
    )
    mask_width: int = 640
    num_mask_layers: int = 3
    num_mask_heads: int = 8
    drop: float = 0.1
    negative_only: float = 1 / 3
    si_snr_weight: float = 0.1

    def __post_init__(self) -> None:
        ours, ears = self.spectrogram, self.encoder
        if ours.hop_samples * ears.sample_rate != ears.hop_samples * ours.sample_rate:
            raise ValueError(
                f"spectrogram and encoder: hops of {ours.hop_samples} samples at {ours.sample_rate} Hz and "
                f"{ears.hop_samples} at {ears.sample_rate} Hz; expected hops of one duration"
            )
        if ours.segment_frames > ears.num_frames:
            raise ValueError(
                f"spectrogram.segment_frames is {ours.segment_frames}; expected at most "
                f"{ears.num_frames}, which the encoder hears at once"
            )


def build(config: Config) -> CLAPSep:
    return CLAPSep(config)


class CLAPSep(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share the mask."""

    capabilities = Capabilities(negatives=True)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.masker = MagnitudeMasks(config.spectrogram)
        self.sample_rate = config.spectrogram.sample_rate
        self.num_channels = None
        self.query_dim = config.query_dim
        self.stride_samples = self.masker.stride_samples
        ears_seconds = config.encoder.window_samples / config.encoder.sample_rate
        ears_samples = round(ears_seconds * self.sample_rate) + RESAMPLER_SAMPLES
        self.context_samples = self.masker.context_samples + ears_samples
        self.encoder = HTSAT(config.encoder)
        self.decoder = CLAPSepDecoder(
            config.encoder,
            2 * config.query_dim,
            config.spectrogram.window_samples // 2 + 1,
            config.mask_width,
            config.num_mask_layers,
            config.num_mask_heads,
            config.drop,
        )

    @torch.no_grad()  # of recordings: nothing to learn
    def frames(self, mixture: Tensor, magnitude: Tensor) -> Tensor:
        """(b, c, t) and its magnitude (b, f, n) to (b, f + num_mels, n): that, and below what CLAP hears."""
        import torchaudio

        heard = torchaudio.functional.resample(
            mixture, self.sample_rate, self.config.encoder.sample_rate
        )
        log_mel = self.encoder.log_mel(heard)[..., : magnitude.shape[-1]]
        return torch.cat([magnitude, log_mel], dim=1)

    def logits(self, frames: Tensor, item: Tensor, condition: Tensor) -> Tensor:
        """frames: as above, of segments; item, condition: see CLAPSepDecoder. (q, f, n), float32."""
        num_bins = self.config.spectrogram.window_samples // 2 + 1
        magnitude, log_mel = frames[:, :num_bins], frames[:, num_bins:]
        return self.decoder(self.encoder(log_mel), magnitude, item, condition).float()

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture: (b, c, t), in [-1, 1]; queries.pooled: (b, s, d), zeros where only queries.negative says
        something. target + residual = mixture."""
        num_items, num_queries = queries.pooled.shape[:2]
        condition = both(queries).flatten(0, 1)
        item = torch.arange(num_items, device=mixture.device).repeat_interleave(num_queries)

        def masks_of(frames: Tensor) -> Tensor:
            masks = self.logits(frames, item, condition).sigmoid()
            return masks.unflatten(0, (num_items, num_queries))

        return self.masker.separate(mixture, masks_of, self.frames)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Negative signal-to-noise ratio, plain and scale-invariant, mean over the queries of a mixture."""
        asked = batch.queried()
        chosen = asked if asked.any() else torch.ones_like(asked)  # a graph even for nothing
        item = chosen.nonzero()[:, 0]
        negative = None if queries.negative is None else queries.negative.pooled
        named = QueryEmbedding(only_queried(queries, asked).pooled)
        if negative is not None:
            named = QueryEmbedding(
                named.pooled,
                negative=QueryEmbedding(torch.where(asked[..., None, None], negative, 0)),
            )
        condition = both(named)[chosen]
        if self.training:
            condition = F.normalize(self.dropped(condition, generator), dim=-1)
        with torch.no_grad():  # spectra of recordings have no weights to learn
            spec = self.masker.spectrum(batch.mixture)
            frames = self.frames(batch.mixture, rms_magnitude(spec))
        most = self.config.encoder.num_frames
        if frames.shape[-1] > most:
            raise ValueError(
                f"mixtures of {frames.shape[-1]} frames; expected {most} at most, set mix.segment_samples to "
                f"{(most - 1) * self.config.spectrogram.hop_samples} or less"
            )
        mask = self.logits(frames, item, condition).sigmoid()
        estimate = self.masker.waveform(mask[:, None] * spec[item], batch.mixture.shape[-1])
        weight, target = self.config.si_snr_weight, batch.sources[chosen]
        cost = torch.zeros_like(queries.pooled[..., 0])
        ratio = negative_snr(estimate, target)
        cost[chosen] = (1 - weight) * ratio + weight * negative_si_snr(estimate, target)
        total = mean_of_queried(cost, asked)
        plain = torch.zeros_like(cost)
        plain[chosen] = ratio.detach()
        return LossOutput(total, {"snr": -mean_of_queried(plain, asked)})

    def dropped(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        """Of some that have a negative, the negative alone."""
        positive, negative = condition.chunk(2, dim=-1)
        draw = torch.rand(len(condition), generator=generator).to(condition.device)
        lost = (draw < self.config.negative_only) & negative.any(dim=-1)
        return torch.cat([positive * ~lost[:, None], negative], dim=-1)


def both(queries: QueryEmbedding) -> Tensor:
    """(..., d) to (..., 2 d): what is wanted, then the mean of what is not, zeros where nothing is said."""
    if queries.negative is None:
        return torch.cat([queries.pooled, torch.zeros_like(queries.pooled)], dim=-1)
    negative = queries.negative.pooled
    number = negative.any(dim=-1).sum(dim=-1, keepdim=True).clamp_min(1)
    return torch.cat([queries.pooled, negative.sum(dim=-2) / number], dim=-1)
