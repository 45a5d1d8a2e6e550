"""Real and imaginary parts of the STFT, bin by bin."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from qsep.queries.settings import MAX_SAMPLES, Range, configuration

from ...signal.stft import istft, stft


@configuration
class Config:
    """hop_samples: 0 for half a window. readout_kernel: size, in bins and frames, of the convolution
    from the backbone's output to maps."""

    window_samples: int = 1024
    hop_samples: Annotated[int, Range(0, MAX_SAMPLES)] = 0
    readout_kernel: int = 1

    def __post_init__(self) -> None:
        window, hop = self.window_samples, self.hop_samples
        if window < 2 or window % 2:
            raise ValueError(f"window_samples is {window}; expected an even number")
        if hop < 0 or hop > window // 2:
            raise ValueError(f"hop_samples is {hop}; expected at most half a window, {window // 2}")


def build(config: Config, sample_rate: int, num_channels: int, causal: bool) -> Stft:
    """The analysis for num_channels channels. ValueError for causal models unless readout_kernel is 1
    and the hop is half a window."""
    return Stft(config, num_channels, causal)


class Stft(nn.Module):
    """See `composition.Analysis`. Features: the channels' real parts, then their imaginary parts."""

    direct = True
    streams = True

    def __init__(self, config: Config, num_channels: int, causal: bool) -> None:
        super().__init__()
        if causal and config.readout_kernel != 1:
            raise ValueError("a causal STFT cannot see neighbouring frames: set readout_kernel = 1")
        self.config = config
        self.window_samples = self.latency_samples = config.window_samples
        self.hop_samples = config.hop_samples or config.window_samples // 2
        if causal and 2 * self.hop_samples != config.window_samples:
            raise ValueError("a causal STFT needs a hop of half a window: set hop_samples = 0")
        self.num_bands = config.window_samples // 2 + 1
        self.channels, self.carrier_channels = 2 * num_channels, num_channels

    def carrier(self, waveform: Tensor) -> Tensor:
        """(b, c, t) to the complex STFT (b, c, f, n)."""
        # Scaled so that the spectrum's energy does not depend on the window's length.
        spec = stft(waveform, self.window_samples, self.hop_samples)
        return spec * self.window_samples**-0.5

    def features(self, carrier: Tensor) -> Tensor:
        """Complex (b, c, f, n) to real (b, 2 c, f, n)."""
        return torch.cat([carrier.real, carrier.imag], dim=1)

    def readout(self, width: int, num_maps: int) -> nn.Module:
        """A convolution (b, width, f, n) to (b, num_maps, f, n)."""
        kernel = self.config.readout_kernel
        return nn.Conv2d(width, num_maps, kernel, padding=kernel // 2)

    def decode(self, carrier: Tensor, num_samples: int) -> Tensor:
        """Complex (b, c, f, n) to (b, c, t), t = num_samples."""
        spec = carrier * self.window_samples**0.5
        return istft(spec, self.window_samples, self.hop_samples, num_samples)
