"""Constrained separation: constraints that the network learned are passed to it, others applied after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.constraints import Constraints
from qsep.queries.interface import QueryEmbedding

from ..interface import Separator
from .aligned import Pair
from .chunks import Activity, geometry
from .ratio_masks import RatioMasks, fitting_hop
from .recording import separate_stream
from .time_spans import allowed, gains, within_spans


@dataclass(frozen=True)
class Plan:
    """Which constraints the network handles and which are applied to its estimates.

    embedding: (s, ...) with the learned negatives, or (s + m, ...) for the rule. rule: ratio masks applied to
    the estimates, or None. activity: spans, for networks that learned them, or None.
    """

    embedding: QueryEmbedding
    rule: RatioMasks | None
    activity: Activity | None


def plan(separator: Separator, embedding: QueryEmbedding, constraints: Constraints) -> Plan:
    """How the constraints are met. embedding: (s + m, ...), of s queries and then m negatives.

    Applied in this order: estimates of a generative separator become ratio masks, if consistent; negatives
    are removed from the masks, unless the network has learned negatives; masks are made exclusive; targets
    are silenced outside the spans, even if the network has learned spans: see `time_spans`.
    Raises ValueError if the spans leave no time.
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
    """Whether targets are limited to parts of the recording."""
    return bool(constraints.spans or constraints.not_spans)


def separate_constrained(
    separator: Separator,
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
    embedding: QueryEmbedding,
    constraints: Constraints,
    chunk_seconds: float | None = None,
    num_known: int = 0,
) -> Iterator[Pair]:
    """As `separate_stream`, under constraints. embedding: (s + m, ...), of s queries and then m negatives.

    chunk_seconds: length of the chunks; by default see `geometry`. num_known: see `RecordingStream`.
    Raises ValueError for spans that leave no time or, at the end, lie outside the recording.
    """
    planned = plan(separator, embedding, constraints)
    cut = None if chunk_seconds is None else geometry(separator, chunk_seconds, planned.rule)
    pairs = separate_stream(
        *(separator, blocks, sample_rate, planned.embedding, cut),
        rule=planned.rule,
        activity=planned.activity,
        num_known=num_known,
    )
    return within_spans(pairs, constraints, sample_rate) if has_spans(constraints) else pairs


def with_negatives(embedding: QueryEmbedding, num_negatives: int) -> QueryEmbedding:
    """Embedding (s + m, ...) to (s, ...) whose `negative` (s, m, ...) is the last m for each query."""
    num = len(embedding.pooled) - num_negatives
    negative = embedding.map(lambda entry: entry[num:].expand(num, *entry[num:].shape))
    return replace(embedding.map(lambda entry: entry[:num]), negative=negative)
