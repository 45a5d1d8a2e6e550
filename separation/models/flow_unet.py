"""Flow U-Net: a rectified flow from noise to the target's compressed complex spectrogram, at 32 kHz.

    mixture -> band U-Net -> features                   once for all queries, steps and candidates
    point on the path, query, time + features -> small network -> a mask m and a doubt c in each band
    velocity = what carries the point to a target that is normal with mean m X and variance c

Masks can only take away; what they took too much stays a hole. The flow draws the target from what is
plausible instead, and ends at a waveform with phase: no vocoder, and scores that compare waveforms apply.

Everything is relative to the mixture's level in each band and moment, noise too, so that scaling the input
scales the output and no time or band is more at risk. The path's velocity has the closed form of a local
Gaussian model (Duong et al. 2010; Wiener filter at tau = 0), whose two parameters are learned, so that the
first step from pure noise already is a mask separator. Rectified flow: see `flow.py`; a start that depends
on the mixture: Albergo et al. (2024), "Stochastic interpolants with data-dependent couplings".
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
from ..concepts import ConceptReader, disturb
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
from ..networks.unets.residual_unet import TIME_STRIDE
from ..networks.unets.velocity_head import VelocityHead, head_reach_frames
from ..objectives.flow_matching import FlowConfig, draw_items
from ..objectives.means import mean_of_queried
from ..signal.band_energies import RELATIVE_FLOOR, band_planes, surroundings
from ..signal.precision import full_precision
from ..signal.spectra import real_product, squared_magnitude
from ..signal.stft import istft
from . import band_unet
from .band_unet import BandUNet

LEVEL_FRAMES = 5  # over which the mixture's level is taken, in each band
MIN_DOUBT = 1e-4


@configuration
class Config:
    """analysis: the band U-Net. compression: power of the magnitudes. channels, blocks: of the network that
    is asked at every step. noise_frames: after so many the noise comes again.

    At use: num_steps of a solver ("euler", or "midpoint" or "heun", which ask the network twice);
    temperature: the noise's deviation; 1 draws from what is plausible, 0 goes to the middle of it.
    mask_exponent: power of the masks; under 1 it takes back some of the sureness that a network learned on
    sounds it has heard many times.

    In training: absent_weight: of a query for an absent sound in the loss. frozen_analysis: only the small
    network learns, over an analysis that stays as the weights that it was given. teacher: a checkpoint
    folder of this kind, whose paths of teacher_steps are learned by num_steps ("reflow", Liu et al. 2023).
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
    def concepts(self) -> tuple[str, ...]:
        return self.analysis.concepts


def build(config: Config) -> FlowUNet:
    return FlowUNet(config)


@dataclass(frozen=True)
class Scene:
    """A mixture as the flow sees it, and what the networks made of it.

    spec: (b, c, f, n) complex, compressed, relative to level (b, 1, f, n), the mixture's own, 0 in silence.
    energy: of spec, mean in each band, (b, k, n). features: (b, d, k, n); prepared: of the velocity head.
    """

    spec: Tensor
    level: Tensor
    energy: Tensor
    features: Tensor
    prepared: Tensor

    def rows(self, items: Tensor) -> Scene:
        """The mixtures of these numbers, (r,)."""
        parts = self.spec, self.level, self.energy, self.features, self.prepared
        return Scene(*(part[items] for part in parts))


@dataclass(frozen=True)
class QueryState:
    """A query of each mixture of a scene, as the flow is conditioned on it. reading: (b, e), of the query;
    logits: (b, k, n), the mask that the analysis alone would give."""

    reading: Tensor
    logits: Tensor


class FlowUNet(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share noise, mask and doubt."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.analysis = BandUNet(config.analysis)
        self.reading = len(config.analysis.concepts) + 1
        self.head = VelocityHead(
            config.analysis.mask_features, self.reading, config.channels, config.blocks
        )
        self.analysis.requires_grad_(not config.frozen_analysis)
        self.sample_rate = self.analysis.sample_rate
        self.num_channels = None
        self.capabilities = Capabilities(generative=True)
        self.classes = config.analysis.concepts
        self.query_dim = self.analysis.query_dim
        hop = config.analysis.hop_samples
        self.stride_samples = config.noise_frames * hop
        evaluations = config.num_steps * (1 if config.solver == "euler" else 2)
        around = evaluations * head_reach_frames(config.blocks) + LEVEL_FRAMES // 2
        self.context_samples = self.analysis.context_samples + around * hop
        self.teacher: list[FlowUNet] = []  # a list, for it is no part of this model's weights

    def train(self, mode: bool = True) -> FlowUNet:
        """Batch norms of a frozen analysis keep their statistics."""
        super().train(mode)
        self.analysis.train(mode and not self.config.frozen_analysis)
        return self

    @property
    def phrase_book(self) -> ConceptReader:
        return self.analysis.phrase_book

    def scene(self, mixture: Tensor) -> Scene:
        """mixture: (b, c, t)."""
        spec = self.analysis.spectrum(mixture)
        energy = self.analysis.gather(squared_magnitude(spec).mean(dim=1))
        features = self.analysis.hidden(band_planes(energy))
        level = self.level(energy)[:, None] ** (self.config.compression / 2)
        compressed = relative(power(spec, self.config.compression), level)
        return Scene(
            *(compressed, level, self.in_bands(squared_magnitude(compressed))),
            *(features, self.head.prepare(even(features))),
        )

    def query_state(self, scene: Scene, pooled: Tensor) -> QueryState:
        """pooled: (b, d)."""
        with full_precision(pooled):
            reading = self.phrase_book(pooled)
            weights = self.analysis.concept_masks(reading)[:, None]
            return QueryState(reading, self.analysis.logits(scene.features, weights)[:, 0])

    def level(self, energy: Tensor) -> Tensor:
        """Energy of a bin around each bin, (b, k, n) to (b, f, n); 0 only where all around is silent."""
        floor = surroundings(energy.sum(dim=1, keepdim=True)) / energy.shape[1]
        heard = energy + RELATIVE_FLOOR * floor
        mean = F.avg_pool1d(heard, LEVEL_FRAMES, 1, LEVEL_FRAMES // 2, count_include_pad=False)
        return self.to_bins(mean / self.band_bins())

    def in_bands(self, values: Tensor) -> Tensor:
        """Mean over channels and the bins of each band: (b, c, f, n) to (b, k, n)."""
        return self.analysis.gather(values.mean(dim=1)) / self.band_bins()

    def band_bins(self) -> Tensor:
        """How many bins make a band: (k, 1); never 0, though a band may hold none."""
        return self.analysis.bands.sum(dim=0)[:, None].clamp_min(1e-3)

    def to_bins(self, bands: Tensor) -> Tensor:
        """Interpolate (..., k, n) to (..., f, n)."""
        with full_precision(bands):
            return (bands.float().transpose(-2, -1) @ self.analysis.bands.T).transpose(-2, -1)

    def velocity(self, scene: Scene, query: QueryState, x_t: Tensor, tau: Tensor) -> Tensor:
        """Velocities of points (b, c, f, n) on the paths to the queried targets, at times (b,).

        The target is taken to be normal around m X with variance c, and the noise to have variance 1: the
        mean of target - noise, given the point tau target + (1 - tau) noise, is the formula at the end.
        """
        with full_precision(x_t):
            states = self.states(scene, query, x_t)
            condition = self.head.condition(query.reading, tau)
        found = self.head(even(states), scene.prepared, condition)
        with full_precision(x_t):
            found = found[..., : x_t.shape[-1]].float()
            logits = query.logits + found[:, 0]
            if not self.training:
                logits = softened(logits, self.config.mask_exponent)
            mask, rest = logits.sigmoid(), (-logits).sigmoid()
            doubt = mask * rest * found[:, 1].clamp(-6, 6).exp() + MIN_DOUBT
            mask, doubt = self.to_bins(mask)[:, None], self.to_bins(doubt)[:, None]
            time = tau[:, None, None, None]
            pull = (1 - time) * (mask * scene.spec - x_t) + doubt * time * x_t
            return pull / ((1 - time) ** 2 + doubt * time**2)

    def states(self, scene: Scene, query: QueryState, x_t: Tensor) -> Tensor:
        """What the head is told of points (b, c, f, n), in bands: (b, 4, k, n)."""
        own = self.in_bands(squared_magnitude(x_t))
        common = self.in_bands(real_product(scene.spec, x_t))
        likeness = common / (scene.energy * own + 1e-4).sqrt()
        loudness = torch.log10(own + 1e-2)
        return torch.stack([query.logits / 4, loudness, likeness, common.clamp(-3, 3)], dim=1)

    def noise(self, num_frames: int, generators: Generators) -> Tensor:
        """(b, f, n) complex, of variance 1; b is 1 unless there are several generators."""
        shape = len(self.analysis.bands), self.config.noise_frames, 2
        noise = torch.view_as_complex(sample_noise(generators, shape) * 0.5**0.5)
        times = -(-num_frames // self.config.noise_frames)
        return noise.repeat(1, 1, times)[..., :num_frames].to(self.analysis.bands.device)

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: Generators = None
    ) -> Separated:
        """mixture: (b, c, t), any scale; queries.pooled: (b, s, d). target + residual = mixture.

        All start from the same noise, which without a generator is always the same; with a list of
        generators each item from its own.
        """
        scene = self.scene(mixture)
        start = self.noise(scene.spec.shape[-1], generator)[:, None]
        targets = [
            self.travelled(scene, pooled, start, mixture.shape[-1])
            for pooled in queries.pooled.unbind(dim=1)
        ]
        target = torch.stack(targets, dim=1) if targets else mixture.new_zeros(0)
        return Separated(target, mixture[:, None] - target)

    def travelled(self, scene: Scene, pooled: Tensor, start: Tensor, num_samples: int) -> Tensor:
        """One query of each mixture, pooled (b, d), carried from noise (1 or b, 1, f, n) to (b, c, t)."""
        start = self.config.temperature * start.expand(scene.spec.shape)
        end = self.carry(scene, pooled, start, self.config.num_steps)
        spec = power(end * scene.level, 1 / self.config.compression)
        analysis = self.config.analysis
        return istft(spec, analysis.window_samples, analysis.hop_samples, num_samples)

    def carry(self, scene: Scene, pooled: Tensor, start: Tensor, num_steps: int) -> Tensor:
        query = self.query_state(scene, pooled)

        def velocity(x_t: Tensor, tau: float) -> Tensor:
            return self.velocity(scene, query, x_t, pooled.new_full((len(x_t),), tau))

        return integrate(velocity, start, step_times(num_steps), SOLVERS[self.config.solver])

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Squared error of velocities in the compressed spectrum, relative to the mixture's energy there;
        mean over the queries of each mixture."""
        queried = batch.queried()
        chosen = queried if queried.any() else torch.ones_like(queried)
        items, sources = chosen.nonzero(as_tuple=True)
        scene = self.scene(batch.mixture)
        rows = scene.rows(items)
        with torch.no_grad():  # nothing to learn in recordings
            source_spec = self.analysis.spectrum(batch.sources[items, sources])
            end = relative(power(source_spec, self.config.compression), rows.level)
            shape = *end.shape[-2:], 2
            draws = draw_items(batch.ids, shape, self.config.flow, generator)
            start = torch.view_as_complex(draws.noise.to(batch.mixture) * 0.5**0.5)
            start = start[items, None].expand(end.shape)
            pooled = F.normalize(torch.where(queried[..., None], queries.pooled, 0), dim=-1)
            pooled = disturb(pooled, self.config.analysis.query_noise, generator)[items, sources]
        tau = draws.tau.to(batch.mixture)[items]
        if self.config.teacher and self.training:
            tau = grid_times(len(batch.ids), self.config.num_steps, generator).to(tau)[items]
            start = self.config.temperature * start
            end = self.taught(batch.mixture, items, pooled, start)
        x_t = point_at(start, end, tau)
        found = self.velocity(rows, self.query_state(rows, pooled), x_t, tau)
        weight = rows.level.square()
        error = squared_magnitude(found - path_velocity(start, end)) * weight
        loudness = (squared_magnitude(rows.spec) * weight).mean(dim=(1, 2, 3))
        errors = error.mean(dim=(1, 2, 3)) / (loudness + 1e-12)
        silent = batch.sources[items, sources].abs().amax(dim=(1, 2)) == 0
        errors = torch.where(silent, self.config.absent_weight, 1.0) * errors
        values = errors.new_zeros(queried.shape).index_put((items, sources), errors)
        total = mean_of_queried(values, queried)
        return LossOutput(total, {"flow_matching": total.detach()})

    @torch.no_grad()  # the teacher learns nothing
    def taught(self, mixture: Tensor, items: Tensor, pooled: Tensor, start: Tensor) -> Tensor:
        """Where the teacher carries these starts."""
        if not self.teacher:
            self.teacher.append(load_teacher(Path(self.config.teacher)).to(mixture.device))
        teacher = self.teacher[0]
        return teacher.carry(
            teacher.scene(mixture).rows(items), pooled, start, self.config.teacher_steps
        )


def load_teacher(folder: Path) -> FlowUNet:
    """Of a checkpoint folder; ValueError where it holds another kind."""
    from ..storage.checkpoint import read_config, read_weights

    description = read_config(folder)["separator"]
    if description["kind"] != Path(__file__).stem:
        raise ValueError(f"separator.teacher: {folder} holds {description['kind']}, no flow")
    teacher = build(from_settings(Config, description["config"]))
    teacher.load_state_dict(read_weights(folder / "model.safetensors"))
    return teacher.eval().requires_grad_(False)


def softened(logits: Tensor, exponent: float) -> Tensor:
    """Logits of the masks to this power: of exp(-e softplus(-x))."""
    log_mask = -exponent * F.softplus(-logits)
    return logits if exponent == 1 else log_mask - torch.log(-torch.expm1(log_mask) + 1e-7)


def relative(spec: Tensor, level: Tensor) -> Tensor:
    """spec / level, 0 in silence."""
    return torch.where(level > 0, spec / level, 0)


def power(spec: Tensor, exponent: float) -> Tensor:
    """|X|^exponent with the phase of X."""
    return spec * (squared_magnitude(spec) + 1e-24) ** ((exponent - 1) / 2)


def even(planes: Tensor) -> Tensor:
    """With a frame of zeros more where the number of frames is odd."""
    return F.pad(planes, (0, planes.shape[-1] % 2))
