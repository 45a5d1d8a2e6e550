"""A vector of a voice from an example of it: convolutions over bands and frames, and statistics over time.

Mean and standard deviation over frames: Snyder et al., "X-vectors: robust DNN embeddings for speaker
recognition" (2018), sec. 2. Convolutions over bands as well, as in ResNet speaker encoders, share what they
learn among pitches and formants.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..signal.band_energies import band_planes

QUIET = 1e-3  # -30 dB of the example's level: frames below are pauses
TINY = 1e-8


class VoiceEncoder(nn.Module):
    """Band energies (b, k, n) of examples, zeros where there is none, to unit vectors (b, dim).

    channels: widths of the convolutions, each of which halves the bands. The level does not matter.
    """

    def __init__(self, num_bands: int, channels: tuple[int, ...], dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        num_in = 3  # planes
        for width in channels:
            conv = nn.Conv2d(num_in, width, 3, stride=(2, 1), padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
            num_in, num_bands = width, -(-num_bands // 2)
        self.layers = nn.Sequential(*layers)
        self.project = nn.Linear(2 * num_in * num_bands, dim)

    def forward(self, energy: Tensor) -> Tensor:
        """See the class."""
        total = energy.sum(dim=1, keepdim=True)
        sounding = total > 0
        num_frames = sounding.sum(dim=-1, keepdim=True).clamp_min(1)
        level = total.sum(dim=-1, keepdim=True) / num_frames
        spectrum = energy.sum(dim=-1, keepdim=True) / num_frames
        means = torch.cat([level, spectrum], dim=1).expand(-1, -1, energy.shape[-1])
        planes = band_planes(energy, means) * sounding[:, None]
        hidden = planes
        for layer in self.layers:
            hidden = layer(hidden)
            if isinstance(layer, nn.ReLU):  # norms are not zero where there is no example
                hidden = hidden * sounding[:, None]
        hidden = hidden.flatten(1, 2)  # (b, w k', n)
        weight = (total > QUIET * level).to(hidden)
        weight = weight / weight.sum(dim=-1, keepdim=True).clamp_min(1)
        mean = (weight * hidden).sum(dim=-1)
        variance = (weight * (hidden - mean[..., None]).square()).sum(dim=-1)
        statistics = torch.cat([mean, (variance + TINY).sqrt()], dim=-1)
        return F.normalize(self.project(statistics), dim=-1)
