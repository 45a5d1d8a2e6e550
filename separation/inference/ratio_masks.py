"""Ratio masks: targets as parts of the mixture, whichever way the estimates were made.

A ratio mask is an estimate's magnitude over the mixture's, at most 1, over all channels together; the target
is the mixture's spectrum times its mask. So the target has the mixture's phase and stereo image, and target
and residual, by the masks m and 1 - m, sum to the mixture.

For generated estimates this is Wisdom et al. (2019), "Differentiable consistency constraints", eq. 7,
weighted by energy, applied to the estimate E and to max(|X| - |E|, 0), both with the mixture's phase: where
the estimate is louder than the mixture X, the residual is zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..signal.stft import istft, stft

MAX_SPECTRA = 8  # of estimates or targets, in memory at once
HOP_SECONDS = 0.02  # half a window; adjusted to fit the separator's stride
# The odds that a bin belongs to neither the target nor a negative. A lower value gives the target more of
# the bins that no estimate covers. Of values from 0.05 to 1, 0.5 is best on average over mixtures of two and
# three sounds in which a query and one or two negatives name all sounds or all but one.
NEITHER = 0.5


@dataclass(frozen=True)
class RatioMasks:
    """Replaces estimates by the masked mixture.

    num_negatives: how many of the estimates, the last ones, are of negatives. exclusive: scale the targets'
    masks so that they sum to at most 1. hop_samples: of the STFT, at the separator's rate; windows are twice
    as long.
    """

    num_negatives: int
    exclusive: bool
    hop_samples: int

    def __call__(self, mixture: Tensor, estimates: Tensor) -> Tensor:
        """mixture: (c, t); estimates: (s + m, c, t). Returns targets (s, c, t)."""
        window, num_samples = 2 * self.hop_samples, mixture.shape[-1]
        spec = stft(mixture, window, self.hop_samples)
        # A few at a time: spectra are larger than waveforms, and masks are not.
        masks = torch.cat(
            [
                ratio_masks(stft(some, window, self.hop_samples), spec)
                for some in estimates.split(MAX_SPECTRA)
            ]
        )
        if self.num_negatives:
            num_targets = len(masks) - self.num_negatives
            masks = without(masks[:num_targets], masks[num_targets:])
        if self.exclusive:
            masks = exclusive_masks(masks)
        targets = [
            istft(some[:, None] * spec, window, self.hop_samples, num_samples)
            for some in masks.split(MAX_SPECTRA)
        ]
        return torch.cat(targets)


def ratio_masks(estimates_spec: Tensor, mixture_spec: Tensor) -> Tensor:
    """(s, c, f, n) and (c, f, n) to (s, f, n) in [0, 1]; 0 where the mixture is silent."""
    magnitude = estimates_spec.abs().square().sum(dim=-3).sqrt()
    whole = mixture_spec.abs().square().sum(dim=-3).sqrt()
    return torch.where(whole > 0, magnitude / whole, 0).clamp(max=1)


def without(masks: Tensor, negatives: Tensor) -> Tensor:
    """Masks (s, f, n) of targets against negatives (m, f, n), all in [0, 1].

    A mask m alone says that a bin is the sound's with odds o = m / (1 - m). If the bin belongs to either the
    target, a negative or neither, the target's mask is o / (NEITHER + o + sum of the negatives' o). A bin
    that only a negative covers is removed entirely; without NEITHER the estimates would have to cover
    everything in the mixture.
    """
    against = NEITHER + odds(negatives).sum(dim=0)
    target_odds = odds(masks)
    return target_odds / (target_odds + against)


def odds(masks: Tensor) -> Tensor:
    """Odds m / (1 - m) of masks in [0, 1], at most 10^4, so that a mask of 1 stays finite."""
    bounded = masks.clamp(max=1 - 1e-4)
    return bounded / (1 - bounded)


def exclusive_masks(masks: Tensor) -> Tensor:
    """Masks (s, f, n) scaled down together wherever they sum to more than 1."""
    return masks / masks.sum(dim=0).clamp_min(1)


def fitting_hop(sample_rate: int, stride_samples: int) -> int:
    """The divisor or multiple of the stride whose ratio to HOP_SECONDS is nearest to 1, in samples.

    Then a chunk that begins at a multiple of both has the same frames as the whole recording.
    """
    ideal = max(1, round(HOP_SECONDS * sample_rate))
    divisors = [hop for hop in range(1, stride_samples + 1) if stride_samples % hop == 0]
    multiples = [stride_samples * times for times in range(1, ideal // stride_samples + 2)]
    return min(divisors + multiples, key=lambda hop: max(hop / ideal, ideal / hop))
