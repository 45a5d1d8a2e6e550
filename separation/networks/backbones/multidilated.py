"""A complex multidilated network, as for joint echo and noise reduction: dense blocks whose layers see each
earlier layer with a dilation of its own, in complex numbers and at full resolution.

Watcharasupat, Nguyen, Gan, Zhao and Ma, "End-to-end complex-valued multidilated convolutional neural network
for joint acoustic echo cancellation and noise suppression", ICASSP 2022 (arXiv 2110.00745). Its blocks are
those of Takahashi and Mitsufuji, "D3Net: densely connected multidilated DenseNet for music source separation"
(arXiv 2010.01733), sec. 2. Goes with `analyses/stft.py` and `heads/complex_mask.py`; two channels for the
microphone and the signal that the loudspeaker plays.

From the first paper are the pseudocomplex multidilated blocks without pooling and the size, 354 thousand
parameters. The numbers of channels, layers and blocks that make this size, the norm and the activation are
ours, for those of the paper were not confirmed. Its second mask for the echo is not here: target and residual
have masks of their own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..composition import Inject, State

NORM_EPS = 1e-8


@configuration
class Config:
    """channels: complex ones between blocks. num_blocks, each of num_layers with `growth` complex channels;
    the dilation doubles with each layer. kernel: bins and frames of a convolution, odd."""

    channels: int = 24
    num_blocks: int = 4
    num_layers: int = 5
    growth: int = 16
    kernel: int = 3

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}; expected an odd number")


def build(
    config: Config, channels: int, num_bands: int, num_maps: int, causal: bool
) -> Multidilated:
    """The network for `channels` input channels, real parts and then imaginary parts; causal along
    frames, or centred. ValueError if the analysis is not `stft`."""
    if num_bands == 1 or channels % 2:
        raise ValueError("multidilated works on complex spectra: its analysis must be 'stft'")
    return Multidilated(config, channels, num_maps, causal)


class Multidilated(nn.Module):
    """The query conditions the input of each block. Hidden features are (b, 2 d, f, n): d real parts, then
    d imaginary parts."""

    complete = True

    def __init__(self, config: Config, inputs: int, num_maps: int, causal: bool) -> None:
        super().__init__()
        width, grown = config.channels, config.num_layers * config.growth
        self.width, self.sites = num_maps, (2 * width,) * config.num_blocks
        self.first = ComplexConv(inputs // 2, width, config.kernel, 1, causal)
        # D3: each block sees all earlier ones.
        self.joins = nn.ModuleList(
            ComplexConv(width + block * grown, width, 1, 1, causal)
            for block in range(config.num_blocks)
        )
        self.blocks = nn.ModuleList(DenseBlock(config, causal) for _ in self.sites)
        self.last = ComplexConv(width + config.num_blocks * grown, num_maps // 2, 1, 1, causal)
        self.num_outputs = num_maps // 2

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, i, f, n) to maps (b, num_maps, f, n), real and imaginary part of each in turn."""
        return self.step(features, inject, None)[0]

    def step(self, features: Tensor, inject: Inject, state: State | None) -> tuple[Tensor, State]:
        """The next frames (b, i, f, n) from the state of the last call, None at the start; to their
        maps (b, num_maps, f, n) and the new state, which only a causal network needs."""
        before: State = state or [None] * (len(self.blocks) + 1)
        seen, first = self.first.past_and(features, before[0])
        outputs = [self.first(seen)]
        carried: State = [first]
        for site, (join, block) in enumerate(zip(self.joins, self.blocks, strict=True)):
            hidden, after = block(inject(site, join(joined(outputs))), before[site + 1])
            outputs.append(hidden)
            carried.append(after)
        parts = self.last(joined(outputs)).unflatten(1, (2, self.num_outputs))
        return parts.transpose(1, 2).flatten(1, 2), carried


class DenseBlock(nn.Module):
    """D2 block (D3Net, sec. 2.1): layer l sees the output of layer i < l with dilation 2^i."""

    def __init__(self, config: Config, causal: bool) -> None:
        super().__init__()
        sizes = [config.channels, *[config.growth] * (config.num_layers - 1)]
        self.layers = nn.ModuleList(
            nn.ModuleList(
                ComplexConv(size, config.growth, config.kernel, 2**source, causal, not source)
                for source, size in enumerate(sizes[: layer + 1])
            )
            for layer in range(config.num_layers)
        )
        self.norms = nn.ModuleList(ComplexNorm(config.growth) for _ in self.layers)
        self.actives = nn.ModuleList(nn.PReLU(2 * config.growth) for _ in self.layers)

    def forward(self, hidden: Tensor, state: State | None) -> tuple[Tensor, State]:
        """hidden (b, 2 d, f, n) and its state to all layers' outputs (b, 2 layers growth, f, n) and the new
        state."""
        before: State = state or [None] * len(self.layers)
        source, outputs, carried = hidden, [], []
        sums: list[Tensor] = []  # for each layer to come, of what it has seen so far
        for index, (norm, active) in enumerate(zip(self.norms, self.actives, strict=True)):
            convs = self.convs_from(index)
            seen, past = convs[0].past_and(source, before[index])
            carried.append(past)
            parts = together(convs, seen)
            sums = (
                [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
            )
            source = active(norm(sums.pop(0)))
            outputs.append(source)
        return joined(outputs), carried

    def convs_from(self, source: int) -> list[ComplexConv]:
        """Through which the layers see this source: of one dilation, the first layer's first."""
        seeing = [list(layer.children())[source] for layer in list(self.layers)[source:]]
        return [conv for conv in seeing if isinstance(conv, ComplexConv)]


class ComplexConv(nn.Module):
    """Complex convolution in real numbers: (A + i B)(x + i y) = A x - B y + i (A y + B x).

    Bins are padded; frames are by `past_and`, for both ends or, if causal, at the start.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        dilation: int,
        causal: bool,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.dilation, self.reach, self.causal = dilation, (kernel - 1) * dilation, causal
        # Of variance 1 / (inputs kernel^2) for the complex product, shared by the parts.
        scale = (2 * inputs * kernel**2) ** -0.5
        self.real = nn.Parameter(scale * torch.randn(outputs, inputs, kernel, kernel))
        self.imaginary = nn.Parameter(scale * torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(2 * outputs)) if bias else None

    def past_and(self, hidden: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """hidden (b, 2 i, f, n) with the frames around it, and the frames that the next call needs."""
        if not self.causal:
            padded = F.pad(hidden, (self.reach // 2, self.reach // 2))
            return padded, hidden[..., :0]
        if past is None:
            past = hidden.new_zeros(*hidden.shape[:-1], self.reach)
        padded = torch.cat([past, hidden], dim=-1)
        return padded, padded[..., padded.shape[-1] - self.reach :]

    def forward(self, padded: Tensor) -> Tensor:
        """(b, 2 i, f, n + reach) to (b, 2 o, f, n)."""
        return together([self], padded)[0]

    def weight(self) -> Tensor:
        """Of the convolution in real numbers, (2 o, 2 i, kernel, kernel)."""
        real = torch.cat([self.real, -self.imaginary], dim=1)
        return torch.cat([real, torch.cat([self.imaginary, self.real], dim=1)])


def together(convs: list[ComplexConv], padded: Tensor) -> list[Tensor]:
    """Outputs of several convolutions of the same input and dilation, computed as one, which is faster:
    (b, 2 i, f, n + reach) to (b, 2 o, f, n) each."""
    first = convs[0]
    weight = torch.cat([conv.weight() for conv in convs])
    biases: list[Tensor] = [conv.bias for conv in convs if conv.bias is not None]
    outputs = F.conv2d(
        *(padded, weight, torch.cat(biases) if biases else None),
        padding=(first.reach // 2, 0),
        dilation=first.dilation,
    )
    return list(outputs.chunk(len(convs), dim=1))


class ComplexNorm(nn.Module):
    """Divides by the root mean square of the magnitudes over the channels of a bin, times one real gain a
    channel; phases stay."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, 2 d, f, n) to (b, 2 d, f, n)."""
        power = 2 * hidden.square().mean(dim=1, keepdim=True)
        gain = self.gain.repeat(2)[:, None, None]
        return hidden * torch.rsqrt(power + NORM_EPS) * gain


def joined(parts: list[Tensor]) -> Tensor:
    """Complex channels of several tensors (b, 2 d, f, n), real parts before imaginary parts."""
    halves = [part.chunk(2, dim=1) for part in parts]
    return torch.cat([half[0] for half in halves] + [half[1] for half in halves], dim=1)
