"""Attention from places of the spectrum to tokens of the query (Vaswani et al. 2017, sec. 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration


@configuration
class Config:
    """head_channels: width of a head; a site's channels must be a multiple of it."""

    head_channels: int = 16


def build(config: Config, query_dim: int, sites: tuple[int, ...], width: int) -> CrossAttention:
    return CrossAttention(config.head_channels, query_dim, sites)


class CrossAttention(nn.Module):
    """Added at each site. The pooled embedding is a token too, so queries without tokens are read as well,
    and a learned one is there for places that look for nothing. The last layer starts at zero, so a trained
    backbone starts unchanged."""

    late = False

    def __init__(self, head_channels: int, query_dim: int, sites: tuple[int, ...]) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1, 1, query_dim))
        self.sites = nn.ModuleList(Site(head_channels, query_dim, size) for size in sites)

    def inject(self, site: int, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        pooled = query.pooled[:, None]
        tokens = torch.cat([self.nothing.expand_as(pooled), pooled], dim=1)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        if query.tokens is not None:
            real = query.token_mask
            if real is None:
                real = torch.ones_like(query.tokens[..., 0], dtype=torch.bool)
            tokens, mask = torch.cat([tokens, query.tokens], dim=1), torch.cat([mask, real], dim=1)
        added: Tensor = self.sites[site](hidden, tokens, mask)
        return hidden + added

    def fuse(self, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        raise AssertionError("early")


class Site(nn.Module):
    """hidden (b, d, ...), tokens (b, k, q), mask (b, k) bool to what is added, (b, d, ...)."""

    def __init__(self, head_channels: int, query_dim: int, size: int) -> None:
        super().__init__()
        if size % head_channels:
            raise ValueError(f"{size} channels are no multiple of head_channels, {head_channels}")
        self.num_heads = size // head_channels
        self.norm = nn.LayerNorm(size)
        self.query, self.out = nn.Linear(size, size), nn.Linear(size, size)
        # A bias of keys would add the same to all scores of a place: softmax does not see it.
        self.key, self.value = nn.Linear(query_dim, size, bias=False), nn.Linear(query_dim, size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        places = self.norm(hidden.flatten(2).transpose(1, 2))
        asked, keys, values = (
            rows.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for rows in (self.query(places), self.key(tokens), self.value(tokens))
        )
        seen = F.scaled_dot_product_attention(asked, keys, values, attn_mask=mask[:, None, None])
        added: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return added.transpose(1, 2).unflatten(2, hidden.shape[2:])
