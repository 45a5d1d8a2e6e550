"""Contrastive learning of embeddings that sounds share with words."""

from torch import Tensor


def soft_contrastive_loss(
    first: Tensor, second: Tensor, alike: Tensor, scale: Tensor | float
) -> Tensor:
    """Cross-entropy of each of n items of `first` finding its likes among `second`, and back: (n,).

    first, second: (n, d), unit norm. alike: (n, n), non-negative and symmetric, how much items i and j
    mean the same; each row is normalised to a distribution. scale: inverse temperature.
    With the identity for alike it is the symmetric loss of CLIP (Radford et al. 2021, fig. 3); with more
    positives than one, the L_out of Khosla et al., "Supervised contrastive learning" (2020), eq. 2.
    """
    logits = scale * first @ second.T
    target = alike / alike.sum(dim=1, keepdim=True)
    forwards = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    backwards = -(target * logits.T.log_softmax(dim=1)).sum(dim=1)
    return (forwards + backwards) / 2
