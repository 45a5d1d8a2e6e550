"""HTS-AT (Chen et al. 2022), CLAP's audio encoder, as a feature pyramid; frozen except for low-rank
updates.

Log-mel spectrograms are folded into squares: four segments of time, one below the other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ...signal.mel import MelConfig, mel_filters
from ...signal.stft import hann_stft
from .lora import LoraLinear
from .swin import PatchMerging, SwinBlock

FOLDS = 4  # segments of time, one below the other
PATCH = 4  # side of the square of bins and frames that becomes a token
FLOOR = 1e-10  # of mel energies, before the logarithm
SILENCE_DB = -100.0  # FLOOR in decibels; pads frames beyond the end


@configuration
class HTSATConfig:
    """sample_rate in Hz, of its input; num_mels: bands between min_hz and max_hz. width: of the first
    stage's tokens, doubled at each stage; depths, num_heads: of the stages. rank: of the low-rank
    updates."""

    sample_rate: int = 48000
    window_samples: int = 1024
    hop_samples: int = 480
    num_mels: int = 64
    min_hz: float = 50.0
    max_hz: float = 14000.0
    width: int = 128
    depths: tuple[int, ...] = (2, 2, 12, 2)
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 8
    rank: int = 16

    @property
    def num_frames(self) -> int:
        """The most frames it takes at once."""
        return FOLDS * FOLDS * self.num_mels

    def sizes(self) -> list[int]:
        """Side of each stage's square map, in tokens."""
        side = FOLDS * self.num_mels // PATCH
        return [side >> stage for stage in range(len(self.depths))]

    def widths(self) -> list[int]:
        """Width of each stage's tokens."""
        return [self.width << stage for stage in range(len(self.depths))]


class Stage(nn.Module):
    """Swin blocks, every other one with shifted windows; all stages but the last then halve the map's
    side."""

    def __init__(self, config: HTSATConfig, stage: int) -> None:
        super().__init__()
        width, size = config.widths()[stage], config.sizes()[stage]
        self.blocks = nn.ModuleList(
            SwinBlock(
                width,
                config.num_heads[stage],
                size,
                config.window,
                shifted=index % 2 == 1,
                rank=config.rank,
            )
            for index in range(config.depths[stage])
        )
        last = stage == len(config.depths) - 1
        self.merging = None if last else PatchMerging(width, size)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, size^2, width) to (b, size^2 / 4, 2 width), at the last stage to the same shape."""
        for block in self.blocks:
            tokens = block(tokens)
        return tokens if self.merging is None else self.merging(tokens)


class HTSAT(nn.Module):
    """Always in evaluation mode. Only the low-rank updates and the biases beside them are trained."""

    def __init__(self, config: HTSATConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.BatchNorm1d(config.num_mels)
        self.patches = nn.Conv2d(1, config.width, PATCH, PATCH)
        self.patch_norm = nn.LayerNorm(config.width)
        self.stages = nn.ModuleList(Stage(config, stage) for stage in range(len(config.depths)))
        self.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, LoraLinear):
                module.lora_A.requires_grad_(True)
                module.lora_B.requires_grad_(True)
                module.bias.requires_grad_(True)
        self.eval()

    def train(self, mode: bool = True) -> HTSAT:
        """Has no effect: batch norms and dropout of the frozen encoder stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()  # of recordings: nothing to learn
    def log_mel(self, waveform: Tensor) -> Tensor:
        """(b, c, t) at sample_rate to decibels (b, num_mels, n) of the channels' mean power, without
        gradient."""
        config = self.config
        mel = MelConfig(
            config.sample_rate,
            config.window_samples,
            config.hop_samples,
            config.num_mels,
            config.min_hz,
            config.max_hz,
        )
        missing = config.window_samples // 2 + 1 - waveform.shape[-1]
        padded = F.pad(waveform, (0, max(0, missing)))
        spec = hann_stft(padded, config.window_samples, config.hop_samples, "reflect")
        power = torch.view_as_real(spec).square().sum(dim=-1).mean(dim=1)
        return 10 * (mel_filters(mel).to(power) @ power).clamp_min(FLOOR).log10()

    def forward(self, log_mel: Tensor) -> list[Tensor]:
        """log_mel (b, num_mels, n), n <= num_frames, padded with silence; to tokens (b, size^2, width)
        of the patches, then of each stage after its merging."""
        missing = self.config.num_frames - log_mel.shape[-1]
        padded = self.norm(F.pad(log_mel, (0, missing), value=SILENCE_DB))
        folded = padded.unflatten(-1, (FOLDS, -1)).transpose(1, 2).flatten(1, 2)
        tokens = self.patch_norm(self.patches(folded[:, None]).flatten(2).transpose(1, 2))
        features = [tokens]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features
