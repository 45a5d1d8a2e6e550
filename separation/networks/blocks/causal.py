"""Causal layers for streaming: each takes the state of the last block and returns the next."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalConv2d(nn.Module):
    """Convolution over bands, centred, and frames, causal. kernel: odd.

    state: the kernel - 1 frames before, (b, i, k, kernel - 1); zeros at the start of a stream.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.past = kernel - 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=(kernel // 2, 0))

    def forward(self, hidden: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """hidden (b, i, k, n) and state to (b, o, k, n) and the next state."""
        if state is None:
            state = hidden.new_zeros(*hidden.shape[:-1], self.past)
        padded = torch.cat([state, hidden], dim=-1)
        return self.conv(padded), padded[..., padded.shape[-1] - self.past :]


def recent_attention(
    query: Tensor, key: Tensor, value: Tensor, state: tuple[Tensor, Tensor] | None, num_frames: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Attention of each frame to the last num_frames frames, itself included: (..., n, d) each, to
    (..., n, d).

    state: keys and values of up to num_frames - 1 earlier frames, None at the start of a stream; the
    next is returned too.
    """
    if state is not None:
        key, value = torch.cat([state[0], key], dim=-2), torch.cat([state[1], value], dim=-2)
    new, total = query.shape[-2], key.shape[-2]
    ages = torch.arange(total - new, total)[:, None] - torch.arange(total)
    mask = ((ages >= 0) & (ages < num_frames)).to(query.device)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    remembered = min(total, num_frames - 1)
    return attended, (key[..., total - remembered :, :], value[..., total - remembered :, :])
