"""ResUNet30 conditioned on a query vector: the separator of AudioSep and USS.

    mixture (b, c, t) -> STFT -> magnitude (b, 1, n, f) -> U-Net, with an offset from the query at every norm
    (b, 3, n, f) -> complex mask (b, f, n) -> times the STFT -> target (b, c, t), for one query after another

Kong et al., "Decoupling magnitude and phase estimation with deep ResUNet for music source separation"
(2021). AudioSep (Liu et al., arXiv 2308.05037): CLAP text embeddings of width 512. USS
(Kong et al., arXiv 2305.07447): a tagger's output for the wanted sound, 527 probabilities or an
embedding of width 2048. The baseline of DCASE 2024 task 9 is AudioSep at 16 kHz. Inside the network
spectra are (b, c, n, f), as there.

It works on absolute linear magnitudes, so recordings should have natural levels within [-1, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import LossOutput, MixtureBatch, Separated, Separator
from ..networks.blocks.memory_format import to_channels_last
from ..networks.masks.query_masks import only_queried
from ..objectives.means import mean_of_queried
from ..signal.spectra import rms_magnitude
from ..signal.stft import hann_istft, hann_stft, uncovered

SLOPE = 0.01  # of the leaky ReLUs
MOMENTUM = 0.01  # of the batch norms
FLOOR = 1e-5  # of magnitudes
EXACT_SECONDS = 2  # of USS's segments, in training as at use


@configuration
class Config:
    """sample_rate in Hz; window_samples / 2 must be a multiple of 2 to the number of levels. channels:
    of the encoder's levels; each halves frequency, and all but the last halve time. exact: separate each
    two seconds independently, the last filled up with zeros, as the authors of USS do with examples (there
    is a seam every two seconds); otherwise a recording is separated as a whole."""

    query_dim: int = 512
    sample_rate: int = 32000
    window_samples: int = 2048
    hop_samples: int = 320
    channels: tuple[int, ...] = (32, 64, 128, 256, 384, 384)
    exact: bool = False

    def __post_init__(self) -> None:
        divisor = 2 ** (len(self.channels) + 1)
        if self.window_samples % divisor:
            raise ValueError(
                f"window_samples is {self.window_samples}; expected a multiple of {divisor}"
            )


def build(config: Config) -> ResUNet30:
    """The separator with these settings and random weights."""
    return ResUNet30(config)


class QueriedNorm(nn.Module):
    """Batch norm, an offset from the query, leaky ReLU: FiLM without a scale."""

    def __init__(self, channels: int, query_dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, momentum=MOMENTUM)
        self.offset = nn.Linear(query_dim, channels)

    def forward(self, hidden: Tensor, query: Tensor) -> Tensor:
        """hidden (b, c, n, f), query (b, d) to (b, c, n, f)."""
        norm, offset = self.norm, self.offset(query)
        if self.training:
            return F.leaky_relu(norm(hidden) + offset[..., None, None], SLOPE)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        # With fixed statistics all of it is one factor and one offset: 1.2 times as fast for the whole model.
        factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = offset + norm.bias - norm.running_mean * factor
        return F.leaky_relu(
            torch.addcmul(shift[..., None, None], hidden, factor[:, None, None]), SLOPE
        )


class Block(nn.Module):
    """Two 3 x 3 convolutions, each after a norm, with a residual."""

    def __init__(self, num_in: int, num_out: int, query_dim: int) -> None:
        super().__init__()
        self.norm1 = QueriedNorm(num_in, query_dim)
        self.conv1 = nn.Conv2d(num_in, num_out, 3, padding=1, bias=False)
        self.norm2 = QueriedNorm(num_out, query_dim)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(num_in, num_out, 1) if num_in != num_out else nn.Identity()

    def forward(self, hidden: Tensor, query: Tensor) -> Tensor:
        """hidden (b, num_in, n, f), query (b, d) to (b, num_out, n, f)."""
        change = self.conv1(self.norm1(hidden, query))
        change = self.conv2(self.norm2(change, query))
        return self.shortcut(hidden) + change


class Raise(nn.Module):
    """Decoder level: transposed convolution, skip connection, and a block."""

    def __init__(self, num_in: int, num_out: int, query_dim: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.norm = QueriedNorm(num_in, query_dim)
        self.raising = nn.ConvTranspose2d(num_in, num_out, stride, stride, bias=False)
        self.block = Block(2 * num_out, num_out, query_dim)

    def forward(self, hidden: Tensor, skip: Tensor, query: Tensor) -> Tensor:
        """hidden (b, num_in, n, f), skip (b, num_out, n', f'), query (b, d) to (b, num_out, n', f')."""
        raised = self.raising(self.norm(hidden, query))
        return self.block(torch.cat([raised, skip], dim=1), query)


class UNet(nn.Module):
    """The U-Net, with linear output; n must be a multiple of `stride`, f of 2 to the number of levels."""

    varying_axes = (2,)  # see networks/exportable.py; how long the recording is

    def __init__(self, channels: tuple[int, ...], query_dim: int) -> None:
        super().__init__()
        last = len(channels) - 1
        self.stride = 2**last
        self.pools = [(2, 2)] * last + [(1, 2)]
        self.stem = nn.Conv2d(1, channels[0], 1)
        self.encoders = nn.ModuleList()
        self.decoders = nn.ModuleList()  # self.decoders[level] undoes the pooling of that level
        for level, width in enumerate(channels):
            above, below = channels[max(0, level - 1)], channels[min(last, level + 1)]
            self.encoders.append(Block(above, width, query_dim))
            self.decoders.append(Raise(below, width, query_dim, self.pools[level]))
        self.bottom = Block(channels[last], channels[last], query_dim)
        self.head = nn.Conv2d(channels[0], 3, 1)

    def forward(self, magnitude: Tensor, query: Tensor) -> Tensor:
        """normalised magnitude (b, 1, n, f), query (b, d) to (b, 3, n, f)."""
        hidden = self.stem(magnitude)
        skips = []
        for encoder, pool in zip(self.encoders, self.pools, strict=True):
            skips.append(encoder(hidden, query))
            hidden = F.avg_pool2d(skips[-1], pool)
        hidden = self.bottom(hidden, query)
        for decoder in reversed(self.decoders):
            hidden = decoder(hidden, skips.pop(), query)
        return self.head(hidden)


def unet_reach_frames(num_levels: int) -> int:
    """Receptive field in time: the distance in frames from an output frame to the farthest input frame
    it depends on."""
    bottom = 2 ** (num_levels - 1)  # frames a step there
    convolutions = 2 * 2 * (2 * bottom - 1) + 2 * bottom  # two a block, down and up; the bottom's
    return convolutions + bottom - 1  # pooling and raising stay within a step


class ResUNet30(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share the mask, which is computed from
    their root mean square, so the stereo image stays. With one channel this is the published system."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.num_channels = None
        self.query_dim = config.query_dim
        # The release's BatchNorm2d over (b, f, n, 1) is the same, but its gradients on CPUs, for the layout
        # that the U-Net's have here, are wrong in PyTorch 2.11.
        self.norm = nn.BatchNorm1d(config.window_samples // 2 + 1, momentum=MOMENTUM)
        self.unet = UNet(config.channels, config.query_dim)
        self.apply(initialise)
        to_channels_last(self)
        self.stride_samples = self.unet.stride * config.hop_samples
        reach_frames = unet_reach_frames(len(config.channels))
        self.context_samples = reach_frames * config.hop_samples + config.window_samples
        self.segment_samples = EXACT_SECONDS * config.sample_rate
        if config.exact:
            self.stride_samples = self.context_samples = self.segment_samples

    def spectrum(self, mixture: Tensor) -> Tensor:
        """(b, c, t) to (b, c, f, n), mirrored at the ends; recordings too short for that are padded
        with zeros first."""
        num_samples = mixture.shape[-1]
        window, hop = self.config.window_samples, self.config.hop_samples
        missing = max(window // 2 + 1 - num_samples, uncovered(num_samples, window, hop))
        return hann_stft(F.pad(mixture, (0, max(0, missing))), window, hop, "reflect")

    def mask(self, magnitude: Tensor, query: Tensor) -> Tensor:
        """magnitude (b, f, n), query (b, d) to a complex mask (b, f, n) of modulus at most 1.

        The modulus is a sigmoid, the phase that of two tanh as real and imaginary part. The Nyquist bin
        is always 0.
        """
        num_frames = magnitude.shape[-1]
        normed = self.norm(magnitude.clamp_min(FLOOR)).transpose(1, 2)[:, None]
        padded = F.pad(normed[..., :-1], (0, 0, 0, -num_frames % self.unet.stride))
        size, real, imaginary = self.unet(padded, query)[:, :, :num_frames].float().unbind(dim=1)
        direction = torch.complex(real.tanh(), imaginary.tanh())
        turn = direction / direction.abs().clamp_min(1e-10)
        return F.pad(size.sigmoid() * turn, (0, 1)).transpose(-2, -1)

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), in [-1, 1]; queries.pooled (b, s, d). target + residual = mixture.

        Mixtures and queries are processed one by one, for the query reaches every layer and little
        could be shared: memory does not grow with their number, and the result for one does not depend
        on the others.
        """
        if self.config.exact:
            num_samples = mixture.shape[-1]
            padded = F.pad(mixture, (0, -num_samples % self.segment_samples))
            segments = padded.split(self.segment_samples, dim=-1)
            target = torch.cat([self.targets(segment, queries) for segment in segments], dim=-1)
            target = target[..., :num_samples]
        else:
            target = self.targets(mixture, queries)
        return Separated(target, mixture[:, None] - target)

    def targets(self, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
        """mixture (b, c, t), queries.pooled (b, s, d) to targets (b, s, c, t), in one piece."""
        targets = []
        for spec, queries_of_mixture in zip(self.spectrum(mixture), queries.pooled, strict=True):
            magnitude = rms_magnitude(spec[None])
            for query in queries_of_mixture:
                masked = self.mask(magnitude, query[None]) * spec
                targets.append(self.waveform(masked, mixture.shape[-1]))
        return torch.stack(targets).unflatten(0, queries.pooled.shape[:2])

    def waveform(self, spec: Tensor, num_samples: int) -> Tensor:
        """Inverse STFT: (..., f, n) to (..., t), t = num_samples."""
        return hann_istft(spec, self.config.window_samples, self.config.hop_samples, num_samples)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Mean absolute error of the waveform (AudioSep, eq. 4), mean over the queries of each mixture."""
        queried = batch.queried()
        # The loss needs a graph even where nothing is queried.
        used = queried if queried.any() else torch.ones_like(queried)
        item = used.nonzero()[:, 0]
        with torch.no_grad():  # spectra of recordings have no weights to learn
            spec = self.spectrum(batch.mixture)
            magnitude = rms_magnitude(spec)
        mask = self.mask(magnitude[item], only_queried(queries, queried).pooled[used])
        estimate = self.waveform(mask[:, None] * spec[item], batch.mixture.shape[-1])
        error = torch.zeros_like(queries.pooled[..., 0])
        error[used] = (estimate - batch.sources[used]).abs().mean(dim=(-2, -1))
        total = mean_of_queried(error, queried)
        return LossOutput(total, {"l1": total.detach()})


def initialise(module: nn.Module) -> None:
    """For Module.apply: initial weights as in the authors' code."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
