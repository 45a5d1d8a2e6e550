"""CB-Net of ClearBuds: a small Conv-TasNet on two microphones, and a U-Net on the mel spectrogram that
masks what the first leaves.

Chatterjee, Kim, Jayaram et al., "ClearBuds: wireless binaural earbuds for learning-based speech
enhancement", MobiSys 2022 (arXiv 2206.13611), sec. 4: a time-domain network whose filters do not overlap,
and a spectrogram network made of depthwise separable convolutions. Goes with `analyses/waveform.py` and
`heads/waveform.py`. Sizes are those of the released code (15,625 Hz, two microphones, one output).

Two things differ: the mel mask is applied as it is, where the released code makes it binary, so that both
networks are trained together; and the U-Net sees the whole segment, not the last 64 frames.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ...signal.mel import MelConfig, mel_filters
from ...signal.stft import istft, stft
from ..composition import Inject

POWER_FLOOR = 1e-8  # of mel energies before the logarithm
NORM_EPS = 1e-8
NUM_LEVELS = 4  # of the U-Net; the lowest two share their size
HALVINGS = 3


@configuration
class Config:
    """sample_rate in Hz, of the recordings. Letters of Conv-TasNet: num_filters N, kernel_samples L (also
    the hop), bottleneck_channels B, hidden_channels H, kernel_frames P, num_blocks X, num_repeats R.
    lookahead_frames: later frames that a mask may depend on. window_samples, num_mels: of the spectrogram;
    its hop is a quarter of the window. unet_channels: of the U-Net's first level."""

    sample_rate: int = 15625
    num_filters: int = 256
    kernel_samples: int = 50
    bottleneck_channels: int = 256
    hidden_channels: int = 512
    kernel_frames: int = 3
    num_blocks: int = 7
    num_repeats: int = 2
    lookahead_frames: int = 14
    window_samples: int = 1024
    num_mels: int = 128
    unet_channels: int = 64

    def __post_init__(self) -> None:
        if self.window_samples % 4:
            raise ValueError(f"window_samples is {self.window_samples}; expected a multiple of 4")


def build(config: Config, channels: int, num_bands: int, num_maps: int, causal: bool) -> ClearBuds:
    """Both networks for `channels` microphones. ValueError if causal, or if the analysis is not
    `waveform`."""
    if causal:
        raise ValueError(
            "ClearBuds looks ahead, by lookahead_frames and by a spectrogram window: set causal = false"
        )
    if num_bands != 1:
        raise ValueError("ClearBuds works on waveforms: its analysis must be 'waveform'")
    return ClearBuds(config, channels, num_maps)


class ClearBuds(nn.Module):
    """The query conditions the input of each repeat of the first network, and the U-Net's lowest level."""

    complete = True
    filters: Tensor  # (k, f)
    back: Tensor  # (f, k)

    def __init__(self, config: Config, inputs: int, num_maps: int) -> None:
        super().__init__()
        self.width = num_maps
        lowest = config.unet_channels * 2**NUM_LEVELS
        self.sites = (*(config.bottleneck_channels,) * config.num_repeats, lowest)
        self.window, self.hop = config.window_samples, config.window_samples // 4
        self.waveforms = TimeNetwork(config, inputs, num_maps)
        self.masks = MelUNet(config.unet_channels, num_maps)
        mel = MelConfig(
            sample_rate=config.sample_rate,
            window_samples=config.window_samples,
            hop_samples=self.hop,
            num_bands=config.num_mels,
            min_hz=20.0,
            max_hz=config.sample_rate / 2,
        )
        with torch.device("cpu"):  # they are computed once and kept
            values = mel_filters(mel).numpy()
        filters = torch.tensor(values)
        self.register_buffer("filters", filters, persistent=False)
        # A bin's mask is the mean of its filters' masks; of bins that have no filter, that of all.
        back = filters.T + 1e-6
        self.register_buffer("back", back / back.sum(dim=1, keepdim=True), persistent=False)

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, c, 1, t) to maps (b, num_maps, 1, t)."""
        mixture = features[:, :, 0]
        first = self.waveforms(mixture, inject)
        masks = self.masks(
            self.log_mel(mixture), lambda hidden: inject(len(self.sites) - 1, hidden)
        )
        spec = stft(first, self.window, self.hop)
        masked = spec * (self.back @ masks)
        return istft(masked, self.window, self.hop, first.shape[-1])[:, :, None]

    def log_mel(self, mixture: Tensor) -> Tensor:
        """(b, c, t) to the spectrogram of the sum of all microphones, of mean 0 and deviation 1:
        (b, 1, k, n)."""
        power = stft(mixture.sum(dim=1), self.window, self.hop).abs().square()
        levels = (self.filters @ power + POWER_FLOOR).log()
        deviation, mean = torch.std_mean(levels, dim=(1, 2), keepdim=True, correction=0)
        return ((levels - mean) / (deviation + NORM_EPS))[:, None]


class TimeNetwork(nn.Module):
    """The network on the waveform (sec. 4.1): encoder, dilated convolutions, masks, decoder."""

    def __init__(self, config: Config, inputs: int, num_maps: int) -> None:
        super().__init__()
        filters, self.kernel = config.num_filters, config.kernel_samples
        self.lookahead, self.num_maps = config.lookahead_frames, num_maps
        self.encoder = nn.Conv1d(inputs, filters, self.kernel, self.kernel, bias=False)
        self.norm = ChannelNorm(filters)
        self.bottleneck = nn.Conv1d(filters, config.bottleneck_channels, 1, bias=False)
        self.repeats = nn.ModuleList(
            nn.Sequential(*(DilatedBlock(config, 2**block) for block in range(config.num_blocks)))
            for _ in range(config.num_repeats)
        )
        self.mask = nn.Conv1d(config.bottleneck_channels, num_maps * filters, 1, bias=False)
        self.decoder = nn.Linear(filters, self.kernel, bias=False)

    def forward(self, mixture: Tensor, inject: Inject) -> Tensor:
        """(b, c, t) to (b, num_maps, t)."""
        num_samples = mixture.shape[-1]
        later = self.lookahead * self.kernel + -num_samples % self.kernel
        filtered = F.relu(self.encoder(F.pad(mixture, (0, later))))
        hidden = self.bottleneck(self.norm(filtered))
        for site, repeat in enumerate(self.repeats):
            hidden = repeat(inject(site, hidden))
        # The mask of a frame is what the network says lookahead_frames later.
        masks = F.relu(self.mask(hidden[..., self.lookahead :])).unflatten(1, (self.num_maps, -1))
        masked = masks * filtered[:, None, :, : masks.shape[-1]]
        waveforms: Tensor = self.decoder(masked.transpose(2, 3)).flatten(2)
        return waveforms[..., :num_samples]


class DilatedBlock(nn.Module):
    """A causal block of Conv-TasNet without skip outputs, with ReLU and norms over channels."""

    def __init__(self, config: Config, dilation: int) -> None:
        super().__init__()
        width, hidden = config.bottleneck_channels, config.hidden_channels
        self.past = (config.kernel_frames - 1) * dilation
        self.expand = nn.Conv1d(width, hidden, 1, bias=False)
        self.norm = ChannelNorm(hidden)
        self.conv = nn.Conv1d(
            *(hidden, hidden, config.kernel_frames),
            dilation=dilation,
            groups=hidden,
            bias=False,
        )
        self.conv_norm = ChannelNorm(hidden)
        self.reduce = nn.Conv1d(hidden, width, 1, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, d, n) to (b, d, n)."""
        expanded = self.norm(F.relu(self.expand(hidden)))
        convolved = self.conv(F.pad(expanded, (self.past, 0)))
        added: Tensor = self.reduce(self.conv_norm(F.relu(convolved)))
        return hidden + added


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, d, n) to (b, d, n)."""
        normed: Tensor = self.norm(hidden.transpose(1, 2))
        return normed.transpose(1, 2)


class MelUNet(nn.Module):
    """The network on the spectrogram (sec. 4.2): (b, 1, k, n) to masks (b, num_maps, k, n) in [0, 1]."""

    def __init__(self, channels: int, num_maps: int) -> None:
        super().__init__()
        sizes = [channels * 2**level for level in range(NUM_LEVELS)]
        self.encoders = nn.ModuleList(
            separable(inputs, outputs) for inputs, outputs in zip([1, *sizes], sizes, strict=False)
        )
        self.lowest = separable(sizes[-1], 2 * sizes[-1])
        factors = [1, *[2] * HALVINGS]
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(2 * size, size, factor, factor)
            for size, factor in zip(reversed(sizes), factors, strict=True)
        )
        self.decoders = nn.ModuleList(separable(2 * size, size) for size in reversed(sizes))
        self.out = nn.Conv2d(channels, num_maps, 1)

    def forward(self, levels: Tensor, inject: Callable[[Tensor], Tensor]) -> Tensor:
        """(b, 1, k, n) to (b, num_maps, k, n); `inject` conditions the lowest level."""
        num_bands, num_frames = levels.shape[-2:]
        step = 2**HALVINGS
        hidden = F.pad(levels, (0, -num_frames % step, 0, -num_bands % step))
        skips = []
        for level, encoder in enumerate(self.encoders):
            hidden = encoder(F.max_pool2d(hidden, 2) if level else hidden)
            skips.append(hidden)
        hidden = inject(self.lowest(hidden))
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            hidden = decoder(torch.cat([up(hidden), skip], dim=1))
        return torch.sigmoid(self.out(hidden))[..., :num_bands, :num_frames]


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3 x 3 and pointwise convolution, each with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
