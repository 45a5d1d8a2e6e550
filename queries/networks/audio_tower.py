"""A small network that embeds recordings as unit vectors, in a space shared with text.

    waveform -> log mel bands over time -> convolutions -> mean over bands -> attention over time -> vector

Only differences of log energies enter, so loudness and a microphone's overall gain change nothing.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW_SAMPLES, HOP_SAMPLES = 1280, 640
NUM_BANDS, LOWEST_HZ = 64, 40.0
MIN_FRAMES = 64  # shorter recordings are repeated: a second and a quarter at 32 kHz
FLOOR = 1e-7  # 70 dB below the mean counts as silence


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norms around a shortcut, then half as many bands and frames."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_in, num_out, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(num_out)
        self.second = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(num_out)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, num_in, k, n) to (b, num_out, k // 2, n // 2)."""
        hidden = F.relu(self.first_norm(self.first(hidden)))
        hidden = F.relu(hidden + self.second_norm(self.second(hidden)))
        return F.avg_pool2d(hidden, 2)


class AudioTower(nn.Module):
    """(b, t) at sample_rate, t >= 1, to unit vectors (b, dim)."""

    mel: Tensor
    window: Tensor

    def __init__(self, sample_rate: int, channels: tuple[int, ...], dim: int) -> None:
        super().__init__()
        import torchaudio  # imported here, since text queries do not need it

        mel = torchaudio.functional.melscale_fbanks(
            WINDOW_SAMPLES // 2 + 1, LOWEST_HZ, sample_rate / 2, NUM_BANDS, sample_rate
        )
        self.register_buffer("mel", mel, persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)
        self.blocks = nn.Sequential(*(ConvBlock(a, b) for a, b in pairwise((2, *channels))))
        self.attention = nn.Linear(channels[-1], 1)
        self.project = nn.Linear(2 * channels[-1], dim)

    def features(self, waveform: Tensor) -> Tensor:
        """(b, t) to (b, 2, bands, frames): log energies relative to all, and to the band's mean."""
        min_samples = MIN_FRAMES * HOP_SAMPLES
        if waveform.shape[-1] < min_samples:
            waveform = waveform.repeat(1, -(-min_samples // waveform.shape[-1]))
        with torch.autocast(waveform.device.type, enabled=False):
            spec = torch.stft(
                waveform.float(),
                WINDOW_SAMPLES,
                HOP_SAMPLES,
                window=self.window,
                pad_mode="constant",
                return_complex=True,
            )
            energy = self.mel.T @ torch.view_as_real(spec).square().sum(dim=-1)
            overall = relative_log(energy, energy.mean(dim=(1, 2), keepdim=True))
            contrast = relative_log(energy, energy.mean(dim=2, keepdim=True))
        return torch.stack([overall, contrast], dim=1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Audio (b, t) to unit vectors (b, dim)."""
        hidden = self.blocks(self.features(waveform))  # (b, channels, bands, n)
        hidden = hidden.mean(dim=2).transpose(1, 2)  # (b, n, channels)
        weight = self.attention(hidden).softmax(dim=1)
        pooled = torch.cat([(weight * hidden).sum(dim=1), hidden.amax(dim=1)], dim=-1)
        return F.normalize(self.project(pooled).float(), dim=-1)


def relative_log(energy: Tensor, level: Tensor) -> Tensor:
    """Log energy relative to a level, floored at FLOOR and scaled to about [-1.5, 3]."""
    return torch.log10(energy / (level + 1e-20) + FLOOR) / 2 + 2
