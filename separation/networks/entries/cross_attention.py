"""Cross-attention from time-frequency positions to the query's tokens (Vaswani et al. 2017, sec. 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration


@configuration
class Config:
    """head_channels: width of a head; must divide the channels of every site."""

    head_channels: int = 16


def build(config: Config, query_dim: int, sites: tuple[int, ...], width: int) -> CrossAttention:
    """Attention for a backbone with these sites. ValueError if a site's channels are no multiple of
    head_channels."""
    return CrossAttention(config.head_channels, query_dim, sites)


class CrossAttention(nn.Module):
    """Attention added at each site. The pooled embedding is one of the tokens, so encoders without
    tokens work too; a learned token gives positions something to attend to that the query does not
    concern. The last layer starts at zero, so a pretrained backbone starts unchanged."""

    late = False

    def __init__(self, head_channels: int, query_dim: int, sites: tuple[int, ...]) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1, 1, query_dim))
        self.sites = nn.ModuleList(Site(head_channels, query_dim, size) for size in sites)

    def inject(self, site: int, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        """hidden (b, d, ...) and queries (b, ...) to (b, d, ...)."""
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
        """Never called, since `late` is False."""
        raise AssertionError("early")


class Site(nn.Module):
    """Multi-head attention at one site of the backbone."""

    def __init__(self, head_channels: int, query_dim: int, size: int) -> None:
        super().__init__()
        if size % head_channels:
            raise ValueError(f"{size} channels are no multiple of head_channels, {head_channels}")
        self.num_heads = size // head_channels
        self.norm = nn.LayerNorm(size)
        self.query, self.out = nn.Linear(size, size), nn.Linear(size, size)
        # No bias for keys: it would add the same to all scores of a position, which softmax ignores.
        self.key, self.value = nn.Linear(query_dim, size, bias=False), nn.Linear(query_dim, size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, hidden: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """hidden (b, d, ...), tokens (b, k, q), mask (b, k) bool to what is added to hidden,
        (b, d, ...)."""
        positions = self.norm(hidden.flatten(2).transpose(1, 2))
        heads, keys, values = (
            rows.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for rows in (self.query(positions), self.key(tokens), self.value(tokens))
        )
        attended = F.scaled_dot_product_attention(
            heads, keys, values, attn_mask=mask[:, None, None]
        )
        added: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return added.transpose(1, 2).unflatten(2, hidden.shape[2:])
