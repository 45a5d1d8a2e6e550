"""Band split and its inverse: bins to bands and back, with a small network for each band.

Luo and Yu, "Music source separation with band-split RNN" (2023), sec. II-A and II-C. Bands may overlap,
as in Wang, Lu and Won, "Mel-band RoFormer for music source separation" (2023), sec. 2. Bands of equal
width are computed together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

EPSILON = 1e-8
NORMS = ("global", "frame", "rms")


class BandNorm(nn.Module):
    """Normalises each band to mean 0 and variance 1, with a learned gain and shift.

    kind: "global" over channels and frames, "frame" over channels, "rms" over channels without removing
    the mean. epsilon: added to the variance. ValueError for other kinds.
    """

    def __init__(self, num_bands: int, channels: int, kind: str, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.epsilon = epsilon
        if kind not in NORMS:
            raise ValueError(f"norm is {kind!r}; expected one of {', '.join(NORMS)}")
        self.kind = kind
        self.gain = nn.Parameter(torch.ones(num_bands, channels, 1))
        self.shift = nn.Parameter(torch.zeros(num_bands, channels, 1)) if kind != "rms" else None

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, k, d, n) to (b, k, d, n)."""
        over = (-2, -1) if self.kind == "global" else (-2,)
        if self.kind != "rms":
            hidden = hidden - hidden.mean(dim=over, keepdim=True)
        power = hidden.square().mean(dim=over, keepdim=True)
        scaled = hidden * torch.rsqrt(power + self.epsilon) * self.gain
        return scaled if self.shift is None else scaled + self.shift


class BandLinear(nn.Module):
    """A linear layer of its own for each band."""

    def __init__(self, num_bands: int, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        bound = num_inputs**-0.5  # the initialisation of nn.Linear
        self.weight = nn.Parameter(torch.empty(num_bands, num_outputs, num_inputs))
        self.bias = nn.Parameter(torch.empty(num_bands, num_outputs, 1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, k, i, n) to (b, k, o, n)."""
        return self.weight @ hidden + self.bias


class Bands(nn.Module):
    """Which bins each band has. Bands of equal width form a group, whose bins are gathered at once.

    bins: indices of each band's bins. ValueError if a bin below num_bins is in no band.
    """

    times: Tensor  # (f, 1), in how many bands each bin is
    grouped: Tensor  # indices of the bands, group after group
    order: Tensor  # position of each band among these

    def __init__(self, bins: Sequence[Sequence[int]], num_bins: int) -> None:
        super().__init__()
        self.num_bins, self.num_bands = num_bins, len(bins)
        times = Counter(number for band in bins for number in band)
        for number in range(num_bins):
            if number not in times:
                raise ValueError(f"bin {number} of {num_bins} is in no band")
        counts = torch.tensor([[float(times[number])] for number in range(num_bins)])
        self.register_buffer("times", counts, persistent=False)
        self.widths = sorted({len(band) for band in bins})
        self.sizes = []
        order: list[int] = []
        for group, width in enumerate(self.widths):
            members = [number for number, band in enumerate(bins) if len(band) == width]
            order += members
            self.sizes.append(len(members))
            index = torch.tensor([list(bins[number]) for number in members])
            self.register_buffer(f"index{group}", index, persistent=False)
        self.register_buffer("grouped", torch.tensor(order), persistent=False)
        inverse = sorted(range(len(order)), key=order.__getitem__)
        self.register_buffer("order", torch.tensor(inverse), persistent=False)

    def groups(self) -> list[tuple[int, int]]:
        """(number of bands, width of a band in bins) of each group."""
        return list(zip(self.sizes, self.widths, strict=True))

    def gather(self, bins: Tensor) -> list[Tensor]:
        """(b, m, f, n) to one tensor (b, g, m w, n) for each group of g bands, w bins wide."""
        by_group = [bins[:, :, index] for index in self.indices()]
        return [part.transpose(1, 2).flatten(2, 3) for part in by_group]

    def in_order(self, groups: list[Tensor]) -> Tensor:
        """One (b, g, d, n) for each group to (b, k, d, n), bands in their given order."""
        return torch.cat(groups, dim=1)[:, self.order]

    def by_group(self, bands: Tensor) -> list[Tensor]:
        """Inverse of `in_order`."""
        return list(bands[:, self.grouped].split(self.sizes, dim=1))

    def scatter(self, groups: list[Tensor]) -> Tensor:
        """One (b, g, m w, n) for each group to (b, m, f, n); a bin in several bands gets the mean of
        their values."""
        first = groups[0]
        num_maps = first.shape[2] // self.widths[0]
        bins = first.new_zeros(len(first), num_maps, self.num_bins, first.shape[-1])
        for index, width, group in zip(self.indices(), self.widths, groups, strict=True):
            parts = group.unflatten(2, (num_maps, width)).transpose(1, 2).flatten(2, 3)
            bins = bins.index_add(2, index.flatten(), parts)
        return bins / self.times

    def indices(self) -> list[Tensor]:
        """For each group (g, w), the bins of its bands."""
        return [self.get_buffer(f"index{group}") for group in range(len(self.widths))]


class BandSplit(nn.Module):
    """Norm and linear layer for each band (sec. II-A). epsilon: of the norm."""

    def __init__(
        self, bands: Bands, num_maps: int, width: int, norm: str, epsilon: float = EPSILON
    ) -> None:
        super().__init__()
        self.bands = bands
        self.norms = nn.ModuleList(
            BandNorm(size, num_maps * bins, norm, epsilon) for size, bins in bands.groups()
        )
        self.maps = nn.ModuleList(
            BandLinear(size, num_maps * bins, width) for size, bins in bands.groups()
        )

    def forward(self, bins: Tensor) -> Tensor:
        """Real (b, m, f, n) to (b, d, k, n)."""
        groups = [
            linear(norm(group))
            for group, norm, linear in zip(
                self.bands.gather(bins), self.norms, self.maps, strict=True
            )
        ]
        return self.bands.in_order(groups).transpose(1, 2)


class GatedMlp(nn.Module):
    """Mask estimation for each band: norm, tanh layer, gated linear unit (sec. II-C).

    norm: a kind of BandNorm, or "none".
    """

    def __init__(
        self, bands: Bands, width: int, num_maps: int, hidden_factor: int, norm: str
    ) -> None:
        super().__init__()
        self.bands = bands
        hidden = hidden_factor * width
        self.norm = nn.Identity() if norm == "none" else BandNorm(bands.num_bands, width, norm)
        self.hidden = BandLinear(bands.num_bands, width, hidden)
        self.outs = nn.ModuleList(
            BandLinear(size, hidden, 2 * num_maps * bins) for size, bins in bands.groups()
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, d, k, n) to (b, m, f, n)."""
        inner = torch.tanh(self.hidden(self.norm(hidden.transpose(1, 2))))
        groups = zip(self.bands.by_group(inner), self.outs, strict=True)
        return self.bands.scatter([nn.functional.glu(out(group), dim=2) for group, out in groups])


class GatedLinear(nn.Module):
    """PReLU and a gated linear unit for each band: Xu et al., "TIGER" (2025), sec. 3.4.

    shares: number of equal parts of the channels, each of which makes an equal part of the maps.
    joined: values and gates are the halves of all parts' outputs together, as in TIGER-DnR's released code,
    not of each part's. ValueError if channels or maps do not divide by shares.
    """

    def __init__(
        self, bands: Bands, width: int, num_maps: int, shares: int, joined: bool = False
    ) -> None:
        super().__init__()
        if width % shares or num_maps % shares:
            raise ValueError(f"{width} channels and {num_maps} maps do not split into {shares}")
        self.bands, self.shares, self.joined = bands, shares, joined
        self.slopes = nn.Parameter(torch.full((bands.num_bands, 1, 1), 0.25))
        self.outs = nn.ModuleList(
            BandLinear(size * shares, width // shares, 2 * num_maps // shares * bins)
            for size, bins in bands.groups()
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, d, k, n) to (b, m, f, n)."""
        by_band = hidden.transpose(1, 2)
        active = torch.where(by_band > 0, by_band, self.slopes * by_band)
        groups = []
        for group, out in zip(self.bands.by_group(active), self.outs, strict=True):
            parts = out(group.unflatten(2, (self.shares, -1)).flatten(1, 2))
            if not self.joined:
                parts = nn.functional.glu(parts, dim=2)
            whole = parts.unflatten(1, (-1, self.shares)).flatten(2, 3)
            groups.append(nn.functional.glu(whole, dim=2) if self.joined else whole)
        return self.bands.scatter(groups)
