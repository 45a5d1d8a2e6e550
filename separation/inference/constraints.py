"""Separating under constraints: those that a network learned it is told, others are done to its estimates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.interface import Constraints, QueryEmbedding

from ..interface import Separator
from .chunks import Activity
from .ratio_masks import RatioMasks, fitting_hop
from .recording import Pair, separate_stream
from .time_spans import allowed, gains, within_spans


@dataclass(frozen=True)
class Plan:
    """What of the constraints is done where. embedding: as the network is told; rule: of its estimates;
    activity: spans, for networks that learned to be told."""

    embedding: QueryEmbedding
    rule: RatioMasks | None
    activity: Activity | None


def plan(separator: Separator, embedding: QueryEmbedding, constraints: Constraints) -> Plan:
    """embedding: (s + m, ...), of s queries and then of the m negatives.

    In this order: the estimates of a generative separator become shares of the mixture; negatives are
    taken off, unless the network has learned them; targets share what is left, if exclusive; and all is
    silenced outside the spans, also where the network was told of these: see `time_spans`.
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
    if not has_spans(constraints) or not capabilities.spans:
        return Plan(embedding, rule, None)
    intervals = allowed(constraints)

    def activity(start: int, num: int) -> Tensor:
        return torch.from_numpy(gains(intervals, start, num, separator.sample_rate))

    return Plan(embedding, rule, activity)


def has_spans(constraints: Constraints) -> bool:
    """Whether targets may not sound everywhere."""
    return bool(constraints.spans or constraints.not_spans)


def separate_constrained(
    separator: Separator,
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
    embedding: QueryEmbedding,
    constraints: Constraints,
) -> Iterator[Pair]:
    """As `separate_stream`. embedding: (s + m, ...), of s queries and then of the m negatives."""
    doing = plan(separator, embedding, constraints)
    pairs = separate_stream(
        *(separator, blocks, sample_rate, doing.embedding),
        rule=doing.rule,
        activity=doing.activity,
    )
    return within_spans(pairs, constraints, sample_rate) if has_spans(constraints) else pairs


def with_negatives(embedding: QueryEmbedding, num_negatives: int) -> QueryEmbedding:
    """(s + m, ...) to (s, ...), each with the last m as its negatives (s, m, ...)."""
    num = len(embedding.pooled) - num_negatives
    negative = embedding.map(lambda entry: entry[num:].expand(num, *entry[num:].shape))
    return replace(embedding.map(lambda entry: entry[:num]), negative=negative)
