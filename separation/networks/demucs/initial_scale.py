"""Initial weights of Demucs: their deviations are brought closer to each other, since the deep levels of a
U-Net with PyTorch's own hardly show in its output.

Défossez, Usunier, Bottou and Bach, "Music source separation in the waveform domain" (arXiv 1911.13254),
sec. 4.
"""

from __future__ import annotations

import torch
from torch import nn

DEVIATION = 0.1
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


@torch.no_grad()
def scale_initial_weights(network: nn.Module) -> None:
    """Divides weight and bias of every convolution by the root of how many times the weight's standard
    deviation is DEVIATION, in place."""
    for layer in network.modules():
        if isinstance(layer, CONVOLUTIONS):
            factor = (layer.weight.std() / DEVIATION).sqrt()
            layer.weight /= factor
            if layer.bias is not None:
                layer.bias /= factor
