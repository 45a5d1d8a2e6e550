"""Voice U-Net: extracts the speaker of an example from a conversation, live.

    example, a spectrogram -> band energies -> voice encoder -> unit vector (b, s, v), once
    mixture -> STFT -> band energies relative to the past -> causal U-Net, whose decoder is scaled and shifted
    by the vector at each level -> log odds (b, s, k, n) -> mask of bands -> target

An enrolment network beside a separator that its vector adapts: Žmolíková et al., "SpeakerBeam: speaker aware
neural network for target speaker extraction in speech mixtures" (2019), sec. III; for live use, Veluri et
al., "Look once to hear: target speech hearing with noisy examples" (2024). The scale and shift are FiLM's
(Perez et al. 2018). Both are trained together. So that the vector tells speakers apart and not rooms or
words, a contrastive loss makes an example's vector alike to that of the target itself and unlike those of the
batch's other voices (van den Oord et al., "Representation learning with contrastive predictive coding", 2018,
eq. 4).

The encoder of the U-Net runs once for all queries. Masks are real, so the mixture's phase is kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import Capabilities, Core, LossOutput, MixtureBatch, Separated, Separator
from ..networks.blocks.memory_format import to_channels_last
from ..networks.blocks.recent_mean import RecentMean
from ..networks.composition import Inject
from ..networks.entries.film import Film
from ..networks.masks.query_masks import only_queried
from ..networks.unets.causal_unet import CausalUNet
from ..networks.unets.live_unet import LiveUNet
from ..networks.unets.residual_unet import unet_reach_frames
from ..networks.voice_encoder import VoiceEncoder
from ..objectives.means import mean_where, weighted_mean
from ..objectives.snr import thresholded_waveform_loss
from ..signal.band_energies import band_planes, gather_bands, with_total
from ..signal.bands import band_weights
from ..signal.spectra import squared_magnitude
from ..signal.stft import istft, stft
from ._live import LiveCore

RECENT_FRAMES = 100  # the level is a mean over these, 2 s at 16 kHz
TEMPERATURE = 0.1  # of cosines in the contrastive loss
TINY = 1e-12


@configuration
class Config:
    """sample_rate in Hz. query_dim: bins of the example's spectrogram, as many as the mixture's. num_bands: a
    multiple of 32. channels, blocks, steps: of the U-Net, see `CausalUNet`. voice_channels, voice_dim: of the
    voice encoder.

    absent_weight: weight of queries for absent voices in the loss. bin_weight: weight of the mask's
    cross-entropy with the ideal ratio mask, in dB a nat; contrast_weight: of the contrastive loss, likewise.
    snr_limit_db: an item separated better gives no gradient.
    """

    query_dim: int = 321
    sample_rate: int = 16000
    window_samples: int = 640
    num_bands: int = 96
    channels: tuple[int, ...] = (16, 48, 64, 96, 96)
    blocks: tuple[int, ...] = (1, 1, 1, 1, 1)
    steps: tuple[int, ...] = (1, 2, 2, 2, 4)
    voice_channels: tuple[int, ...] = (16, 32, 64, 64)
    voice_dim: int = 128
    absent_weight: float = 0.1
    bin_weight: float = 2.0
    contrast_weight: float = 1.0
    snr_limit_db: float = 30.0

    def __post_init__(self) -> None:
        if self.query_dim != self.window_samples // 2 + 1:
            raise ValueError(
                f"query_dim is {self.query_dim}; expected the bins of a window, "
                f"{self.window_samples // 2 + 1}"
            )
        if self.num_bands % 2 ** len(self.channels):
            raise ValueError(
                f"num_bands is {self.num_bands}; expected a multiple of {2 ** len(self.channels)}"
            )


def build(config: Config) -> VoiceUNet:
    """The separator of a config, with random weights."""
    return VoiceUNet(config)


class VoiceUNet(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share the mask, so the image stays."""

    bands: Tensor
    capabilities = Capabilities(streaming=True)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.query_dim = config.sample_rate, config.query_dim
        self.num_channels = None
        self.hop_samples = config.window_samples // 2
        self.stride_samples = config.steps[-1] * self.hop_samples
        reach = 2 * unet_reach_frames(config.blocks) + RECENT_FRAMES
        self.context_samples = (reach + 2) * self.hop_samples  # 2: the STFTs
        weights = band_weights(config.query_dim, config.num_bands, config.sample_rate)
        self.register_buffer("bands", weights, persistent=False)
        self.voice = VoiceEncoder(config.num_bands, config.voice_channels, config.voice_dim)
        self.film = Film(0, config.voice_dim, config.channels)
        self.unet = CausalUNet(config.channels, config.blocks, config.steps, 2)
        to_channels_last(self)

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Complex spectrogram (b, c, f, n) of waveforms (b, c, t)."""
        return stft(waveform, self.config.window_samples, self.hop_samples)

    def energies(self, spec: Tensor) -> Tensor:
        """Spectrograms (b, c, f, n) to the energies of bands, means over channels, (b, k, n)."""
        return gather_bands(squared_magnitude(spec).mean(dim=1), self.bands)

    def vectors(self, queries: QueryEmbedding) -> Tensor:
        """Unit vectors (..., v) of the examples whose spectrograms are the queries' tokens (..., k, d).

        Without tokens the mean spectrum is the only frame.
        """
        tokens, mask = queries.tokens, queries.token_mask
        power = queries.pooled[..., None, :].exp() if tokens is None else tokens.exp()
        if mask is not None:
            power = power * mask[..., None]
        energy = gather_bands(power.mT, self.bands)
        vectors: Tensor = self.voice(energy.flatten(0, -3))
        return vectors.unflatten(0, energy.shape[:-2])

    def injector(self, vectors: Tensor) -> Inject:
        """FiLM by vectors (b, s, v): hidden features (b, d, k, n) to (b s, d, k, n)."""
        num_queries = vectors.shape[1]
        # Of unit norm, they would be small numbers for a linear layer.
        rows = QueryEmbedding(vectors.flatten(0, 1) * self.config.voice_dim**0.5)
        return lambda site, hidden: self.film.inject(
            site, hidden.repeat_interleave(num_queries, dim=0), rows
        )

    def log_odds(self, energy: Tensor, vectors: Tensor) -> Tensor:
        """Of the voices against all else in a whole recording: energies (b, k, n), vectors (b, s, v) to
        (b, s, k, n)."""
        means = RecentMean(RECENT_FRAMES)(with_total(energy))
        odds = self.unet(band_planes(energy, means), self.injector(vectors))
        return by_band(odds).unflatten(0, vectors.shape[:2])

    def masked(self, spec: Tensor, odds: Tensor) -> Tensor:
        """spec (b, c, f, n), log odds (b, s, k, n) to spectra of the targets (b, s, c, f, n)."""
        mask = (odds.sigmoid().mT @ self.bands.T).mT
        return mask[:, :, None] * spec[:, None]

    def target(self, mixture: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mixture (b, c, t), vectors (b, s, v) to targets (b, s, c, t), log odds (b, s, k, n), and the
        mixture's energies (b, k, n)."""
        spec = self.spectrum(mixture)
        energy = self.energies(spec)
        odds = self.log_odds(energy, vectors)
        masked = self.masked(spec, odds.float())
        waveforms = istft(masked, self.config.window_samples, self.hop_samples, mixture.shape[-1])
        return waveforms, odds, energy

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), any scale; queries.tokens (b, s, k, d). target + residual = mixture."""
        target, *_ = self.target(mixture, self.vectors(queries))
        return Separated(target, mixture[:, None] - target)

    def live(self, queries: QueryEmbedding, num_channels: int) -> Core:
        """See `Separator.live`."""
        estimate = LiveEstimate(self, self.vectors(queries))
        like = next(self.parameters())
        return LiveCore(
            estimate, len(queries.pooled), num_channels, self.config.window_samples, like
        )

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Thresholded SNR of the waveform, cross-entropy of the mask with the ideal ratio mask, and the
        contrastive loss of the voices. Slots without a query in the whole batch are not separated."""
        slots = batch.queried().any(dim=0)
        slots = slots if slots.any() else ~slots
        queried, sources = batch.queried()[:, slots], batch.sources[:, slots]
        vectors = self.vectors(only_queried(queries.map(lambda entry: entry[:, slots]), queried))
        present = queried & (sources.abs().amax(dim=(-2, -1)) > 0)
        absent = queried & ~present
        target, odds, mixture_energy = self.target(batch.mixture, vectors)
        snr_loss = thresholded_waveform_loss(
            target, sources, batch.mixture[:, None], self.config.snr_limit_db
        )
        energy = self.energies(self.spectrum(sources.flatten(0, 1))).unflatten(0, sources.shape[:2])
        entropy = mask_entropy(odds, energy, mixture_energy)
        with torch.no_grad():  # the examples' gradients are enough; saves a tenth of the time
            voices = self.voice(energy.flatten(0, 1))
        contrast = contrastive_loss(vectors, voices, present)
        cost = snr_loss + self.config.bin_weight * entropy
        separation = weighted_mean(cost, present + self.config.absent_weight * absent)
        return LossOutput(
            total=separation + self.config.contrast_weight * weighted_mean(contrast, present),
            terms={
                "present": mean_where(snr_loss.detach(), present),
                "absent": mean_where(snr_loss.detach(), absent),
                "entropy": mean_where(entropy.detach(), present),
                "contrast": mean_where(contrast.detach(), present),
            },
        )


def mask_entropy(odds: Tensor, energy: Tensor, mixture_energy: Tensor) -> Tensor:
    """Cross-entropy of masks with ideal ratio masks, (b, s), in nats; weighted by the mixture's amplitude.

    odds: (b, s, k, n), energy: of the sources, likewise; mixture_energy: (b, k, n).
    """
    ideal = (energy / (mixture_energy[:, None] + TINY)).clamp(0, 1)
    entropy = F.binary_cross_entropy_with_logits(odds.float(), ideal, reduction="none")
    weight = mixture_energy.sqrt()
    weight = weight / weight.sum(dim=(1, 2), keepdim=True).clamp_min(TINY)
    return (entropy * weight[:, None]).sum(dim=(2, 3))


def contrastive_loss(vectors: Tensor, voices: Tensor, present: Tensor) -> Tensor:
    """For each example: -log of the softmax, over the voices present in the batch, that names its own.

    vectors: of the examples, (b, s, v); voices: of the sources, (b s, v), all of unit norm. present: (b, s).
    Returns (b, s), meaningless where a voice is absent.
    """
    cosines = vectors.flatten(0, 1) @ voices.T / TEMPERATURE
    cosines = torch.where(present.flatten(), cosines, -torch.inf)
    cosines = torch.where(present.flatten()[:, None], cosines, 0)  # rows of absent ones: no NaN
    truth = torch.arange(len(voices), device=voices.device)
    return F.cross_entropy(cosines, truth, reduction="none").view(present.shape)


def by_band(odds: Tensor) -> Tensor:
    """Outputs of the U-Net, each for two bands: (b, 2, k / 2, n) to (b, k, n)."""
    return odds.transpose(1, 2).flatten(1, 2)


class LiveEstimate:
    """See `_live.Estimate`; each query has a network of its own."""

    def __init__(self, separator: VoiceUNet, vectors: Tensor) -> None:
        """vectors: (s, v)."""
        self.separator, self.level = separator, RecentMean(RECENT_FRAMES)
        self.unets = [
            LiveUNet(separator.unet, separator.injector(vector[None, None])) for vector in vectors
        ]

    def __call__(self, spec: Tensor) -> Tensor:
        """(c, f, n) to (s, c, f, n)."""
        separator = self.separator
        energy = separator.energies(spec[None])
        planes = band_planes(energy, self.level(with_total(energy)))
        odds = torch.cat([by_band(unet(planes)) for unet in self.unets])
        return separator.masked(spec[None], odds[None])[0]
