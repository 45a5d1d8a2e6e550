"""The U-Net of the CLIPSep family: the generator of pix2pix (Isola et al. 2017) over a spectrogram.

The encoder has strided 4 x 4 convolutions, the decoder bilinear interpolation and 3 x 3 convolutions;
each decoder level also sees the output of the encoder level of the same size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of the encoder's leaky ReLUs


class UNet(nn.Module):
    """Spectrograms (b, num_in, k, n) to (b, num_out, k, n), linear output; k a multiple of `stride`.

    channels: of each level, outermost first. num_condition: width of a vector joined with the features
    of the lowest level, 0 for none. The last frame is repeated to a multiple of `stride` frames.

    The receptive field is not finite: interpolation with aligned corners depends on the number of
    frames.
    """

    varying_axes: tuple[int, ...] = ()  # see networks/exportable.py; segments are of one length

    def __init__(
        self, num_in: int, num_out: int, channels: tuple[int, ...], num_condition: int = 0
    ) -> None:
        super().__init__()
        self.stride = 2 ** len(channels)
        self.norm = nn.BatchNorm2d(num_in)
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()  # self.ups[level] undoes self.downs[level]
        bottom = len(channels) - 1
        for level, width in enumerate(channels):
            above = channels[level - 1] if level else num_in
            down: list[nn.Module] = [nn.Conv2d(above, width, 4, 2, 1, bias=False)]
            if 0 < level < bottom:
                down.append(nn.BatchNorm2d(width))
            self.downs.append(nn.Sequential(*down))
            num_raised = width + num_condition if level == bottom else 2 * width
            up: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)]
            if level:
                up.append(nn.Conv2d(num_raised, above, 3, padding=1, bias=False))
                up.append(nn.BatchNorm2d(above))
            else:
                up.append(nn.Conv2d(num_raised, num_out, 3, padding=1))
            self.ups.append(nn.Sequential(*up))

    def forward(self, spectrogram: Tensor, condition: Tensor | None = None) -> Tensor:
        """spectrogram (b, num_in, k, n), condition (b, num_condition) or None to (b, num_out, k, n)."""
        return self.decode(self.encode(spectrogram), spectrogram.shape[-1], condition)

    def encode(self, spectrogram: Tensor) -> list[Tensor]:
        """spectrogram (b, num_in, k, n) to the output of each level's convolution, outermost first; each has
        half as many rows and frames as the one before."""
        if missing := -spectrogram.shape[-1] % self.stride:
            spectrogram = F.pad(spectrogram, (0, missing, 0, 0), mode="replicate")
        hidden = self.norm(spectrogram)
        outputs = []
        for level, down in enumerate(self.downs):
            hidden = down(F.leaky_relu(hidden, SLOPE) if level else hidden)
            outputs.append(hidden)
        return outputs

    def decode(
        self, encoded: list[Tensor], num_frames: int, condition: Tensor | None = None
    ) -> Tensor:
        """What `encode` returns, of a spectrogram with num_frames frames, to (b, num_out, k, num_frames)."""
        *skips, hidden = encoded
        if condition is not None:
            spread = condition[:, :, None, None].expand(-1, -1, *hidden.shape[-2:])
            hidden = torch.cat([hidden, spread], dim=1)
        for up in reversed(self.ups):
            hidden = up(F.relu(hidden))
            if skips:
                hidden = torch.cat([skips.pop(), hidden], dim=1)
        return hidden[..., :num_frames]


def initialise(module: nn.Module) -> None:
    """For Module.apply: the small initial weights of the authors' code; biases keep PyTorch's."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.001)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.0001)
