"""The targets of a chunk part by part, so that hundreds of queries take the memory of a few."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..interface import Separator
from .memory import MAX_CHANNELS, groups, in_groups, limits_of

PART_VALUES = 1 << 22  # queries times channels times samples of the targets in memory at once


def estimates(
    separator: Separator, mixture: Tensor, queries: QueryEmbedding, kept: slice
) -> Callable[[slice], Tensor]:
    """A function from samples, by start and stop, to their targets (s, c, t').

    mixture: (c, t); queries: (s, ...). kept: the samples that will be asked for. Separators with the
    capability `analyses` analyse the mixture here and make targets when asked; others make all of them here.
    Raises ValueError if the separator takes another number of channels.
    """
    if not separator.capabilities.analyses:
        all_targets = in_groups(separator, mixture, queries, kept)
        return lambda part: all_targets[..., part.start - kept.start : part.stop - kept.start]
    analyses = [
        separator.analysed(mixture[None, channels])
        for channels in groups(len(mixture), MAX_CHANNELS)
    ]
    num_queries, queries = len(queries.pooled), queries.to(mixture.device)
    query_groups = [
        queries.map(lambda entry, chosen=chosen: entry[None, chosen])  # type: ignore[misc]
        for chosen in groups(num_queries, limits_of(separator).rows or num_queries)
    ]

    def targets(part: slice) -> Tensor:
        return torch.cat(
            [
                torch.cat([analysis.targets(some, part)[0] for analysis in analyses], dim=1)
                for some in query_groups
            ]
        )

    return targets
