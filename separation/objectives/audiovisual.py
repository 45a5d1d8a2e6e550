"""What unifies localisation, separation and recognition: sounds and pictures as vectors of one space.

Mo and Morgado, "A unified audio-visual learning framework for localization, separation, and recognition"
(2023, arXiv 2305.19458), has three objectives: correspondence of sounds and places, separation, alignment
with mixed pictures. Separation is the loss of masks in `mask_bce.py`. Here are the contrastive terms, each
the cross-entropy of a softmax over the batch; v are vectors of patches or of pictures, a those of sounds,
all of unit norm, V pictures as bags of patches:

    s(a, V)      = max over v in V of <a, v>
    localisation = - log softmax_j s(a_i, V_j) / tau at j = i, and the same over the sounds for picture V_i
    alignment    = - log softmax_j s(a_i, M_j) / tau at j = the mixture of a_i, and over the sounds for M_j
    recognition  = - log softmax_j <a_i, v_j> / tau at j = i, in both directions, v_j of a picture as a whole

The maximum makes localisation multiple-instance learning: Mo and Morgado, "Localizing visual sounds the easy
way" (2022). M is the mean of the pictures of a mixture's sounds, pixel by pixel: the patches of each have to
remain themselves under the other picture. Recognition has no term in the paper, which reads the learned
features afterwards; with one, sounds and whole pictures can be compared directly.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from qsep.queries.settings import Range, configuration

from .contrastive import soft_contrastive_loss, soft_cross_entropy


@configuration
class AudioVisualConfig:
    """Weights of the terms beside separation, whose weight is 1; they begin at the logarithm of the number of
    sounds in a batch, separation at some tenths. temperature: tau."""

    localisation_weight: float = 0.1
    alignment_weight: float = 0.1
    recognition_weight: float = 0.1
    temperature: Annotated[float, Range(0, 100, above=True)] = 0.07


def bag_similarity(sounds: Tensor, bags: Tensor, mask: Tensor) -> Tensor:
    """The similarity of each sound to the nearest vector of each bag: (n, m) in [-1, 1].

    sounds: (n, d); bags: (m, k, d), all of unit norm. mask: (m, k) bool, False for padding; no row all False.
    """
    similarity = torch.einsum("nd,mkd->nmk", sounds, bags)
    return similarity.masked_fill(~mask, -torch.inf).amax(dim=-1)


def localisation(sounds: Tensor, bags: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Cost of each sound and its picture, mean of both directions: (n,).

    sounds: (n, d); bags: (n, k, d), mask: (n, k), as of `bag_similarity`, of the pictures in the same order.
    """
    logits = bag_similarity(sounds, bags, mask) / temperature
    matching = torch.eye(len(logits), device=logits.device)
    return (soft_cross_entropy(logits, matching) + soft_cross_entropy(logits.T, matching)) / 2


def alignment(
    sounds: Tensor, bags: Tensor, mask: Tensor, contains: Tensor, temperature: float
) -> Tensor:
    """Cost of each sound and the mixed picture of its mixture, mean of both directions: (n,).

    bags: (m, k, d), mask: (m, k), as of `bag_similarity`, of the mixed pictures. contains: (n, m) bool, True
    where sound and picture are of one mixture: one picture for each sound, one or more sounds for a picture,
    each of which bears the picture's cost.
    """
    logits = bag_similarity(sounds, bags, mask) / temperature
    contains = contains.to(logits)
    to_pictures = soft_cross_entropy(logits, contains)
    to_sounds = soft_cross_entropy(logits.T, contains.T)
    return (to_pictures + contains @ to_sounds) / 2


def recognition(sounds: Tensor, pictures: Tensor, temperature: float) -> Tensor:
    """Cost of each sound and its picture as a whole, mean of both directions: (n,). Both (n, d)."""
    matching = torch.eye(len(sounds), device=sounds.device)
    return soft_contrastive_loss(sounds, pictures, matching, 1 / temperature)
