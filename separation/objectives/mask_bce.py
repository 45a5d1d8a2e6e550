"""Binary cross-entropy between masks and ideal masks, with louder bins weighted more.

Magnitudes are those of the domain in which masks are learned (CLIPSep: log-frequency rows). Zhao
et al., "The sound of pixels" (2018), sec. 3.4; Dong et al., "CLIPSep" (2023), sec. 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.queries.settings import configuration

MIN_WEIGHT, MAX_WEIGHT = 1e-3, 10.0


@configuration
class MaskTargetConfig:
    """kind: "binary" or "ratio" masks as targets; weighted: whether louder bins have more weight."""

    kind: str = "binary"
    weighted: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("binary", "ratio"):
            raise ValueError(f"target.kind is {self.kind!r}; expected 'binary' or 'ratio'")


def mask_targets(
    mixture_mag: Tensor, source_mags: Tensor, config: MaskTargetConfig
) -> tuple[Tensor, Tensor]:
    """Ideal masks (b, s, k, n) in [0, 1] and weights of the bins (b, k, n), from mixture (b, k, n) and
    sources (b, s, k, n)."""
    ideal_masks = binary_masks if config.kind == "binary" else ratio_masks
    weight = loudness_weight(mixture_mag) if config.weighted else torch.ones_like(mixture_mag)
    return ideal_masks(mixture_mag, source_mags), weight


def binary_masks(mixture_mag: Tensor, source_mags: Tensor) -> Tensor:
    """1 where a source has more than half of the mixture's magnitude: (b, k, n), (b, s, k, n) to
    (b, s, k, n).

    Half whatever the number of sources, so that a bin may belong to none, one or several.
    """
    return (source_mags > 0.5 * mixture_mag[:, None]).to(source_mags)


def ratio_masks(mixture_mag: Tensor, source_mags: Tensor) -> Tensor:
    """Each source's share of the sum of the sources' magnitudes, 0 in silent bins: (b, s, k, n).

    The published code divides by the sum over the batch, which looks like an oversight; this does not.
    """
    total = source_mags.sum(dim=1, keepdim=True)
    return source_mags / total.clamp_min(torch.finfo(total.dtype).tiny)


def loudness_weight(mixture_mag: Tensor) -> Tensor:
    """log(1 + magnitude), clamped to [MIN_WEIGHT, MAX_WEIGHT]; same shape.

    Not normalised: assumes waveforms in [-1, 1] and an STFT without scaling.
    """
    return mixture_mag.log1p().clamp(MIN_WEIGHT, MAX_WEIGHT)


def logit_bce(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over bins: logits, target (..., k, n), weight broadcast to them; to (...)."""
    with torch.autocast(logits.device.type, enabled=False):
        bce = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
        return (bce * weight).mean(dim=(-2, -1))


def mask_bce(mask: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """`logit_bce` for masks in [0, 1]; a completely wrong bin costs 100 times its weight, not infinity."""
    with torch.autocast(mask.device.type, enabled=False):
        bce = F.binary_cross_entropy(mask.float(), target, reduction="none")
        return (bce * weight).mean(dim=(-2, -1))
