"""Contrastive losses for a joint embedding of sounds and words."""

from torch import Tensor


def one_way_contrastive_loss(
    first: Tensor, second: Tensor, alike: Tensor, scale: Tensor | float
) -> Tensor:
    """Cross-entropy of each item of `first` against all of `second`, (n,).

    first, second: (n, d), unit norm. alike: (n, n), non-negative, how much items i and j mean the same;
    each row is normalised to a target distribution. scale: inverse temperature.
    """
    return soft_cross_entropy(scale * first @ second.T, alike)


def soft_cross_entropy(logits: Tensor, alike: Tensor) -> Tensor:
    """Cross-entropy of each row of logits (n, m) with its row of alike, normalised to sum to 1: (n,).

    alike: (n, m), non-negative, no row all zero.
    """
    target = alike / alike.sum(dim=1, keepdim=True)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1)


def soft_contrastive_loss(
    first: Tensor, second: Tensor, alike: Tensor, scale: Tensor | float
) -> Tensor:
    """Mean of `one_way_contrastive_loss` in both directions; alike is symmetric.

    With alike = identity this is CLIP's symmetric loss (Radford et al. 2021, fig. 3); with several
    positives the L_out of Khosla et al., "Supervised contrastive learning" (2020), eq. 2.
    """
    forwards = one_way_contrastive_loss(first, second, alike, scale)
    return (forwards + one_way_contrastive_loss(second, first, alike, scale)) / 2
