"""Band energies of a spectrogram, and the input planes that band networks derive from them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision

SURROUNDINGS_FRAMES = 75  # each side: energies are taken relative to their mean over these
RELATIVE_FLOOR = 1e-7  # -70 dB: energies farther below their surroundings count as silence


def gather_bands(power: Tensor, bands: Tensor) -> Tensor:
    """Sum over the bins of each band: power (..., f, n) and weights (f, k), see `band_weights`, to
    (..., k, n)."""
    with full_precision(power):
        return (power.transpose(-2, -1) @ bands).transpose(-2, -1)


def with_total(energy: Tensor) -> Tensor:
    """The sum over all bands, then each band: (b, k, n) to (b, 1 + k, n)."""
    return torch.cat([energy.sum(dim=1, keepdim=True), energy], dim=1)


def band_planes(energy: Tensor, means: Tensor | None = None) -> Tensor:
    """Input planes of the band networks: energies (b, k, n) of the mixture to (b, 3, k, n). Independent
    of the mixture's level.

    1. Log energy relative to that of all bands over the surrounding frames. 2. Log energy relative to
    that of the same band over the surrounding frames, which removes the colouration of microphone and
    room. 3. Position of the band, from -1 to 1, which convolutions cannot know.

    means: of `with_total` over the frames that are taken as surrounding; None: of both sides.
    """
    if means is None:
        means = surroundings(with_total(energy))
    # Not added: the exporter of graphs takes "+ 1e-12" for "+ 0" and leaves it out, so that silence is 0 / 0.
    level = means[:, :1].clamp_min(1e-12)
    floor = RELATIVE_FLOOR * level
    overall = torch.log10(energy / level + RELATIVE_FLOOR) / 2 + 2
    contrast = torch.log10((energy + floor) / (means[:, 1:] + floor)) / 2
    position = torch.linspace(-1, 1, energy.shape[1], device=energy.device)
    return torch.stack([overall, contrast, position[:, None].expand_as(energy)], dim=1)


def surroundings(energy: Tensor) -> Tensor:
    """Mean over SURROUNDINGS_FRAMES frames on each side of every frame, fewer at the ends; (b, k, n) to
    (b, k, n)."""
    size = 2 * SURROUNDINGS_FRAMES + 1
    return F.avg_pool1d(energy, size, 1, SURROUNDINGS_FRAMES, count_include_pad=False)
