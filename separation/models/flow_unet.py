"""Flow U-Net: a rectified flow to the target's compressed complex spectrogram, at 32 kHz.

    mixture (b, c, t) -> class U-Net, frozen -> features, once for all queries, steps and candidates
    features, query (b, s, K + 1) -> log odds of the class U-Net's mask (b, s, k, n)
    features, log odds, query, point on the path x_t (r, c, f, n), time tau (r,) -> velocity head
        -> mask m, and variance v of the target, in each band (r, 2, k, n)
    velocity (r, c, f, n) = mean of target - noise given x_t, for a target normal around m X with variance v
    integrated from noise (tau = 0) to the target (tau = 1) -> decompressed -> inverse STFT (b, s, c, t)

A mask can only remove energy; what it removed by mistake is missing. A flow draws the target from what
is plausible instead. Since it ends at a spectrogram with phase, there is no vocoder, and metrics that
compare waveforms apply.

Everything, the noise too, is relative to the mixture's level in each band and moment, so that the
output scales with the input and no time or band is treated differently. The velocity has the closed
form of a local Gaussian model (Duong et al. 2010; a Wiener filter at tau = 0) whose two parameters are
learned, so that the first step already is a mask separator. Rectified flow: see `flow_matching.py`; a
start that depends on the mixture: Albergo et al., "Stochastic interpolants with data-dependent couplings"
(2024).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..flow_matching import SOLVERS, check_solver, integrate, path_velocity, point_at, step_times
from ..interface import (
    WHOLE,
    Capabilities,
    ClassAnalysis,
    Generators,
    LossOutput,
    MixtureBatch,
    Separated,
    Separator,
    sample_noise,
)
from ..networks.unets.residual_unet import TIME_STRIDE
from ..networks.unets.velocity_head import VelocityHead, head_reach_frames
from ..objectives.flow_matching import FlowConfig, draw_items
from ..objectives.means import mean_of_queried
from ..signal.band_energies import RELATIVE_FLOOR, surroundings
from ..signal.precision import full_precision
from ..signal.spectra import real_product, squared_magnitude
from ..signal.stft import istft
from . import class_unet
from .class_unet import ClassUNet, without_complements

LEVEL_FRAMES = 5  # over which the mixture's level is taken, in each band
MIN_VARIANCE = 1e-4


@configuration
class Config:
    """analysis: the class U-Net, which is not trained. compression: power of the magnitudes. channels,
    blocks: of the velocity head, which runs at every step. noise_frames: the noise repeats after so many
    frames.

    At use: num_steps of a solver ("euler", or "midpoint" or "heun", which evaluate the network twice a
    step). temperature: standard deviation of the noise; 1 samples from the model, 0 goes towards its mean.
    mask_exponent: power of the masks; less than 1 counters the overconfidence of a network that has seen
    its training sounds many times.

    In training: absent_weight: weight in the loss of queries for absent sounds.
    """

    analysis: class_unet.Config
    compression: float = 0.7
    channels: int = 48
    blocks: int = 3
    noise_frames: int = 256
    num_steps: int = 4
    solver: str = "euler"
    temperature: float = 1.0
    mask_exponent: float = 1.0
    absent_weight: float = 0.3
    flow: FlowConfig = field(default_factory=lambda: FlowConfig(sigma_min=0.0, query_dropout=0.0))

    def __post_init__(self) -> None:
        check_solver(self.solver, self.num_steps)
        if self.noise_frames % TIME_STRIDE:
            raise ValueError(
                f"noise_frames is {self.noise_frames}; expected a multiple of {TIME_STRIDE}"
            )


def build(config: Config) -> FlowUNet:
    """The separator with these settings and random weights."""
    return FlowUNet(config)


@dataclass(frozen=True)
class Scene:
    """Mixtures and their queries as the flow sees them.

    spec: (b, c, f, n), complex, compressed, relative to level; level: (b, 1, f, n), the mixture's own,
    0 in silence. energy: (b, k, n), mean of |spec|^2 in each band. prepared: features for the velocity
    head. degrees: (b, s, K + 1) in [0, 1]. logits: (b, s, k, n), log odds of the class U-Net's mask for
    compressed spectra.
    """

    spec: Tensor
    level: Tensor
    energy: Tensor
    prepared: Tensor
    degrees: Tensor
    logits: Tensor

    def rows(self, items: Tensor | slice, sources: Tensor | int) -> Scene:
        """Mixtures (r,) and a query of each, with (r) in place of (b) and of (b, s)."""
        of_mixtures = self.spec, self.level, self.energy, self.prepared
        of_queries = self.degrees, self.logits
        return Scene(
            *(part[items] for part in of_mixtures), *(part[items, sources] for part in of_queries)
        )


class FlowUNet(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share noise, mask and variance."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.analysis = ClassUNet(config.analysis).requires_grad_(False)
        self.head = VelocityHead(
            *(config.analysis.refine_features, self.analysis.query_dim),
            *(config.channels, config.blocks),
        )
        self.sample_rate = self.analysis.sample_rate
        self.num_channels = None
        self.capabilities = Capabilities(generative=True)
        self.classes = self.analysis.classes
        self.query_dim = self.analysis.query_dim
        hop = config.analysis.hop_samples
        self.stride_samples = config.noise_frames * hop
        evaluations = config.num_steps * (1 if config.solver == "euler" else 2)
        reach_frames = evaluations * head_reach_frames(config.blocks) + LEVEL_FRAMES // 2
        self.context_samples = self.analysis.context_samples + reach_frames * hop

    def train(self, mode: bool = True) -> FlowUNet:
        """As nn.Module.train, but the analysis stays in evaluation mode: its batch norms keep their
        statistics."""
        super().train(mode)
        self.analysis.eval()
        return self

    def class_analysis(self, mixture: Tensor) -> ClassAnalysis:
        """See `Separator`: the class U-Net's, whose targets are those of its masks."""
        return self.analysis.class_analysis(mixture)

    def scene(self, mixture: Tensor, degrees: Tensor) -> Scene:
        """mixture (b, c, t) and degrees (b, s, K + 1) to what the flow needs of them."""
        compression = self.config.compression
        spec = self.analysis.spectrum(mixture)
        energy = self.analysis.gather(squared_magnitude(spec).mean(dim=1))
        features = self.analysis.features(energy)
        logits = self.analysis.masks(features, degrees)[1]
        level = self.level(energy)[:, None] ** (compression / 2)
        spec = over_level(power(spec, compression), level)
        return Scene(
            *(spec, level, self.in_bands(squared_magnitude(spec))),
            *(self.head.prepare(with_even_frames(features.refining)), degrees),
            to_power(logits, compression),
        )

    def level(self, energy: Tensor) -> Tensor:
        """Local energy of a bin, (b, k, n) to (b, f, n); 0 only where all the surroundings are silent."""
        floor = surroundings(energy.sum(dim=1, keepdim=True)) / energy.shape[1]
        raised_energy = energy + RELATIVE_FLOOR * floor
        mean = F.avg_pool1d(
            raised_energy, LEVEL_FRAMES, 1, LEVEL_FRAMES // 2, count_include_pad=False
        )
        return self.to_bins(mean / self.band_bins())

    def in_bands(self, values: Tensor) -> Tensor:
        """Mean over channels and the bins of each band: (b, c, f, n) to (b, k, n)."""
        return self.analysis.gather(values.mean(dim=1)) / self.band_bins()

    def band_bins(self) -> Tensor:
        """Number of bins of each band, (k, 1); kept above 0, for a narrow band may hold none."""
        return self.analysis.bands.sum(dim=0)[:, None].clamp_min(1e-3)

    def to_bins(self, bands: Tensor) -> Tensor:
        """Interpolation from bands to bins: (..., k, n) to (..., f, n)."""
        with full_precision(bands):
            return (bands.float().transpose(-2, -1) @ self.analysis.bands.T).transpose(-2, -1)

    def velocity(self, rows: Scene, x_t: Tensor, tau: Tensor) -> Tensor:
        """Velocities of points x_t (r, c, f, n) on the paths to the queried targets, at times tau (r,).

        With target ~ N(m X, v) and noise ~ N(0, 1), x_t = tau target + (1 - tau) noise, the mean of
        target - noise given x_t is ((1 - tau) (m X - x_t) + tau v x_t) / ((1 - tau)^2 + tau^2 v).
        """
        with full_precision(x_t):
            states = self.states(rows, x_t)
            condition = self.head.condition(rows.degrees, tau)
        planes = self.head(with_even_frames(states), rows.prepared, condition)
        with full_precision(x_t):
            planes = planes[..., : x_t.shape[-1]].float()
            logits = rows.logits + planes[:, 0]
            if not self.training:
                logits = to_power(logits, self.config.mask_exponent)
            mask, rest = logits.sigmoid(), (-logits).sigmoid()
            variance = mask * rest * planes[:, 1].clamp(-6, 6).exp() + MIN_VARIANCE
            mask, variance = self.to_bins(mask)[:, None], self.to_bins(variance)[:, None]
            time = tau[:, None, None, None]
            numerator = (1 - time) * (mask * rows.spec - x_t) + time * variance * x_t
            return numerator / ((1 - time) ** 2 + variance * time**2)

    def states(self, rows: Scene, x_t: Tensor) -> Tensor:
        """The velocity head's input for points x_t (r, c, f, n), in bands (r, 4, k, n): the analysis'
        logits, the log energy of x_t, its correlation with the mixture, and their cross energy."""
        energy = self.in_bands(squared_magnitude(x_t))
        cross_energy = self.in_bands(real_product(rows.spec, x_t))
        correlation = cross_energy / (rows.energy * energy + 1e-4).sqrt()
        loudness = torch.log10(energy + 1e-2)
        return torch.stack(
            [rows.logits / 4, loudness, correlation, cross_energy.clamp(-3, 3)], dim=1
        )

    def noise(self, num_frames: int, generators: Generators) -> Tensor:
        """Complex noise of variance 1, (b, f, n); b is 1 unless there are several generators."""
        shape = len(self.analysis.bands), self.config.noise_frames, 2
        noise = torch.view_as_complex(sample_noise(generators, shape) * 0.5**0.5)
        times = -(-num_frames // self.config.noise_frames)
        return noise.repeat(1, 1, times)[..., :num_frames].to(self.analysis.bands.device)

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: Generators = None
    ) -> Separated:
        """mixture (b, c, t), any scale; queries.pooled (b, s, K + 1). target + residual = mixture.

        All queries start from the same noise; without a generator it is the same in every call; a list
        of generators has one for each item. A query for more than half of all classes is a complement, as
        of the class U-Net: the others are separated, and the target is their residual.
        """
        degrees, complement = without_complements(queries.pooled)
        scene = self.scene(mixture, degrees)
        noise = self.noise(scene.spec.shape[-1], generator)[:, None]
        targets = [
            self.one_target(scene.rows(WHOLE, source), noise, mixture.shape[-1])
            for source in range(degrees.shape[1])
        ]
        target = torch.stack(targets, dim=1) if targets else mixture[:, None][:, :0]
        target = torch.where(complement[..., None], mixture[:, None] - target, target)
        return Separated(target, mixture[:, None] - target)

    def one_target(self, rows: Scene, noise: Tensor, num_samples: int) -> Tensor:
        """Targets of one query for each mixture, (b, c, t), drawn with noise (1 or b, 1, f, n)."""
        start = self.config.temperature * noise.expand(rows.spec.shape)

        def velocity(x_t: Tensor, tau: float) -> Tensor:
            return self.velocity(rows, x_t, rows.energy.new_full((len(x_t),), tau))

        times = step_times(self.config.num_steps)
        end = integrate(velocity, start, times, SOLVERS[self.config.solver])
        spec = power(end * rows.level, 1 / self.config.compression)
        analysis = self.config.analysis
        return istft(spec, analysis.window_samples, analysis.hop_samples, num_samples)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Squared error of the velocity, weighted by the mixture's level and relative to the mixture's
        energy, mean over the queries of each mixture."""
        queried = batch.queried()
        used = queried if queried.any() else torch.ones_like(queried)
        items, sources = used.nonzero(as_tuple=True)
        degrees = torch.where(queried[..., None], queries.pooled, 0).clamp(0, 1)
        rows = self.scene(batch.mixture, degrees).rows(items, sources)
        with torch.no_grad():  # spectra of recordings have no weights to learn
            source_spec = self.analysis.spectrum(batch.sources[items, sources])
            end = over_level(power(source_spec, self.config.compression), rows.level)
            draws = draw_items(batch.ids, (*end.shape[-2:], 2), self.config.flow, generator)
            noise = torch.view_as_complex(draws.noise.to(batch.mixture) * 0.5**0.5)[items, None]
            start = noise.expand(end.shape)
        tau = draws.tau.to(batch.mixture)[items]
        velocity = self.velocity(rows, point_at(start, end, tau), tau)
        weight = rows.level.square()
        error = squared_magnitude(velocity - path_velocity(start, end)) * weight
        loudness = (squared_magnitude(rows.spec) * weight).mean(dim=(1, 2, 3))
        errors = error.mean(dim=(1, 2, 3)) / (loudness + 1e-12)
        silent = batch.sources[items, sources].abs().amax(dim=(1, 2)) == 0
        errors = torch.where(silent, self.config.absent_weight, 1.0) * errors
        values = errors.new_zeros(queried.shape).index_put((items, sources), errors)
        total = mean_of_queried(values, queried)
        return LossOutput(total, {"flow_matching": total.detach()})


def to_power(logits: Tensor, exponent: float) -> Tensor:
    """Logits of sigmoid(logits) ** exponent; same shape."""
    log_mask = -exponent * F.softplus(-logits)
    return logits if exponent == 1 else log_mask - torch.log(-torch.expm1(log_mask) + 1e-7)


def over_level(spec: Tensor, level: Tensor) -> Tensor:
    """spec / level, 0 where the level is 0."""
    return torch.where(level > 0, spec / level, 0)


def power(spec: Tensor, exponent: float) -> Tensor:
    """Magnitudes to a power, with the phase kept: |X|^exponent X / |X|."""
    return spec * (squared_magnitude(spec) + 1e-24) ** ((exponent - 1) / 2)


def with_even_frames(planes: Tensor) -> Tensor:
    """planes (..., n) with a frame of zeros added if n is odd."""
    return F.pad(planes, (0, planes.shape[-1] % 2))
