"""Three losses for learning to separate single sounds from captioned mixtures.

Mahmud et al., "Weakly-supervised audio separation via bi-modal semantic similarity" (2024), sec. 3. The
network separates mixtures of mixtures. Each mixture is known as audio and named by its caption; its
parts are known by the phrases of the caption only. Magnitudes are linear.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qsep.queries.settings import configuration

from .contrastive import one_way_contrastive_loss
from .mask_bce import loudness_weight

NEVER_ALIKE = 2.0  # more than any cosine


@configuration
class WeakSupervisionConfig:
    """separation, consistency, agreement: weights of the three losses. The latter two, which concern
    parts, rise from 0 at warmup_steps to their weights over ramp_steps. alike_cosine: phrases whose
    embeddings have at least this cosine are not used as each other's negatives; more than 1, as
    published, uses even identical phrases as negatives."""

    separation: float = 5.0
    consistency: float = 5.0
    agreement: float = 0.5
    warmup_steps: int = 0
    ramp_steps: int = 0
    alike_cosine: float = NEVER_ALIKE

    def ramp(self, step: int) -> float:
        """Factor of the parts' losses at a training step, in [0, 1]."""
        if step < self.warmup_steps:
            return 0.0
        return min(1.0, (step - self.warmup_steps) / self.ramp_steps) if self.ramp_steps else 1.0


def weighted_l1(estimate: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over bins of weight |estimate - target|: (..., f, n) to (...)."""
    return (weight * (estimate - target).abs()).mean(dim=(-2, -1))


def mix_and_separate(
    estimates: Tensor, sources: Tensor, mixture_mag: Tensor, known: Tensor
) -> Tensor:
    """Weighted L1 distances of estimates from the sources that were mixed, summed over the known ones:
    (b,).

    estimates, sources: magnitudes (b, s, f, n); mixture_mag: (b, f, n), whose louder bins count more;
    known: (b, s) bool.
    """
    distance = weighted_l1(estimates, sources, loudness_weight(mixture_mag)[:, None])
    return torch.where(known, distance, 0).sum(dim=1)


def consistency(parts: Tensor, share: Tensor, wholes: Tensor) -> Tensor:
    """Distances of the sums of parts from the mixtures they are parts of, summed over those: (b,).

    parts: magnitudes (b, p, f, n); share: (b, p, s), weight of a part in a mixture, 0 where it is no
    part of it; wholes: magnitudes (b, s, f, n), whose louder bins count more. A mixture without parts
    costs nothing.
    """
    sums = torch.einsum("bps,bpfn->bsfn", share, parts)
    distance = weighted_l1(sums, wholes, loudness_weight(wholes))
    return torch.where((share > 0).any(dim=1), distance, 0).sum(dim=1)


def agreement(
    sounds: Tensor, phrases: Tensor, scale: float, alike_cosine: float = NEVER_ALIKE
) -> Tensor:
    """Contrastive loss of separated sounds against the phrases of the batch: (r,).

    sounds, phrases: (r, d), unit norm, from a frozen joint encoder of sound and text; scale: its
    inverse temperature. Cross-entropy in the direction from sound to text only. alike_cosine: see
    WeakSupervisionConfig.
    """
    alike = (phrases @ phrases.T >= alike_cosine).to(sounds)
    alike = alike.fill_diagonal_(1.0)
    return one_way_contrastive_loss(sounds, phrases, alike, scale)
