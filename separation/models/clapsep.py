"""CLAPSep: separation from the features of CLAP's audio encoder, with wanted and unwanted queries.

    mixture (b, c, t) -> 48 kHz -> log-mel -> HTS-AT of CLAP, with low-rank updates -> features of each stage
    features, wanted and unwanted query (q, 2 d) -> decoder (q, num_mels, n)
    decoder's output and the mixture's magnitude (b, f, n) -> transformer over frames -> mask (q, f, n)
    mask -> times the mixture's STFT -> targets (b, s, c, t)

Ma et al., "CLAPSep: Leveraging contrastive pre-trained model for multi-modal query-conditioned
target sound extraction" (2024, arXiv 2402.17455). Queries are CLAP's embeddings of text or sound. It
works on absolute magnitudes, so recordings should have natural levels within [-1, 1]. The features are
computed once for all queries.
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
from ..networks.masks.magnitude_masks import MagnitudeMasks, SegmentConfig
from ..networks.masks.query_masks import only_queried
from ..objectives.means import mean_of_queried
from ..objectives.snr import negative_si_snr, negative_snr
from ..signal.spectra import rms_magnitude

RESAMPLER_SAMPLES = 32  # the receptive field of torchaudio's resampler is shorter


@configuration
class Config:
    """mask_width, num_mask_layers, num_mask_heads: of the transformer that computes the mask. drop:
    stochastic depth in training. negative_only: in training, the share of queries with a negative whose
    positive is dropped. si_snr_weight: weight of the scale-invariant SNR in the loss; the plain SNR has
    the rest."""

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
        spectrogram, encoder = self.spectrogram, self.encoder
        if (
            spectrogram.hop_samples * encoder.sample_rate
            != encoder.hop_samples * spectrogram.sample_rate
        ):
            raise ValueError(
                f"spectrogram and encoder: hops of {spectrogram.hop_samples} samples at "
                f"{spectrogram.sample_rate} Hz and {encoder.hop_samples} at {encoder.sample_rate} Hz; "
                "expected hops of one duration"
            )
        if spectrogram.segment_frames > encoder.num_frames:
            raise ValueError(
                f"spectrogram.segment_frames is {spectrogram.segment_frames}; expected at most "
                f"{encoder.num_frames}, the most that the encoder takes"
            )


def build(config: Config) -> CLAPSep:
    """The separator with these settings and random weights."""
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
        self.stride_samples = self.masker.geometry.stride_samples
        encoder_seconds = config.encoder.window_samples / config.encoder.sample_rate
        encoder_reach_samples = round(encoder_seconds * self.sample_rate) + RESAMPLER_SAMPLES
        self.context_samples = self.masker.geometry.context_samples + encoder_reach_samples
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

    @torch.no_grad()  # front ends have no weights to learn
    def frames(self, mixture: Tensor, magnitude: Tensor) -> Tensor:
        """mixture (b, c, t) and its magnitude (b, f, n) to (b, f + num_mels, n): the magnitude, and
        below it the encoder's log-mel."""
        import torchaudio

        resampled = torchaudio.functional.resample(
            mixture, self.sample_rate, self.config.encoder.sample_rate
        )
        log_mel = self.encoder.log_mel(resampled)[..., : magnitude.shape[-1]]
        return torch.cat([magnitude, log_mel], dim=1)

    def logits(self, frames: Tensor, item: Tensor, condition: Tensor) -> Tensor:
        """Mask logits (q, f, n), float32.

        frames: (b, f + num_mels, n) from `frames`, of one segment; item (q,), condition (q, 2 d): see
        CLAPSepDecoder.
        """
        num_bins = self.config.spectrogram.window_samples // 2 + 1
        magnitude, log_mel = frames[:, :num_bins], frames[:, num_bins:]
        return self.decoder(self.encoder(log_mel), magnitude, item, condition).float()

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), in [-1, 1]; queries.pooled (b, s, d), zeros where a query has only
        negatives. target + residual = mixture."""
        num_items, num_queries = queries.pooled.shape[:2]
        condition = wanted_and_unwanted(queries).flatten(0, 1)
        item = torch.arange(num_items, device=mixture.device).repeat_interleave(num_queries)

        def masks_of(frames: Tensor) -> Tensor:
            masks = self.logits(frames, item, condition).sigmoid()
            return masks.unflatten(0, (num_items, num_queries))

        return self.masker.separate(mixture, masks_of, self.frames)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Negative SNR, plain and scale-invariant, mean over the queries of each mixture. ValueError if
        mixtures are longer than the encoder takes."""
        queried = batch.queried()
        # The loss needs a graph even where nothing is queried.
        used = queried if queried.any() else torch.ones_like(queried)
        item = used.nonzero()[:, 0]
        negative = None if queries.negative is None else queries.negative.pooled
        used_queries = QueryEmbedding(only_queried(queries, queried).pooled)
        if negative is not None:
            used_queries = QueryEmbedding(
                used_queries.pooled,
                negative=QueryEmbedding(torch.where(queried[..., None, None], negative, 0)),
            )
        condition = wanted_and_unwanted(used_queries)[used]
        if self.training:
            condition = F.normalize(self.drop_positives(condition, generator), dim=-1)
        with torch.no_grad():  # spectra of recordings have no weights to learn
            spec = self.masker.spectrum(batch.mixture)
            frames = self.frames(batch.mixture, rms_magnitude(spec))
        max_frames = self.config.encoder.num_frames
        if frames.shape[-1] > max_frames:
            raise ValueError(
                f"mixtures of {frames.shape[-1]} frames; expected at most {max_frames}: set "
                f"mix.segment_samples to "
                f"{(max_frames - 1) * self.config.spectrogram.hop_samples} or less"
            )
        mask = self.logits(frames, item, condition).sigmoid()
        num_samples = self.masker.num_covered(batch.mixture.shape[-1])
        estimate = self.masker.waveform(mask[:, None] * spec[item], num_samples)
        weight, target = self.config.si_snr_weight, batch.sources[used][..., :num_samples]
        cost = torch.zeros_like(queries.pooled[..., 0])
        ratio = negative_snr(estimate, target)
        cost[used] = (1 - weight) * ratio + weight * negative_si_snr(estimate, target)
        total = mean_of_queried(cost, queried)
        snr_loss = torch.zeros_like(cost)
        snr_loss[used] = ratio.detach()
        return LossOutput(total, {"snr": -mean_of_queried(snr_loss, queried)})

    def drop_positives(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        """Conditions (q, 2 d) with the positive half set to zero for a random share of those that have
        a negative."""
        positive, negative = condition.chunk(2, dim=-1)
        draw = torch.rand(len(condition), generator=generator).to(condition.device)
        lost = (draw < self.config.negative_only) & negative.any(dim=-1)
        return torch.cat([positive * ~lost[:, None], negative], dim=-1)


def wanted_and_unwanted(queries: QueryEmbedding) -> Tensor:
    """Wanted query, then the mean of the unwanted ones, zeros if there are none: (..., d) to
    (..., 2 d)."""
    if queries.negative is None:
        return torch.cat([queries.pooled, torch.zeros_like(queries.pooled)], dim=-1)
    negative = queries.negative.pooled
    number = negative.any(dim=-1).sum(dim=-1, keepdim=True).clamp_min(1)
    return torch.cat([queries.pooled, negative.sum(dim=-2) / number], dim=-1)
