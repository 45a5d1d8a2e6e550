"""What several estimates get of one mixture: rules on their shares of each time-frequency bin.

A share is an estimate's magnitude over the mixture's, at most 1, over all channels together; the target is
the mixture's spectrum times its share. So whatever made the estimate, the target has the mixture's phase
and place, and target and residual, share and 1 - share of one spectrum, sum to the mixture.

Shares of a generated estimate are Wisdom et al. (2019), "Differentiable consistency constraints", eq. 7,
weighted by energy, for the estimate and max(|X| - |E|, 0), both with the mixture's phase: where the
estimate is too large the rest is nothing, and all of the misfit is taken off the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..signal.stft import istft, stft

HOP_SECONDS = 0.02  # of windows twice as long, or the nearest that fits the separator's stride
# The odds that a bin holds neither the target nor a negative, where both could as well be there. Lower
# shares out more of what nobody claims. Of 1 to 0.05, 0.5 is the best in the mean of mixtures of two
# sounds and of three, of which a query and one or two negatives name all or leave one out.
NEITHER = 0.5


@dataclass(frozen=True)
class SharingRule:
    """num_negatives: so many of the estimates are of sounds that are not wanted; they come last.
    exclusive: shares of the targets sum to 1 at most. hop_samples: at the separator's rate."""

    num_negatives: int
    exclusive: bool
    hop_samples: int

    def __call__(self, mixture: Tensor, estimates: Tensor) -> Tensor:
        """mixture: (c, t); estimates: (s + m, c, t). Returns targets (s, c, t)."""
        window = 2 * self.hop_samples
        spec = stft(mixture, window, self.hop_samples)
        share = shares(stft(estimates, window, self.hop_samples), spec)
        if self.num_negatives:
            num_targets = len(share) - self.num_negatives
            share = without(share[:num_targets], share[num_targets:])
        if self.exclusive:
            share = shared_out(share)
        return istft(share[:, None] * spec, window, self.hop_samples, mixture.shape[-1])


def shares(estimates_spec: Tensor, mixture_spec: Tensor) -> Tensor:
    """(s, c, f, n) and (c, f, n) to (s, f, n) in [0, 1]; 0 where the mixture is silent."""
    magnitude = estimates_spec.abs().square().sum(dim=-3).sqrt()
    whole = mixture_spec.abs().square().sum(dim=-3).sqrt()
    return torch.where(whole > 0, magnitude / whole, 0).clamp(max=1)


def without(share: Tensor, negatives: Tensor) -> Tensor:
    """Shares (s, f, n) of targets, each beside negatives (m, f, n), all in [0, 1].

    Each estimate was made as if alone: with odds o = m / (1 - m), a bin is the sound's or not. If it is
    either the target's, a negative's or neither's, the target's share is o / (NEITHER + o + sum of the
    negatives' o). Nothing of a bin that is a negative's alone is left; without NEITHER the estimates would
    have to name everything there is.
    """
    against = NEITHER + odds(negatives).sum(dim=0)
    own = odds(share)
    return own / (own + against)


def odds(share: Tensor) -> Tensor:
    """In [0, 10^4]: 40 dB under the mixture is as sure as it gets."""
    bounded = share.clamp(max=1 - 1e-4)
    return bounded / (1 - bounded)


def shared_out(share: Tensor) -> Tensor:
    """Shares (s, f, n) that sum to 1 at most: scaled down together where they sum to more."""
    return share / share.sum(dim=0).clamp_min(1)


def fitting_hop(sample_rate: int, stride_samples: int) -> int:
    """Of the divisors and multiples of a stride, the nearest to HOP_SECONDS in proportion; then frames of
    a recording and of a part of it that begins at a multiple of both are the same frames."""
    wanted = max(1, round(HOP_SECONDS * sample_rate))
    divisors = [hop for hop in range(1, stride_samples + 1) if stride_samples % hop == 0]
    multiples = [stride_samples * times for times in range(1, wanted // stride_samples + 2)]
    return min(divisors + multiples, key=lambda hop: max(hop / wanted, wanted / hop))
