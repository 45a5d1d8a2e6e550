"""Self-attention over a feature map, then cross-attention to the tokens of a query, each after a layer
norm."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

MLP_RATIO = 2


class AttentionLayer(nn.Module):
    """Multi-head attention and an MLP, each after a layer norm and with a residual.

    token_dim: width of the tokens attended to, 0 for self-attention. ValueError if num_heads does not
    divide width.
    """

    def __init__(self, width: int, num_heads: int, token_dim: int = 0) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads is {num_heads}; expected a divisor of {width}")
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        if token_dim:
            self.query = nn.Linear(width, width)
            self.key_value = nn.Linear(token_dim, 2 * width)
        else:
            self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, MLP_RATIO * width)
        self.narrow = nn.Linear(MLP_RATIO * width, width)

    def heads(self, projected: Tensor, num_parts: int) -> Tensor:
        """(q, k, parts * heads * d), parts outermost, to (parts, q, heads, k, d)."""
        return projected.unflatten(-1, (num_parts, self.num_heads, -1)).permute(2, 0, 3, 1, 4)

    def forward(
        self, positions: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """positions (q, k, width), tokens (q, l, token_dim) with mask (q, l) bool, True for real tokens;
        to (q, k, width)."""
        normed = self.norm(positions)
        if tokens is None:
            query, key, value = self.heads(self.query_key_value(normed), 3)
        else:
            (query,) = self.heads(self.query(normed), 1)
            key, value = self.heads(self.key_value(tokens), 2)
        allowed = None if mask is None else mask[:, None, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        positions = positions + self.out(attended.transpose(1, 2).flatten(2))
        return positions + self.narrow(F.gelu(self.widen(self.mlp_norm(positions))))


class QueryAttention(nn.Module):
    """Self-attention, then attention to the query's tokens."""

    def __init__(self, width: int, num_heads: int, token_dim: int) -> None:
        super().__init__()
        self.itself = AttentionLayer(width, num_heads)
        self.words = AttentionLayer(width, num_heads, token_dim)

    def forward(self, features: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """features (q, width, h, w), tokens (q, l, token_dim) with mask (q, l) bool to
        (q, width, h, w)."""
        positions = self.itself(features.flatten(2).transpose(1, 2))
        positions = self.words(positions, tokens, mask)
        return positions.transpose(1, 2).unflatten(2, features.shape[-2:])
