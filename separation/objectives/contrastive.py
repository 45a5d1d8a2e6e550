"""Contrastive learning of embeddings that sounds share with words."""

from torch import Tensor


def one_way_contrastive_loss(
    first: Tensor, second: Tensor, alike: Tensor, scale: Tensor | float
) -> Tensor:
    """Cross-entropy of each of n items of `first` finding its likes among `second`: (n,).

    first, second: (n, d), unit norm. alike: (n, n), non-negative, how much items i and j mean the same;
    each row is normalised to a distribution. scale: inverse temperature.
    """
    target = alike / alike.sum(dim=1, keepdim=True)
    return -(target * (scale * first @ second.T).log_softmax(dim=1)).sum(dim=1)


def soft_contrastive_loss(
    first: Tensor, second: Tensor, alike: Tensor, scale: Tensor | float
) -> Tensor:
    """`one_way_contrastive_loss`, mean of both ways; alike is symmetric.

    With the identity for alike it is the symmetric loss of CLIP (Radford et al. 2021, fig. 3); with more
    positives than one, the L_out of Khosla et al., "Supervised contrastive learning" (2020), eq. 2.
    """
    forwards = one_way_contrastive_loss(first, second, alike, scale)
    return (forwards + one_way_contrastive_loss(second, first, alike, scale)) / 2
