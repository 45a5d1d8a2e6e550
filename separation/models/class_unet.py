"""Class U-Net: masks that are posterior probabilities of sound classes. The default separator.

    mixture -> STFT -> band energies relative to their surroundings -> U-Net -> features (b, d, k, n)
    features -> a logit for each class, and one for "other", for every second band and frame: their
                softmax is the probability of each class there
    query: a degree in [0, 1] for each class -> odds of the wanted classes against the others -> mask
    mask -> mean features of what it takes and of what it leaves -> a second, adapted mask

A query is a fuzzy set of classes, so a family is the union of its members, "everything but" is the
complement, and classes compete for each bin: their probabilities sum to 1. The second mask adapts to
this recording: bins with features like those of the first mask's are taken too (deep attractors: Chen,
Luo and Mesgarani, "Deep attractor network for single-microphone speaker separation", 2017, sec. 2).
A query for more than half of all classes is a complement: the others are separated, and the target is their
residual.

Masks are real, so the mixture's phase is kept. Only ratios of energies enter the network, so scaling the
input scales the output. The receptive field is finite, so chunks of a long recording give the same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import (
    WHOLE,
    Capabilities,
    LossOutput,
    MixtureBatch,
    Separated,
    Separator,
)
from ..networks.blocks.memory_format import to_channels_last
from ..networks.unets.residual_unet import TIME_STRIDE, UNet, unet_reach_frames
from ..objectives.means import mean_where, weighted_mean
from ..objectives.snr import thresholded_snr_loss
from ..signal.band_energies import (
    RELATIVE_FLOOR,
    SURROUNDINGS_FRAMES,
    band_planes,
    gather_bands,
    surroundings,
    with_total,
)
from ..signal.bands import band_weights
from ..signal.precision import full_precision
from ..signal.spectra import real_product, squared_magnitude
from ..signal.stft import istft, stft

REFINE_FRAMES = 75  # each side; what is taken is averaged over these around each frame
LOGIT_LIMIT = 15.0  # of log odds: 1 - sigmoid(15) is 3e-7, float32's last digits
TINY = 1e-12  # a lower bound, not added: the exporter of graphs takes "+ 1e-12" for "+ 0" and leaves it out


@configuration
class Config:
    """sample_rate in Hz. classes: names of the sound classes, in the order of a query's degrees.

    absent_weight: weight of queries for absent sounds in the loss. bin_weight: weight of the first
    mask's cross-entropy, in dB a nat. snr_limit_db: an item separated better gives no gradient.

    At use: shifts: passes of the U-Net over frames shifted against its grid, whose masks are averaged.
    mask_exponent: power of the masks; 0.55 was chosen on mixtures of dev recordings.
    """

    classes: tuple[str, ...]
    sample_rate: int = 32000
    window_samples: int = 1280
    hop_samples: int = 640
    num_bands: int = 128
    channels: tuple[int, ...] = (32, 48, 96, 160, 320)
    blocks: tuple[int, ...] = (1, 2, 2, 2, 2)
    features: int = 64
    refine_features: int = 32
    refine_hidden: int = 96
    absent_weight: float = 0.1
    bin_weight: float = 2.0
    snr_limit_db: float = 30.0
    shifts: int = 1
    mask_exponent: float = 0.55

    def __post_init__(self) -> None:
        if self.features % 4:
            raise ValueError(f"features is {self.features}; expected a multiple of 4")
        if not self.classes:
            raise ValueError("classes is empty; expected one class or more")
        if not 1 <= self.shifts <= TIME_STRIDE:
            raise ValueError(f"shifts is {self.shifts}; expected 1 to {TIME_STRIDE}")
        if not 0 < self.mask_exponent < math.inf:
            raise ValueError(f"mask_exponent is {self.mask_exponent}; expected more than 0")


def build(config: Config) -> ClassUNet:
    """The separator of a config, with random weights."""
    return ClassUNet(config)


@dataclass(frozen=True)
class Features:
    """What the masks of all queries are made of, for n frames of a mixture.

    classing: (b, d, k / 2, n'), of two bands and frames each, beginning `offset` frames before the first.
    refining: (b, e, k, n). loudness: (b, k, n), see the function.
    """

    classing: Tensor
    refining: Tensor
    loudness: Tensor
    offset: int

    def part(self, frames: slice) -> Features:
        """Of the frames from frames.start to frames.stop."""
        first, last = self.offset + frames.start, self.offset + frames.stop
        classing = self.classing[..., first // 2 : -(-last // 2)]
        return Features(classing, self.refining[..., frames], self.loudness[..., frames], first % 2)


class ClassUNet(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share the mask, so the image stays."""

    bands: Tensor
    capabilities = Capabilities(analyses=True)
    cell_frames = 2  # class probabilities are for cells of two bands and so many frames

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.num_channels = None
        self.classes = config.classes
        self.query_dim = len(config.classes) + 1
        self.stride_samples = TIME_STRIDE * config.hop_samples
        reach = unet_reach_frames(config.blocks) + SURROUNDINGS_FRAMES + REFINE_FRAMES
        self.context_samples = (reach + 2) * config.hop_samples  # 2: the STFTs
        num_bins = config.window_samples // 2 + 1
        weights = band_weights(num_bins, config.num_bands, config.sample_rate)
        self.register_buffer("bands", weights, persistent=False)
        self.unet = self.network()
        self.class_logits = nn.Linear(config.features, self.query_dim)
        last = nn.Linear(config.refine_hidden, config.refine_features + 1)
        self.refine = nn.Sequential(
            nn.Linear(2 * config.refine_features + 1, config.refine_hidden),
            nn.ReLU(),
            last,
        )
        nn.init.zeros_(last.weight)  # at first the second mask is the first
        nn.init.zeros_(last.bias)
        to_channels_last(self)

    def network(self) -> nn.Module:
        """The network from input planes to features."""
        planes = self.config.features // 4 + self.config.refine_features
        return UNet(self.config.channels, self.config.blocks, planes)

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Complex spectrogram (..., f, n) of a waveform (..., t)."""
        return stft(waveform, self.config.window_samples, self.config.hop_samples)

    def gather(self, power: Tensor) -> Tensor:
        """Sum over the bins of each band: (..., f, n) to (..., k, n)."""
        return gather_bands(power, self.bands)

    def features(self, energy: Tensor, shift: int = 0) -> Features:
        """Of energies (b, k, n), with the U-Net's grid of frames moved back by `shift`."""
        num_frames = energy.shape[-1]
        missing = -(num_frames + shift) % TIME_STRIDE
        means = surroundings(with_total(energy))
        planes = F.pad(band_planes(energy, means), (shift, missing))
        hidden: Tensor = self.unet(planes.contiguous(memory_format=torch.channels_last))
        width = self.config.features // 4
        classing = F.pixel_unshuffle(hidden[:, :width], 2)
        refining = hidden[:, width:, :, shift : shift + num_frames]
        return Features(classing, refining, loudness(energy, means[:, :1]), shift)

    def posteriors(self, features: Tensor) -> Tensor:
        """Probabilities of the classes and of "other", (b, kn, K + 1), of class features (b, d, k, n)."""
        num, width = features.shape[:2]
        rows = features.permute(0, 2, 3, 1).reshape(num, -1, width)
        logits = self.class_logits(rows)
        with full_precision(features):
            return logits.float().softmax(dim=-1)

    def log_odds(self, features: Tensor, degrees: Tensor) -> Tensor:
        """Log odds of the queried classes against all others, on any grid.

        features (b, d, k, n), degrees (b, s, K + 1) in [0, 1] to (b, s, k, n). Their sigmoid is the mean
        degree under the posterior.
        """
        num, _, num_bands, num_frames = features.shape
        posteriors = self.posteriors(features)
        with full_precision(features):
            wanted = posteriors @ degrees.mT
            others = 1 - wanted
            odds = torch.log(wanted.clamp_min(TINY)) - torch.log(others.clamp_min(TINY))
            odds = odds.clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        return odds.mT.reshape(num, -1, num_bands, num_frames)

    def refined(
        self,
        odds: Tensor,
        features: Tensor,
        loudness: Tensor,
        mean: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Log odds of the second mask: odds (b, s, k, n), features (b, d, k, n), loudness (b, k, n).

        mean: of values (b, s, d, n) over the frames that tell a sound at each frame; None: `around`.
        """
        with full_precision(odds):
            features = features.float()
            taken = torch.sigmoid(odds) * loudness[:, None]  # (b, s, k, n)
            weights = torch.cat([taken, loudness[:, None]], dim=1)  # the last of the whole mixture
            sums = torch.einsum("bskn,bdkn->bsdn", weights, features)
            means = (mean or around)(torch.cat([sums, weights.sum(dim=2)[:, :, None]], dim=2))
            taken_sum, taken_weight = means[:, :-1, :-1], means[:, :-1, -1:]
            all_sum, weight = means[:, -1:, :-1], means[:, -1:, -1:]
            left_weight = (weight - taken_weight).clamp_min(0)
            floor = (1e-3 * weight).clamp_min(TINY)
            taken_mean = taken_sum / (taken_weight + floor)
            left_mean = (all_sum - taken_sum) / (left_weight + floor)
            share = taken_weight / weight.clamp_min(TINY)
            context = torch.cat([taken_mean, left_mean, share], dim=2).mT  # (b, s, n, 2 d + 1)
            adapted = self.refine(context)
            scale = self.config.refine_features**-0.5
            change = torch.einsum("bsnd,bdkn->bskn", adapted[..., :-1] * scale, features)
            return odds + change + adapted[..., -1][:, :, None]

    def masks(self, features: Features, degrees: Tensor) -> tuple[Tensor, Tensor]:
        """Log odds of the first and the second mask, (b, s, k, n) each."""
        num_frames = features.loudness.shape[-1]
        coarse = self.log_odds(features.classing, degrees)
        frames = slice(features.offset, features.offset + num_frames)
        odds = F.interpolate(coarse, scale_factor=2.0)[..., frames]
        return odds, self.refined(odds, features.refining, features.loudness)

    def analysed(self, mixture: Tensor) -> Analysed:
        """See `Separator`."""
        return Analysed(self, mixture)

    def class_analysis(self, mixture: Tensor) -> Analysed:
        """See `Separator`; the parts of shares are a cell long."""
        return self.analysed(mixture)

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture: (b, c, t), any scale; queries.pooled: (b, s, K + 1), degrees, clamped to [0, 1].
        target + residual = mixture."""
        target = self.analysed(mixture).targets(queries)
        return Separated(target, mixture[:, None] - target)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Thresholded SNR of the second mask and cross-entropy of the first with the ideal ratio mask.

        The error of a masked spectrum is |m X - S|^2 = m^2 |X|^2 - 2 m Re(X* S) + |S|^2, gathered in
        bands. By Jensen's inequality and because the STFT is a tight frame, its sum is an upper
        bound of the waveform's error.
        """
        queried = batch.queried()
        sounding = batch.sources.abs().amax(dim=(-2, -1)) > 0
        present = queried & sounding
        with torch.no_grad():  # spectra of recordings have no weights to learn
            spec = self.spectrum(batch.mixture)
            energy = self.gather(squared_magnitude(spec).mean(dim=1))
            source_spec = self.spectrum(batch.sources[sounding])
            rows = sounding.nonzero()[:, 0]
            shape = (*queried.shape, *energy.shape[-2:])
            correlation, power = energy.new_zeros(shape), energy.new_zeros(shape)
            correlation[sounding] = self.gather(real_product(spec[rows], source_spec).mean(dim=1))
            power[sounding] = self.gather(squared_magnitude(source_spec).mean(dim=1))
            target_energy = power.sum(dim=(2, 3))
            ideal = power / (power.sum(dim=1, keepdim=True) + TINY)
            weight_of_bin = loudness(energy)
            weight_of_bin = (weight_of_bin / weight_of_bin.sum(dim=(1, 2), keepdim=True))[:, None]
        degrees = torch.where(queried[..., None], queries.pooled, 0).clamp(0, 1)
        first, second = self.masks(self.features(energy), degrees)
        mask = second.sigmoid()
        change = mask * (mask * energy[:, None] - 2 * correlation)
        error = (change.sum(dim=(2, 3)) + target_energy).clamp_min(0)
        mixture_energy = energy.sum(dim=(1, 2))[:, None].expand_as(target_energy)
        snr_loss = thresholded_snr_loss(
            error, target_energy, mixture_energy, self.config.snr_limit_db
        )
        entropy = F.binary_cross_entropy_with_logits(first, ideal, reduction="none")
        entropy = (entropy * weight_of_bin).sum(dim=(2, 3))
        absent = queried & ~present
        weight = present + self.config.absent_weight * absent
        losses = snr_loss + self.config.bin_weight * entropy
        return LossOutput(
            total=weighted_mean(losses, weight),
            terms={
                "present": mean_where(snr_loss, present),
                "absent": mean_where(snr_loss, absent),
                "entropy": mean_where(entropy, present),
            },
        )


class Analysed:
    """A mixture's spectrum and features, of which targets are made by query and part: see `Separator`."""

    def __init__(self, separator: ClassUNet, mixture: Tensor) -> None:
        """mixture: (b, c, t)."""
        self.separator, self.num_samples = separator, mixture.shape[-1]
        self.spec = separator.spectrum(mixture)
        self.energy = separator.gather(squared_magnitude(self.spec).mean(dim=1))  # (b, k, n)
        shifts = separator.config.shifts
        self.features = [
            separator.features(self.energy, index * TIME_STRIDE // shifts)
            for index in range(shifts)
        ]

    def shares(self) -> Tensor:
        """See `separation.interface.ClassAnalysis`; the parts are a cell long."""
        posteriors, energy = self._coarse(self.energy)
        shares = torch.einsum("bkn,bknc->bcn", energy, posteriors)
        return shares[..., : -(-self.energy.shape[-1] // self.separator.cell_frames)]

    def overlaps(self) -> Tensor:
        """See `separation.interface.ClassAnalysis`."""
        posteriors, weights = self._coarse(self.features[0].loudness)
        return torch.einsum("bkn,bknc,bknd->bcd", weights, posteriors, posteriors)

    def _coarse(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Posteriors of the cells, (b, k / 2, n', K + 1), and sums over each of weights (b, k, n)."""
        classing = self.features[0].classing
        num_cells, cell = classing.shape[-1], (2, self.separator.cell_frames)
        padded = F.pad(weights, (0, num_cells * cell[1] - weights.shape[-1]))
        sums = cell[0] * cell[1] * F.avg_pool2d(padded[:, None], cell)[:, 0]
        return self.separator.posteriors(classing).unflatten(1, (-1, num_cells)), sums

    def targets(self, queries: QueryEmbedding, part: slice = WHOLE) -> Tensor:
        """See `separation.interface.Analysis`."""
        window, hop = self.separator.config.window_samples, self.separator.config.hop_samples
        spec = self.spec
        degrees, complement = without_complements(queries.pooled)
        if part == WHOLE:
            mask, first, last = self._mask(self.features, degrees), 0, self.num_samples
        else:
            beside = -(-window // (2 * hop))  # a sample is in so many frames on each side
            frames = self._frames(part.start // hop - beside + 1, -(-part.stop // hop) + beside)
            seen = self._frames(frames.start - REFINE_FRAMES, frames.stop + REFINE_FRAMES)
            mask = self._mask([features.part(seen) for features in self.features], degrees)
            mask = mask[..., frames.start - seen.start : frames.stop - seen.start]
            spec = spec[..., frames]
            first, last = part.start - frames.start * hop, part.stop - frames.start * hop
        mask = torch.where(complement[..., None], 1 - mask, mask)
        bin_mask = (mask.mT @ self.separator.bands.T).mT
        masked = bin_mask[:, :, None] * spec[:, None]
        return istft(masked, window, hop, last)[..., first:]

    def _frames(self, first: int, stop: int) -> slice:
        """Those frames that exist."""
        return slice(max(0, first), min(stop, self.spec.shape[-1]))

    def _mask(self, shifted: Sequence[Features], degrees: Tensor) -> Tensor:
        """The second mask (b, s, k, n), the mean over shifts."""
        masks = [self.separator.masks(features, degrees)[1].sigmoid() for features in shifted]
        return torch.stack(masks).mean(dim=0) ** self.separator.config.mask_exponent


def without_complements(pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Queries (b, s, K + 1) as degrees in [0, 1] of the classes to separate, (b, s, K + 1), and whether the
    target is their residual, (b, s, 1): for more than half of all classes, the others are separated."""
    degrees = pooled.clamp(0, 1)
    complement = degrees.sum(dim=-1, keepdim=True) > degrees.shape[-1] / 2
    return torch.where(complement, 1 - degrees, degrees), complement


def loudness(energy: Tensor, level: Tensor | None = None) -> Tensor:
    """Magnitudes of bands relative to those of all bands around: (b, k, n) to the same, with a floor.

    level: (b, 1, n), that of all bands; None: over the frames around.
    """
    with full_precision(energy):
        if level is None:
            level = surroundings(energy.sum(dim=1, keepdim=True))
        return (energy / level.clamp_min(TINY) + RELATIVE_FLOOR).sqrt()


def around(values: Tensor) -> Tensor:
    """Mean over the frames around each frame, fewer at the ends: (b, s, d, n) to the same."""
    size = 2 * REFINE_FRAMES + 1
    pooled = F.avg_pool1d(values.flatten(0, 1), size, 1, REFINE_FRAMES, count_include_pad=False)
    return pooled.reshape(values.shape)
