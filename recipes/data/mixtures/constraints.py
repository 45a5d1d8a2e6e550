"""Random constraints for training: a negative query, and the times at which the target is active."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.queries.interface import QueryEmbedding
from qsep.separation.interface import Capabilities, MixtureBatch

PROBABILITY = 0.5  # of each constraint for each query; the network must also work without
BLOCK_SECONDS = 0.05
ACTIVE_DB = -40.0  # relative to a source's loudest block
MARGIN_BLOCKS = 3  # added on each side of activity, since users mark spans generously


def conditioned(
    queries: QueryEmbedding,
    batch: MixtureBatch,
    capabilities: Capabilities,
    generator: torch.Generator,
    probability: float = PROBABILITY,
) -> QueryEmbedding:
    """The queries (b, s, ...) with random constraints of the kinds that the separator accepts.

    probability: of each constraint for each query. For a separator without constraints the queries are
    returned as they are, and no random number is drawn.
    """
    if capabilities.negatives:
        chosen = torch.rand(batch.sources.shape[:2], generator=generator) < probability
        order = torch.rand(*chosen.shape, chosen.shape[1], generator=generator)
        negative = other_queries(queries, batch, order.to(batch.sources.device))
        negative = negative * chosen.to(negative.device)[..., None]
        queries = replace(queries, negative=QueryEmbedding(negative[:, :, None]))
    if capabilities.spans:
        chosen = torch.rand(batch.sources.shape[:2], generator=generator) < probability
        active = activity(batch.sources, batch.sample_rate)
        marked = torch.where(chosen.to(active.device)[..., None], active, 1.0)
        queries = replace(queries, activity=marked)
    return queries


def other_queries(queries: QueryEmbedding, batch: MixtureBatch, order: Tensor) -> Tensor:
    """For each query that of another audible source, as negative: (b, s, d), zeros if there is none.

    order: (b, s, s), random; the audible source with the smallest value is chosen.
    """
    audible = batch.queried() & (batch.sources.abs().amax(dim=(2, 3)) > 0)
    itself = torch.eye(order.shape[1], dtype=torch.bool, device=order.device)
    eligible = audible[:, None] & ~itself
    pick = torch.where(eligible, order, 2.0).argmin(dim=2)
    items = torch.arange(len(pick), device=pick.device)[:, None]
    return queries.pooled[items, pick] * eligible.any(dim=2)[..., None]


def activity(sources: Tensor, sample_rate: int) -> Tensor:
    """Sources (b, s, c, t) to (b, s, t): 1 around activity, else 0; all 1 for a silent source."""
    block = round(BLOCK_SECONDS * sample_rate)
    energy = sources.square().sum(dim=2)
    blocks = F.max_pool1d(energy, block, ceil_mode=True)
    active = (blocks >= 10 ** (ACTIVE_DB / 10) * blocks.amax(dim=2, keepdim=True)).to(sources)
    wide = F.max_pool1d(active, 2 * MARGIN_BLOCKS + 1, 1, MARGIN_BLOCKS)
    return wide.repeat_interleave(block, dim=2)[..., : sources.shape[-1]]
