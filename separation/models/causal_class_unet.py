"""Class U-Net that does not look ahead, for live use: its latency is the STFT's window.

As `class_unet.py`, with three changes. The U-Net is causal (`networks/unets/causal_unet.py`). Levels and the
means of the second mask are taken over the last RECENT_FRAMES frames instead of those on both sides. Class
probabilities are for every frame instead of every second one. In a stream each part keeps what it needs of
the past (`Parts`); a whole recording is a stream of one block.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import Capabilities, Core
from ..networks.blocks.recent_mean import RecentMean
from ..networks.unets.causal_unet import CausalUNet
from ..networks.unets.live_unet import LiveUNet
from ..networks.unets.residual_unet import level_steps
from ..signal.band_energies import band_planes, with_total
from ..signal.spectra import squared_magnitude
from . import class_unet
from ._live import LiveCore
from .class_unet import ClassUNet, Features, loudness, without_complements

RECENT_FRAMES = 151  # as many as the offline network takes from both sides


@configuration
class Config(class_unet.Config):
    """As of `class_unet`, and steps: frames between two frames of each level, see `CausalUNet`."""

    steps: tuple[int, ...] = (1, 2, 4, 4, 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shifts != 1:
            raise ValueError(f"shifts is {self.shifts}; a causal network has no grid to shift: 1")
        if len(self.steps) != len(self.channels) or self.steps[0] != 1:
            raise ValueError(f"steps is {self.steps}; expected one for each level, the first 1")
        finer = zip(self.steps, [*self.steps[1:], 0], level_steps(len(self.steps)), strict=True)
        if any(step < 1 or longer % step or offline % step for step, longer, offline in finer):
            raise ValueError(
                f"steps is {self.steps}; expected each a multiple of the one before, and a divisor of "
                f"{level_steps(len(self.steps))}"
            )


def build(config: Config) -> CausalClassUNet:
    """The separator of a config, with random weights."""
    return CausalClassUNet(config)


class CausalClassUNet(ClassUNet):
    """See the module's docstring."""

    config: Config
    unet: CausalUNet
    capabilities = Capabilities(streaming=True)
    cell_frames = 1

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.stride_samples = config.steps[-1] * config.hop_samples
        self.context_samples *= 2  # what the offline network sees on both sides lies in the past

    def network(self) -> CausalUNet:
        """The network from input planes to features of two bands each."""
        config = self.config
        outputs = config.features + 2 * config.refine_features
        return CausalUNet(config.channels, config.blocks, config.steps, outputs)

    def features(self, energy: Tensor, shift: int = 0, parts: Parts | None = None) -> Features:
        """Of the next frames' energies (b, k, n); `classing` has all frames. parts: None at the start."""
        parts = Parts(self.unet) if parts is None else parts
        means = parts.level(with_total(energy))
        hidden = parts.unet(band_planes(energy, means))
        classing, refining = hidden.split(
            [self.config.features, 2 * self.config.refine_features], 1
        )
        refining = refining.unflatten(1, (-1, 2)).transpose(2, 3).flatten(2, 3)
        return Features(classing, refining, loudness(energy, means[:, :1]), 0)

    def masks(
        self, features: Features, degrees: Tensor, parts: Parts | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log odds of the first and the second mask, (b, s, k, n) each."""
        parts = Parts(self.unet) if parts is None else parts
        coarse = self.log_odds(features.classing, degrees)
        odds = F.interpolate(coarse, scale_factor=(2.0, 1.0))

        def mean(sums: Tensor) -> Tensor:
            return parts.sums(sums.flatten(0, 1)).view_as(sums)

        return odds, self.refined(odds, features.refining, features.loudness, mean)

    def live(self, queries: QueryEmbedding, num_channels: int) -> Core:
        """See `Separator.live`."""
        like = next(self.parameters())
        estimate = LiveEstimate(self, queries)
        window_samples = self.config.window_samples
        return LiveCore(estimate, len(queries.pooled), num_channels, window_samples, like)


class Parts:
    """What depends on earlier frames, for the blocks of one recording. unet: (1, 3, k, n) to
    (1, num_outputs, k / 2, n)."""

    def __init__(self, unet: Callable[[Tensor], Tensor]) -> None:
        self.unet = unet
        self.level, self.sums = RecentMean(RECENT_FRAMES), RecentMean(RECENT_FRAMES)


class LiveEstimate:
    """See `_live.Estimate`."""

    def __init__(self, separator: CausalClassUNet, queries: QueryEmbedding) -> None:
        self.separator, self.parts = separator, Parts(LiveUNet(separator.unet))
        self.degrees, self.complement = without_complements(queries.pooled[None])

    def __call__(self, spec: Tensor) -> Tensor:
        """(c, f, n) to (s, c, f, n)."""
        separator = self.separator
        energy = separator.gather(squared_magnitude(spec).mean(dim=0, keepdim=True))
        features = separator.features(energy, parts=self.parts)
        odds = separator.masks(features, self.degrees, self.parts)[1]
        mask = odds.sigmoid() ** separator.config.mask_exponent
        mask = torch.where(self.complement[..., None], 1 - mask, mask)[0]
        return (mask.mT @ separator.bands.T).mT[:, None] * spec
