"""Separating under constraints: those that a network learned it is told, others are done to its estimates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.interface import Constraints, QueryEmbedding

from ..interface import Separator
from .chunks import separate_stream
from .ratio_masks import RatioMasks, fitting_hop
from .time_spans import allowed, gains, within_spans


def separate_constrained(
    separator: Separator,
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
    embedding: QueryEmbedding,
    constraints: Constraints,
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]:
    """As `separate_stream`. embedding: (s + m, ...), of s queries and then of the m negatives.

    In this order: the estimates of a generative separator become shares of the mixture; negatives are
    taken off, unless the network has learned them; targets share what is left, if exclusive; and all is
    silenced outside the spans, also where the network was told of these.
    """
    num_negatives = len(constraints.negatives)
    capabilities = separator.capabilities
    if num_negatives and capabilities.negatives:
        embedding, num_negatives = with_negatives(embedding, num_negatives), 0
    rule = None
    consistent = constraints.consistent and capabilities.generative
    if num_negatives or constraints.exclusive or consistent:
        hop = fitting_hop(separator.sample_rate, separator.stride_samples)
        rule = RatioMasks(num_negatives, constraints.exclusive, hop)
    if not constraints.spans and not constraints.not_spans:
        return separate_stream(separator, blocks, sample_rate, embedding, rule=rule)
    intervals = allowed(constraints)
    device = next(separator.parameters()).device  # type: ignore[attr-defined]

    def activity(start: int, num: int) -> Tensor:
        return torch.from_numpy(gains(intervals, start, num, separator.sample_rate)).to(device)

    pairs = separate_stream(
        *(separator, blocks, sample_rate, embedding),
        rule=rule,
        activity=activity if capabilities.spans else None,
    )
    return within_spans(pairs, constraints, sample_rate)


def with_negatives(embedding: QueryEmbedding, num_negatives: int) -> QueryEmbedding:
    """(s + m, ...) to (s, ...), each with the last m as its negatives (s, m, ...)."""
    num = len(embedding.pooled) - num_negatives
    negative = embedding.map(lambda entry: entry[num:].expand(num, *entry[num:].shape))
    return replace(embedding.map(lambda entry: entry[:num]), negative=negative)
