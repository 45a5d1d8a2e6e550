"""What separators that read constraints learn from: a sound of the mixture that is not wanted, and the time
in which the one asked for is."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.queries.interface import QueryEmbedding
from qsep.separation.interface import Capabilities, MixtureBatch

PROBABILITY = 0.5  # of each, for each query: without one the network has to do too
BLOCK_SECONDS = 0.05
ACTIVE_DB = -40.0  # relative to a source's loudest block
MARGIN_BLOCKS = 3  # on each side of where it is active: people mark more than there is


def conditioned(
    queries: QueryEmbedding,
    batch: MixtureBatch,
    capabilities: Capabilities,
    generator: torch.Generator,
    probability: float = PROBABILITY,
) -> QueryEmbedding:
    """The queries (b, s, ...) with the constraints that the separator reads.

    Where that is nothing, nothing is drawn.
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
        told = torch.where(chosen.to(active.device)[..., None], active, 1.0)
        queries = replace(queries, activity=told)
    return queries


def other_queries(queries: QueryEmbedding, batch: MixtureBatch, order: Tensor) -> Tensor:
    """Of each query that of another source that sounds, the first by order (b, s, s): (b, s, d). Zeros where
    there is none."""
    sounding = batch.queried() & (batch.sources.abs().amax(dim=(2, 3)) > 0)
    itself = torch.eye(order.shape[1], dtype=torch.bool, device=order.device)
    eligible = sounding[:, None] & ~itself
    pick = torch.where(eligible, order, 2.0).argmin(dim=2)
    items = torch.arange(len(pick), device=pick.device)[:, None]
    return queries.pooled[items, pick] * eligible.any(dim=2)[..., None]


def activity(sources: Tensor, sample_rate: int) -> Tensor:
    """(b, s, c, t) to (b, s, t): 1 around where a source sounds, else 0; all 1 if it never does."""
    block = round(BLOCK_SECONDS * sample_rate)
    energy = sources.square().sum(dim=2)
    blocks = F.max_pool1d(energy, block, ceil_mode=True)
    active = (blocks >= 10 ** (ACTIVE_DB / 10) * blocks.amax(dim=2, keepdim=True)).to(sources)
    wide = F.max_pool1d(active, 2 * MARGIN_BLOCKS + 1, 1, MARGIN_BLOCKS)
    return wide.repeat_interleave(block, dim=2)[..., : sources.shape[-1]]
