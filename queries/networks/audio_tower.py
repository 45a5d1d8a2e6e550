"""A network that embeds recordings as unit vectors, in a space shared with text.

    waveform at 16 kHz, at one level -> YAMNet without its classes -> mean over the patches -> square root
    -> linear -> unit vector

Means of rectified activations are skewed; their square roots are less so.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .yamnet import SAMPLE_RATE, WIDTH, PatchNetwork

LEVEL = 0.1  # root mean square of what YAMNet hears, whose log mels have a fixed floor
TINY = 1e-8


class AudioTower(nn.Module):
    """(b, t) at sample_rate, t >= 1, any level, to unit vectors (b, dim); gradients pass."""

    sample_rate = SAMPLE_RATE

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.patches = PatchNetwork()
        self.project = nn.Linear(WIDTH, dim)

    def forward(self, waveform: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(waveform.device.type, enabled=False):
            hidden = self.patch_embeddings(waveform).mean(dim=1)
        return F.normalize(self.project((hidden + TINY).sqrt()).float(), dim=-1)

    def patch_embeddings(self, waveform: Tensor) -> Tensor:
        """YAMNet's embeddings (b, p, WIDTH) of the patches of (b, t), brought to one level."""
        waveform = waveform.float()
        level = waveform.square().mean(dim=-1, keepdim=True).sqrt()
        return self.patches.embeddings(waveform * (LEVEL / level.clamp_min(TINY)))
