"""Binary cross-entropy of masks against ideal ones, louder bins counting more.

Magnitudes are those of the domain in which masks are learned (CLIPSep: logarithmic rows).
Zhao et al., "The sound of pixels" (2018), sec. 3.4; Dong et al., "CLIPSep" (2023), sec. 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.queries.settings import configuration

MIN_WEIGHT, MAX_WEIGHT = 1e-3, 10.0


@configuration
class MaskTargetConfig:
    """kind: "binary" or "ratio" masks to learn; weighted: whether loud bins count more."""

    kind: str = "binary"
    weighted: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("binary", "ratio"):
            raise ValueError(f"target.kind is {self.kind!r}; expected 'binary' or 'ratio'")


def mask_targets(
    mixture_mag: Tensor, source_mags: Tensor, config: MaskTargetConfig
) -> tuple[Tensor, Tensor]:
    """Ideal masks (b, s, k, n) in [0, 1], and the weights of their bins (b, k, n)."""
    make = binary_masks if config.kind == "binary" else ratio_masks
    weight = loudness_weight(mixture_mag) if config.weighted else torch.ones_like(mixture_mag)
    return make(mixture_mag, source_mags), weight


def binary_masks(mixture_mag: Tensor, source_mags: Tensor) -> Tensor:
    """1 where a source has over half of the mixture's magnitude: (b, k, n), (b, s, k, n) to the latter.

    Half for any number of sources, so that no, one or several may claim a bin.
    """
    return (source_mags > 0.5 * mixture_mag[:, None]).to(source_mags)


def ratio_masks(mixture_mag: Tensor, source_mags: Tensor) -> Tensor:
    """Each source's share of the sum of magnitudes: (b, s, k, n), summing to one where any sounds.

    The published code divides by the sum over the batch instead, by mistake. Silent bins get 0.
    """
    total = source_mags.sum(dim=1, keepdim=True)
    return source_mags / total.clamp_min(torch.finfo(total.dtype).tiny)


def loudness_weight(mixture_mag: Tensor) -> Tensor:
    """log(1 + magnitude), within limits; same shape. Not normalised: it presumes waveforms in [-1, 1]
    and an STFT that sums without scaling."""
    return mixture_mag.log1p().clamp(MIN_WEIGHT, MAX_WEIGHT)


def logit_bce(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over bins: logits, target (..., k, n), weight broadcast to them, to (...)."""
    with torch.autocast(logits.device.type, enabled=False):
        bce = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
        return (bce * weight).mean(dim=(-2, -1))


def mask_bce(mask: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The same for masks in [0, 1]; a bin that is wholly wrong costs 100 times its weight, not inf."""
    with torch.autocast(mask.device.type, enabled=False):
        bce = F.binary_cross_entropy(mask.float(), target, reduction="none")
        return (bce * weight).mean(dim=(-2, -1))
