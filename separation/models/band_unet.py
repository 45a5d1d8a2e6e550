"""Band U-Net: masks over frequency bands; the mixture is analysed once for all queries.

    mixture (b, c, t) -> STFT (b, c, f, n) -> band energies (b, k, n) -> input planes (b, 3, k, n)
    planes -> U-Net -> features (b, d, k, n)
    query (b, s, q) -> phrase book, frozen: probabilities of classes (b, s, C + 1)
    probabilities -> linear layer -> weights of the features and an offset (b, s, d + 1)
    inner product of features and weights -> sigmoid -> band masks (b, s, k, n)
    masks, interpolated to bins (b, s, f, n) -> times the STFT -> targets (b, s, c, t)

The masks are real, so the mixture's phase stays. Only ratios of energies enter the network, so that
scaling the input scales the output. The receptive field is finite, so that long recordings can be
processed in chunks with identical results. Late fusion as in CLIPSep (Dong et al. 2023, sec. 3),
residual blocks as in He et al. (2016).
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.networks.phrase_classifier import PhraseClassifier, add_noise
from qsep.queries.settings import configuration

from ..interface import Capabilities, LossOutput, MixtureBatch, Separated, Separator
from ..networks.blocks.memory_format import to_channels_last
from ..networks.unets.residual_unet import TIME_STRIDE, UNet, unet_reach_frames
from ..objectives.means import mean_where, weighted_mean
from ..objectives.snr import thresholded_snr_loss
from ..signal.band_energies import SURROUNDINGS_FRAMES, band_planes, gather_bands
from ..signal.bands import band_weights
from ..signal.precision import full_precision
from ..signal.spectra import real_product, squared_magnitude
from ..signal.stft import istft, stft


@configuration
class Config:
    """sample_rate in Hz; class_names: short descriptions of the sound classes that the phrase book
    tells apart.

    query_noise: norm of the noise added to unit-norm query embeddings in training. absent_weight:
    weight in the loss of queries for absent sounds; at 1 the network first learns silence for every
    query and gets stuck there. snr_limit_db: beyond this SNR an item's gradient vanishes.
    channel_dropout: dropout probability of channels in the U-Net's deep levels. negatives, spans:
    whether queries carry unwanted sounds (with a second linear layer for these) and the times when the
    sound may be present (with another input plane, for which the U-Net runs once for each query).

    At use: shifts: number of passes of the U-Net over frames shifted against its time grid, whose masks
    are averaged. mask_exponent: power of the masks; less than 1 counters the overconfidence of a
    network that has seen its training sounds many times.
    """

    class_names: tuple[str, ...]
    num_phrases: int
    query_dim: int = 384
    sample_rate: int = 32000
    window_samples: int = 1280
    hop_samples: int = 640
    num_bands: int = 128
    channels: tuple[int, ...] = (32, 48, 96, 160, 224)
    blocks: tuple[int, ...] = (1, 2, 2, 2, 2)
    mask_features: int = 32
    query_noise: float = 0.5
    absent_weight: float = 0.1
    snr_limit_db: float = 30.0
    channel_dropout: float = 0.0
    negatives: bool = False
    spans: bool = False
    shifts: int = 1
    mask_exponent: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.shifts <= TIME_STRIDE:
            raise ValueError(f"shifts is {self.shifts}; expected 1 to {TIME_STRIDE}")


def build(config: Config) -> BandUNet:
    """The separator with these settings and random weights."""
    return BandUNet(config)


class BandUNet(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share the mask, so the stereo image
    stays."""

    bands: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.num_channels = None
        self.query_dim = config.query_dim
        self.stride_samples = TIME_STRIDE * config.hop_samples
        context_frames = unet_reach_frames(config.blocks) + SURROUNDINGS_FRAMES + 2  # 2: the STFTs
        self.context_samples = context_frames * config.hop_samples
        num_bins = config.window_samples // 2 + 1
        weights = band_weights(num_bins, config.num_bands, config.sample_rate)
        self.register_buffer("bands", weights, persistent=False)
        self.reader = PhraseClassifier(
            config.query_dim, len(config.class_names), config.num_phrases
        )
        self.classes = config.class_names
        self.capabilities = Capabilities(negatives=config.negatives, spans=config.spans)
        self.unet = UNet(
            *(config.channels, config.blocks, config.mask_features, config.channel_dropout),
            num_inputs=3 + config.spans,
        )
        self.concept_masks = nn.Linear(
            len(config.class_names) + 1, config.mask_features + 1, bias=False
        )
        if config.negatives:
            self.negative_masks = nn.Linear(
                len(config.class_names) + 1, config.mask_features + 1, bias=False
            )
        to_channels_last(self)

    @property
    def phrase_book(self) -> PhraseClassifier:
        """The classifier of queries, not trained."""
        return self.reader

    def spectrum(self, waveform: Tensor) -> Tensor:
        """STFT with square-root Hann windows: (..., t) to complex (..., f, n)."""
        return stft(waveform, self.config.window_samples, self.config.hop_samples)

    def gather(self, power: Tensor) -> Tensor:
        """Sum over the bins of each band: (..., f, n) to (..., k, n)."""
        return gather_bands(power, self.bands)

    def features(self, energy: Tensor, activity: Tensor | None) -> Tensor:
        """Input planes of the U-Net: energy (b, k, n) to (b, 3, k, n) or, with `spans`, one plane more.

        activity: (b, s, t) in [0, 1], when each query's sound may be present; the plane is its mean in
        each frame, and the result is then (b s, 4, k, n), one item for each query. Without activity the
        plane is 1 and the result (b, 4, k, n).
        """
        features = band_planes(energy)
        if not self.config.spans:
            return features
        if activity is None:
            return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
        hop, num_samples = self.config.hop_samples, energy.shape[-1] * self.config.hop_samples
        margin = hop // 2, num_samples - activity.shape[-1] - hop // 2
        frames = F.avg_pool1d(F.pad(activity, margin, mode="replicate"), hop).flatten(0, 1)
        features = features.repeat_interleave(activity.shape[1], dim=0)
        plane = frames[:, None, None].expand_as(features[:, :1])
        return torch.cat([features, plane], dim=1)

    def averaged_masks(self, energy: Tensor, queries: QueryEmbedding) -> Tensor:
        """Masks for use: the mean of `masks` over shifts of the time grid, to the power of
        mask_exponent."""
        features, query = self.features(energy, queries.activity), self.feature_weights(queries)
        shifts = self.config.shifts
        masks = [
            self.shifted_masks(features, query, index * TIME_STRIDE // shifts)
            for index in range(shifts)
        ]
        return torch.stack(masks).mean(dim=0) ** self.config.mask_exponent

    def masks(
        self, energy: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Tensor:
        """energy (b, k, n), queries.pooled (b, s, q) to band masks (b, s, k, n) in [0, 1]. generator:
        for dropout in training."""
        features = self.features(energy, queries.activity)
        return self.shifted_masks(features, self.feature_weights(queries), 0, generator)

    def feature_weights(self, queries: QueryEmbedding) -> Tensor:
        """Weights of the features, and an offset: queries.pooled (b, s, q) to
        (b, s, mask_features + 1).

        Negatives are read by a linear layer of their own, whose output is added
        (Ma et al. 2024, "CLAPSep"). A negative of zeros adds nothing.
        """
        with full_precision(queries.pooled):
            weights: Tensor = self.concept_masks(self.reader(queries.pooled))
            if self.config.negatives and queries.negative is not None:
                pooled = queries.negative.pooled
                reading = self.reader(pooled) * pooled.any(dim=-1, keepdim=True)
                weights = weights + self.negative_masks(reading.sum(dim=-2).clamp(max=1))
            return weights

    def shifted_masks(
        self, features: Tensor, query: Tensor, shift: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Masks (b, s, k, n) from the results of `features` and `feature_weights`; shift: of the U-Net's time
        grid, in frames."""
        num, num_queries = query.shape[:2]
        rows = query.reshape(len(features), num * num_queries // len(features), query.shape[2])
        logits = self.logits(self.hidden(features, shift, generator), rows)
        return torch.sigmoid(logits).reshape(num, num_queries, *logits.shape[2:])

    def hidden(
        self, features: Tensor, shift: int = 0, generator: torch.Generator | None = None
    ) -> Tensor:
        """The U-Net's features, (b, mask_features, k, n), float32, from the result of `features`; shift
        as above."""
        num_frames = features.shape[-1]
        features = F.pad(features, (shift, -(num_frames + shift) % TIME_STRIDE))
        hidden: Tensor = self.unet(
            features.contiguous(memory_format=torch.channels_last), generator
        )
        return hidden[..., shift : shift + num_frames].float()

    def logits(self, hidden: Tensor, query: Tensor) -> Tensor:
        """Scaled inner products: hidden (b, d, k, n), query (b, s, d + 1) to (b, s, k, n)."""
        with full_precision(hidden):
            direction, offset = query[..., :-1], query[..., -1]
            scale = self.config.mask_features**-0.5
            products = torch.einsum("bsd,bdkn->bskn", direction * scale, hidden)
            return products + offset[..., None, None]

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), any scale; queries.pooled (b, s, q). target + residual = mixture."""
        spec = self.spectrum(mixture)
        energy = self.gather(squared_magnitude(spec).mean(dim=1))
        mask = self.averaged_masks(energy, queries)
        bin_mask = (mask.transpose(-2, -1) @ self.bands.T).transpose(-2, -1)
        masked = bin_mask[:, :, None] * spec[:, None]
        target = istft(
            masked, self.config.window_samples, self.config.hop_samples, mixture.shape[-1]
        )
        return Separated(target, mixture[:, None] - target)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Thresholded SNR loss of the masked spectrum, mean over the queries of each mixture.

        The error of a masked spectrum is |m X - S|^2 = m^2 |X|^2 - 2 m Re(X* S) + |S|^2, summed over
        each band. Because the STFT is a tight frame, and by Jensen's inequality, its total is an upper
        bound of the waveform's error.
        """
        queried = batch.queried()
        present = queried & (batch.sources.abs().amax(dim=(-2, -1)) > 0)
        with torch.no_grad():  # spectra of recordings have no weights to learn
            spec = self.spectrum(batch.mixture)
            energy = self.gather(squared_magnitude(spec).mean(dim=1))
            source_spec = self.spectrum(batch.sources[present])
            product = real_product(spec[present.nonzero()[:, 0]], source_spec).mean(dim=1)
            correlation = energy.new_zeros(*queried.shape, *energy.shape[-2:])
            correlation[present] = self.gather(product)
            target_energy = energy.new_zeros(queried.shape)
            target_energy[present] = squared_magnitude(source_spec).mean(dim=1).sum(dim=(1, 2))
            mixture_energy = energy.sum(dim=(1, 2))[:, None].expand_as(target_energy)
            pooled = F.normalize(torch.where(queried[..., None], queries.pooled, 0), dim=-1)
            pooled = add_noise(pooled, self.config.query_noise, generator)
        mask = self.masks(energy, replace(queries, pooled=pooled), generator)
        change = mask * (mask * energy[:, None] - 2 * correlation)
        error = (change.sum(dim=(2, 3)) + target_energy).clamp_min(0)
        snr_loss = thresholded_snr_loss(
            error, target_energy, mixture_energy, self.config.snr_limit_db
        )
        absent = queried & ~present
        weight = present + self.config.absent_weight * absent
        return LossOutput(
            total=weighted_mean(snr_loss, weight),
            terms={
                "present": mean_where(snr_loss, present),
                "absent": mean_where(snr_loss, absent),
            },
        )
