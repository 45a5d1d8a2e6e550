"""Parts of causal networks that go on where they stopped: each takes its state and returns the next."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalConv2d(nn.Module):
    """Convolution over bands, both ways, and frames, backwards alone: (b, i, k, n) to (b, o, k, n).

    state: the frames before, (b, i, k, kernel - 1), zeros at the start. kernel is odd.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.past = kernel - 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=(kernel // 2, 0))

    def forward(self, hidden: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        if state is None:
            state = hidden.new_zeros(*hidden.shape[:-1], self.past)
        seen = torch.cat([state, hidden], dim=-1)
        return self.conv(seen), seen[..., seen.shape[-1] - self.past :]


def recent_attention(
    query: Tensor, key: Tensor, value: Tensor, state: tuple[Tensor, Tensor] | None, num_frames: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Attention from each frame to itself and those before, num_frames in all; (..., n, d) each.

    state: keys and values of up to num_frames - 1 frames before.
    """
    if state is not None:
        key, value = torch.cat([state[0], key], dim=-2), torch.cat([state[1], value], dim=-2)
    new, known = query.shape[-2], key.shape[-2]
    ages = torch.arange(known - new, known)[:, None] - torch.arange(known)
    mask = ((ages >= 0) & (ages < num_frames)).to(query.device)
    seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    kept = min(known, num_frames - 1)
    return seen, (key[..., known - kept :, :], value[..., known - kept :, :])
