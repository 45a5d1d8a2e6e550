"""Networks that see a whole segment at once, over recordings of any length."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def in_segments(run: Callable[[Tensor], Tensor], mixture: Tensor, step: int) -> Tensor:
    """mixture (b, c, t) through run, (b, c, t') to (..., t'), segment by segment: (..., t).

    Segments of two steps begin at each step, the last filled up with zeros, and each fades into the next, so
    that a sample depends on none farther away than a segment. A mixture no longer than one is run as it is.
    """
    num_samples = mixture.shape[-1]
    if num_samples <= 2 * step:
        return run(mixture)
    num_steps = -(-num_samples // step)
    padded = F.pad(mixture, (0, num_steps * step - num_samples))
    rise = (torch.arange(step, device=mixture.device, dtype=mixture.dtype) + 0.5) / step
    done: list[Tensor] = []
    tail: Tensor | None = None
    for start in range(0, (num_steps - 1) * step, step):
        found = run(padded[..., start : start + 2 * step])
        head = found[..., :step]
        done.append(head if tail is None else rise * head + (1 - rise) * tail)
        tail = found[..., step:]
    assert tail is not None
    return torch.cat([*done, tail], dim=-1)[..., :num_samples]
