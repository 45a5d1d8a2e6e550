"""The targets of a chunk part by part, so that hundreds of queries take the memory of a few."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

import torch
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..interface import Separator
from .memory import MAX_CHANNELS, groups, in_groups, limits_of

PART_VALUES = 1 << 22  # queries times channels times samples of the targets in memory at once
PASS_VALUES = 1 << 20  # the same of the targets that are made in one pass: their spectra are larger


def estimates(
    separator: Separator, mixture: Tensor, queries: QueryEmbedding, kept: slice
) -> Callable[[slice], Tensor]:
    """A function from samples, by start and stop, to their targets (s, c, t').

    mixture: (c, t); queries: (s, ...). kept: the samples that will be requested. Separators with the
    capability `analyses` analyse the mixture now and make targets on request; others make all targets now.
    Raises ValueError if the separator takes another number of channels.
    """
    if not separator.capabilities.analyses:
        all_targets = in_groups(separator, mixture, queries, kept)
        return lambda part: all_targets[..., part.start - kept.start : part.stop - kept.start]
    analyses = [
        separator.analysed(mixture[None, channels])
        for channels in groups(len(mixture), MAX_CHANNELS)
    ]
    queries = queries.to(mixture.device)

    def targets(part: slice) -> Tensor:
        most = PASS_VALUES // (len(mixture) * (part.stop - part.start))
        size = limits_of(separator).rows or max(1, most)
        targets_of_groups = []
        for chosen in groups(len(queries.pooled), size):
            some = queries.map(itemgetter((None, chosen)))
            channels = [analysis.targets(some, part)[0] for analysis in analyses]
            targets_of_groups.append(torch.cat(channels, dim=1))
        return torch.cat(targets_of_groups)

    return targets
