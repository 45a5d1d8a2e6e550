"""Flow U-Net: a rectified flow from noise to the target's compressed complex spectrogram, at 32 kHz.

    mixture (b, c, t) -> band U-Net -> features (b, d, k, n), once for all queries, steps and candidates
    features, query, point on the path x_t (r, c, f, n), time tau (r,) -> velocity head (r, 2, k, n):
        mask m, and variance v of the target, in each band
    velocity (r, c, f, n) = mean of target - noise given x_t, for a target normal around m X with variance v
    integrated from noise (tau = 0) to the target (tau = 1) -> decompressed -> inverse STFT (b, s, c, t)

A mask can only remove energy; what it removed by mistake is missing. A flow draws the target from what
is plausible instead. Since it ends at a spectrogram with phase, there is no vocoder, and metrics that
compare waveforms apply.

Everything, the noise too, is relative to the mixture's level in each band and moment, so that the
output scales with the input and no time or band is treated differently. The velocity has the closed
form of a local Gaussian model (Duong et al. 2010; a Wiener filter at tau = 0) whose two parameters are
learned, so that the first step from pure noise already is a mask separator. Rectified flow: see
`flow_matching.py`; a start that depends on the mixture: Albergo et al., "Stochastic interpolants with
data-dependent couplings" (2024).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..components import from_settings
from ..flow_matching import (
    SOLVERS,
    check_solver,
    grid_times,
    integrate,
    path_velocity,
    point_at,
    step_times,
)
from ..interface import (
    Capabilities,
    Generators,
    LossOutput,
    MixtureBatch,
    Separated,
    Separator,
    sample_noise,
)
from ..networks.phrase_classifier import PhraseClassifier, add_noise
from ..networks.unets.residual_unet import TIME_STRIDE
from ..networks.unets.velocity_head import VelocityHead, head_reach_frames
from ..objectives.flow_matching import FlowConfig, draw_items
from ..objectives.means import mean_of_queried
from ..signal.band_energies import RELATIVE_FLOOR, band_planes, surroundings
from ..signal.precision import full_precision
from ..signal.spectra import real_product, squared_magnitude
from ..signal.stft import istft
from ..storage.shipped import shipped_folder
from . import band_unet
from .band_unet import BandUNet

LEVEL_FRAMES = 5  # over which the mixture's level is taken, in each band
MIN_VARIANCE = 1e-4


@configuration
class Config:
    """analysis: the band U-Net. compression: power of the magnitudes. channels, blocks: of the velocity
    head, which runs at every step. noise_frames: the noise repeats after so many frames.

    At use: num_steps of a solver ("euler", or "midpoint" or "heun", which evaluate the network twice a
    step). temperature: standard deviation of the noise; 1 samples from the model, 0 goes towards its
    mean. mask_exponent: power of the masks; less than 1 counters the overconfidence of a network that
    has seen its training sounds many times.

    In training: absent_weight: weight in the loss of queries for absent sounds. frozen_analysis: only
    the velocity head is trained. teacher: a checkpoint folder of this kind, or the name of a shipped
    one, whose paths of teacher_steps steps are learned with num_steps steps ("reflow", Liu et al. 2023).
    """

    analysis: band_unet.Config
    compression: float = 0.7
    channels: int = 48
    blocks: int = 3
    noise_frames: int = 256
    num_steps: int = 4
    solver: str = "euler"
    temperature: float = 1.0
    mask_exponent: float = 1.0
    absent_weight: float = 0.3
    frozen_analysis: bool = False
    flow: FlowConfig = field(default_factory=lambda: FlowConfig(sigma_min=0.0, query_dropout=0.0))
    teacher: str = ""
    teacher_steps: int = 8

    def __post_init__(self) -> None:
        check_solver(self.solver, self.num_steps)
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; expected 0 or more")
        if self.noise_frames % TIME_STRIDE:
            raise ValueError(
                f"noise_frames is {self.noise_frames}; expected a multiple of {TIME_STRIDE}"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The analysis' sound classes."""
        return self.analysis.class_names


def build(config: Config) -> FlowUNet:
    """The separator with these settings and random weights."""
    return FlowUNet(config)


@dataclass(frozen=True)
class Scene:
    """A mixture as the flow sees it, with the features of the networks.

    spec: (b, c, f, n), complex, compressed, relative to level; level: (b, 1, f, n), the mixture's own,
    0 in silence. energy: (b, k, n), mean of |spec|^2 in each band. features: (b, d, k, n); prepared: of
    the velocity head.
    """

    spec: Tensor
    level: Tensor
    energy: Tensor
    features: Tensor
    prepared: Tensor

    def rows(self, items: Tensor) -> Scene:
        """A scene of the mixtures with these indices, (r,)."""
        parts = self.spec, self.level, self.energy, self.features, self.prepared
        return Scene(*(part[items] for part in parts))


@dataclass(frozen=True)
class QueryState:
    """One query for each mixture of a scene. reading: (b, e), probabilities of the classes; logits:
    (b, k, n), of the mask that the analysis alone would give."""

    reading: Tensor
    logits: Tensor


class FlowUNet(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share noise, mask and variance."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.analysis = BandUNet(config.analysis)
        self.reading = len(config.analysis.class_names) + 1
        self.head = VelocityHead(
            config.analysis.mask_features, self.reading, config.channels, config.blocks
        )
        self.analysis.requires_grad_(not config.frozen_analysis)
        self.sample_rate = self.analysis.sample_rate
        self.num_channels = None
        self.capabilities = Capabilities(generative=True)
        self.classes = config.analysis.class_names
        self.query_dim = self.analysis.query_dim
        hop = config.analysis.hop_samples
        self.stride_samples = config.noise_frames * hop
        evaluations = config.num_steps * (1 if config.solver == "euler" else 2)
        reach_frames = evaluations * head_reach_frames(config.blocks) + LEVEL_FRAMES // 2
        self.context_samples = self.analysis.context_samples + reach_frames * hop
        # In a list, so that its weights are not part of this model's.
        self.teacher: list[FlowUNet] = []

    def train(self, mode: bool = True) -> FlowUNet:
        """As nn.Module.train, but a frozen analysis stays in evaluation mode: its batch norms keep
        their statistics."""
        super().train(mode)
        self.analysis.train(mode and not self.config.frozen_analysis)
        return self

    @property
    def phrase_book(self) -> PhraseClassifier:
        """The classifier of queries, not trained."""
        return self.analysis.phrase_book

    def scene(self, mixture: Tensor) -> Scene:
        """mixture (b, c, t) to what the flow needs of it."""
        spec = self.analysis.spectrum(mixture)
        energy = self.analysis.gather(squared_magnitude(spec).mean(dim=1))
        features = self.analysis.hidden(band_planes(energy))
        level = self.level(energy)[:, None] ** (self.config.compression / 2)
        compressed = over_level(power(spec, self.config.compression), level)
        return Scene(
            *(compressed, level, self.in_bands(squared_magnitude(compressed))),
            *(features, self.head.prepare(with_even_frames(features))),
        )

    def query_state(self, scene: Scene, pooled: Tensor) -> QueryState:
        """One query for each mixture of the scene, pooled (b, q)."""
        with full_precision(pooled):
            reading = self.phrase_book(pooled)
            weights = self.analysis.concept_masks(reading)[:, None]
            return QueryState(reading, self.analysis.logits(scene.features, weights)[:, 0])

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

    def velocity(self, scene: Scene, query: QueryState, x_t: Tensor, tau: Tensor) -> Tensor:
        """Velocities of points x_t (b, c, f, n) on the paths to the queried targets, at times tau (b,).

        With target ~ N(m X, v) and noise ~ N(0, 1), x_t = tau target + (1 - tau) noise, the mean of
        target - noise given x_t is ((1 - tau) (m X - x_t) + v tau x_t) / ((1 - tau)^2 + v tau^2).
        """
        with full_precision(x_t):
            states = self.states(scene, query, x_t)
            condition = self.head.condition(query.reading, tau)
        planes = self.head(with_even_frames(states), scene.prepared, condition)
        with full_precision(x_t):
            planes = planes[..., : x_t.shape[-1]].float()
            logits = query.logits + planes[:, 0]
            if not self.training:
                logits = to_power(logits, self.config.mask_exponent)
            mask, rest = logits.sigmoid(), (-logits).sigmoid()
            variance = mask * rest * planes[:, 1].clamp(-6, 6).exp() + MIN_VARIANCE
            mask, variance = self.to_bins(mask)[:, None], self.to_bins(variance)[:, None]
            time = tau[:, None, None, None]
            numerator = (1 - time) * (mask * scene.spec - x_t) + variance * time * x_t
            return numerator / ((1 - time) ** 2 + variance * time**2)

    def states(self, scene: Scene, query: QueryState, x_t: Tensor) -> Tensor:
        """The velocity head's input for points x_t (b, c, f, n), in bands (b, 4, k, n): the analysis'
        logits, the log energy of x_t, its correlation with the mixture, and their cross energy."""
        energy = self.in_bands(squared_magnitude(x_t))
        cross_energy = self.in_bands(real_product(scene.spec, x_t))
        correlation = cross_energy / (scene.energy * energy + 1e-4).sqrt()
        loudness = torch.log10(energy + 1e-2)
        return torch.stack(
            [query.logits / 4, loudness, correlation, cross_energy.clamp(-3, 3)], dim=1
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
        """mixture (b, c, t), any scale; queries.pooled (b, s, q). target + residual = mixture.

        All queries start from the same noise; without a generator it is the same in every call; a list
        of generators has one for each item.
        """
        scene = self.scene(mixture)
        start = self.noise(scene.spec.shape[-1], generator)[:, None]
        targets = [
            self.one_target(scene, pooled, start, mixture.shape[-1])
            for pooled in queries.pooled.unbind(dim=1)
        ]
        target = torch.stack(targets, dim=1) if targets else mixture.new_zeros(0)
        return Separated(target, mixture[:, None] - target)

    def one_target(self, scene: Scene, pooled: Tensor, start: Tensor, num_samples: int) -> Tensor:
        """One query for each mixture, pooled (b, q), integrated from noise (1 or b, 1, f, n) to
        waveforms (b, c, t)."""
        start = self.config.temperature * start.expand(scene.spec.shape)
        end = self.integrated(scene, pooled, start, self.config.num_steps)
        spec = power(end * scene.level, 1 / self.config.compression)
        analysis = self.config.analysis
        return istft(spec, analysis.window_samples, analysis.hop_samples, num_samples)

    def integrated(self, scene: Scene, pooled: Tensor, start: Tensor, num_steps: int) -> Tensor:
        """Integrates one query for each mixture, pooled (b, q), from a start (b, c, f, n) at tau = 0 to
        tau = 1."""
        query = self.query_state(scene, pooled)

        def velocity(x_t: Tensor, tau: float) -> Tensor:
            return self.velocity(scene, query, x_t, pooled.new_full((len(x_t),), tau))

        return integrate(velocity, start, step_times(num_steps), SOLVERS[self.config.solver])

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Squared error of the velocity, weighted by the mixture's level and relative to the mixture's
        energy, mean over the queries of each mixture."""
        queried = batch.queried()
        used = queried if queried.any() else torch.ones_like(queried)
        items, sources = used.nonzero(as_tuple=True)
        scene = self.scene(batch.mixture)
        rows = scene.rows(items)
        with torch.no_grad():  # spectra of recordings have no weights to learn
            source_spec = self.analysis.spectrum(batch.sources[items, sources])
            end = over_level(power(source_spec, self.config.compression), rows.level)
            shape = *end.shape[-2:], 2
            draws = draw_items(batch.ids, shape, self.config.flow, generator)
            start = torch.view_as_complex(draws.noise.to(batch.mixture) * 0.5**0.5)
            start = start[items, None].expand(end.shape)
            pooled = F.normalize(torch.where(queried[..., None], queries.pooled, 0), dim=-1)
            pooled = add_noise(pooled, self.config.analysis.query_noise, generator)[items, sources]
        tau = draws.tau.to(batch.mixture)[items]
        if self.config.teacher and self.training:
            tau = grid_times(len(batch.ids), self.config.num_steps, generator).to(tau)[items]
            start = self.config.temperature * start
            end = self.teacher_end(batch.mixture, items, pooled, start)
        x_t = point_at(start, end, tau)
        velocity = self.velocity(rows, self.query_state(rows, pooled), x_t, tau)
        weight = rows.level.square()
        error = squared_magnitude(velocity - path_velocity(start, end)) * weight
        loudness = (squared_magnitude(rows.spec) * weight).mean(dim=(1, 2, 3))
        errors = error.mean(dim=(1, 2, 3)) / (loudness + 1e-12)
        silent = batch.sources[items, sources].abs().amax(dim=(1, 2)) == 0
        errors = torch.where(silent, self.config.absent_weight, 1.0) * errors
        values = errors.new_zeros(queried.shape).index_put((items, sources), errors)
        total = mean_of_queried(values, queried)
        return LossOutput(total, {"flow_matching": total.detach()})

    @torch.no_grad()  # the teacher is not trained
    def teacher_end(self, mixture: Tensor, items: Tensor, pooled: Tensor, start: Tensor) -> Tensor:
        """Ends of the teacher's paths from these starts, (r, c, f, n)."""
        if not self.teacher:
            self.teacher.append(load_teacher(Path(self.config.teacher)).to(mixture.device))
        teacher = self.teacher[0]
        return teacher.integrated(
            teacher.scene(mixture).rows(items), pooled, start, self.config.teacher_steps
        )


def load_teacher(folder: Path) -> FlowUNet:
    """The separator of a checkpoint folder or, where there is none of that name, of a shipped model; frozen,
    in evaluation mode. ValueError if it is of another kind."""
    from ..storage.config import read_config
    from ..storage.weights import stored_weights

    if not folder.is_dir() and shipped_folder(folder.name).is_dir():
        folder = shipped_folder(folder.name)
    description = read_config(folder)["separator"]
    if description["kind"] != Path(__file__).stem:
        raise ValueError(
            f"separator.teacher: {folder} holds a {description['kind']}; expected a flow_unet"
        )
    teacher = build(from_settings(Config, description["config"]))
    teacher.load_state_dict(stored_weights(folder))
    return teacher.eval().requires_grad_(False)


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
