"""TIGER-DnR as released: one TIGER network for each of dialog, effects and music; a query names one of these.

    mixture (b, c, t) -> windows of window_seconds, one every step_seconds -> STFT (b, f, n)
    STFT -> the stem's network -> masks of all its outputs, which sum to one -> the stem's own
    mean of the windows that cover a sample -> stems (b, stems, c, t)
    query: weights of the stems (b, s, stems), one-hot if a label names one
    weighted sums of the stems -> targets (b, s, c, t)

Xu, Li, Chen and Hu, "TIGER: time-frequency interleaved gain extraction and reconstruction for efficient
speech separation", ICLR 2025 (arXiv 2410.01469); sizes are those of the checkpoint JusperLee/TIGER-DnR,
trained on Divide and Remaster. For queries in free text the network is a backbone of `queried.py`.

Each channel is separated by itself; the released code gives the first one's result for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import Range, configuration

from ..interface import LossOutput, MixtureBatch, Separated, Separator
from ..networks.analyses.bands import RELEASED_EPSILON, adjacent_bands, widths_in_bins
from ..networks.backbones.tiger import Config as NetworkConfig
from ..networks.backbones.tiger import Tiger
from ..networks.blocks.band_split import BandSplit, GatedLinear
from ..networks.composition import no_query
from ..networks.masks.query_masks import only_queried
from ..objectives.means import mean_of_queried, mean_where
from ..objectives.snr import thresholded_waveform_loss
from ..signal.stft import hann_istft, hann_stft


@configuration
class Config:
    """stems: names; outputs: which of a network's num_outputs outputs each stem is. scheme: of bands, a key
    of `networks/analyses/bands.py`. width: channels of the networks. window_seconds, step_seconds: how
    recordings are cut; a whole number of steps makes a window. snr_limit_db: beyond this SNR a stem's
    gradient vanishes."""

    stems: tuple[str, ...] = ("dialog", "effect", "music")
    outputs: Annotated[tuple[int, ...], Range(0, 65535)] = (2, 1, 0)
    num_outputs: int = 3
    sample_rate: int = 44100
    window_samples: int = 2048
    hop_samples: int = 512
    scheme: str = "tiger-dnr"
    width: int = 132
    window_seconds: float = 12.0
    step_seconds: float = 4.0
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(released_fusion=True))
    snr_limit_db: float = 30.0

    def __post_init__(self) -> None:
        if len(self.outputs) != len(self.stems):
            raise ValueError(f"{len(self.stems)} stems, but {len(self.outputs)} outputs")
        if not all(0 <= output < self.num_outputs for output in self.outputs):
            raise ValueError(f"outputs are {self.outputs}; expected 0 to {self.num_outputs - 1}")
        if self.width % self.num_outputs:
            raise ValueError(f"{self.width} channels do not split into {self.num_outputs} outputs")


def build(config: Config) -> TigerDnr:
    """The separator with these settings and random weights."""
    return TigerDnr(config)


class TigerDnr(nn.Module, Separator):
    """See the module's docstring. Queries have width len(stems)."""

    num_channels = None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.query_dim = config.sample_rate, len(config.stems)
        self.stride_samples = max(1, round(config.step_seconds * config.sample_rate))
        self.num_steps = max(1, round(config.window_seconds / config.step_seconds))
        self.context_samples = self.num_steps * self.stride_samples
        self.networks = nn.ModuleList(StemNetwork(config, output) for output in config.outputs)

    def stem(self, index: int, mixture: Tensor) -> Tensor:
        """mixture (b, t) to one stem (b, t): the mean of all windows that cover a sample."""
        num_samples, step = mixture.shape[-1], self.stride_samples
        before = (self.num_steps - 1) * step
        num_windows = (num_samples + before - 1) // step + 1
        length = (num_windows - 1) * step + self.context_samples
        padded = F.pad(mixture, (before, length - before - num_samples))
        steps: list[Tensor] = []  # sums of all windows so far, of step_seconds each
        for start in range(0, num_windows * step, step):
            output = self.window(index, padded[:, start : start + self.context_samples])
            parts = output.split(step, dim=-1)
            known = len(steps) - start // step
            steps[start // step :] = [
                total + part
                for total, part in zip(steps[start // step :], parts[:known], strict=True)
            ]
            steps += parts[known:]
        total = torch.cat(steps, dim=-1)
        return total[:, before : before + num_samples] / self.num_steps

    def window(self, index: int, mixture: Tensor) -> Tensor:
        """One window of a mixture (b, t), to one stem (b, t)."""
        config = self.config
        with torch.autocast(mixture.device.type, enabled=False):
            spec = hann_stft(mixture, config.window_samples, config.hop_samples, "reflect")
            masked = self.networks[index](spec)
            return hann_istft(masked, config.window_samples, config.hop_samples, mixture.shape[-1])

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t); queries.pooled (b, s, stems). target + residual = mixture.

        Only stems that a query has are computed.
        """
        queried = [index for index in range(self.query_dim) if queries.pooled[..., index].any()]
        target = self.weighted(mixture, queries.pooled, queried)
        return Separated(target, mixture[:, None] - target)

    def weighted(self, mixture: Tensor, weights: Tensor, stems: Iterable[int]) -> Tensor:
        """mixture (b, c, t), weights (b, s, stems) to the weighted sums (b, s, c, t) of these stems."""
        flat = mixture.flatten(0, 1)
        target = mixture.new_zeros(*weights.shape[:2], *mixture.shape[1:])
        for index in stems:
            stem = self.stem(index, flat).reshape(mixture.shape)
            target = target + weights[:, :, index, None, None] * stem[:, None]
        return target

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Thresholded SNR loss of the waveform, mean over the queries of each mixture."""
        queried = batch.queried()
        weights = only_queried(queries, queried).pooled
        target = self.weighted(batch.mixture, weights, range(self.query_dim))
        snr_loss = thresholded_waveform_loss(
            target, batch.sources, batch.mixture[:, None], self.config.snr_limit_db
        )
        terms = {"snr": mean_where(snr_loss.detach(), queried)}
        return LossOutput(total=mean_of_queried(snr_loss, queried), terms=terms)


class StemNetwork(nn.Module):
    """Band split, TIGER and masks; `output` is the one of its outputs that is used."""

    def __init__(self, config: Config, output: int) -> None:
        super().__init__()
        self.output = output
        num_bins = config.window_samples // 2 + 1
        bands = adjacent_bands(widths_in_bins(config.scheme, num_bins, config.sample_rate))
        self.split = BandSplit(bands, 2, config.width, "global", RELEASED_EPSILON)
        self.separator = Tiger(config.network, config.width)
        self.num_outputs = config.num_outputs
        # The masks' real parts for all outputs, then their imaginary parts.
        self.readout = GatedLinear(
            bands, config.width, 2 * config.num_outputs, config.num_outputs, joined=True
        )

    def forward(self, spec: Tensor) -> Tensor:
        """Complex (b, f, n) to the masked (b, f, n)."""
        features = self.split(torch.stack([spec.real, spec.imag], dim=1))
        parts = self.readout(self.separator(features, no_query))  # (b, 2 o, f, n)
        real, imaginary = parts.unflatten(1, (2, self.num_outputs)).unbind(dim=1)
        masks = torch.complex(real, imaginary)  # (b, o, f, n)
        masks = masks + (1 - masks.sum(dim=1, keepdim=True)) / masks.shape[1]
        return spec * masks[:, self.output]
