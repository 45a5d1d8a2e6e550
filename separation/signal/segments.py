"""Long recordings for networks that take a segment at a time: overlapping segments, crossfaded."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def segment_starts(num_frames: int, size: int, step: int) -> list[int]:
    """First frames of segments that cover num_frames >= size: each step, and one that ends at the end."""
    last = num_frames - size
    return [*range(0, last, step), last]


def over_segments(
    frames: Tensor, size: int, step: int, process: Callable[[Tensor], Tensor]
) -> Tensor:
    """Join what `process` makes of each segment: frames (..., n), n >= size, to (..., n).

    process: (..., size) to (..., size), its other dimensions its own. Segments come one at a time, so
    memory does not grow with their number. Where two or more overlap, weights rise and fall linearly
    over size - step frames and sum to one.
    """
    ramp = torch.arange(0.5, size, device=frames.device) / (size - step)
    fade = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
    weight = frames.new_zeros(frames.shape[-1])
    joined: Tensor | None = None
    for start in segment_starts(frames.shape[-1], size, step):
        place = slice(start, start + size)
        part = process(frames[..., place])
        if joined is None:
            joined = part.new_zeros(*part.shape[:-1], frames.shape[-1])
        joined[..., place] += part * fade
        weight[place] += fade
    assert joined is not None
    return joined / weight


def join_overlapping(parts: Iterable[Tensor], overlap: int) -> Tensor:
    """Parts (..., n, k), each beginning `overlap` frames before the one ahead ends, as (..., m, k).

    The overlaps are crossfaded linearly, by weights that sum to one; where two parts agree, so does what
    comes of them. No frame lies under more than two parts: n >= 2 overlap.
    """
    joined: list[Tensor] = []
    for part in parts:
        if joined and overlap:
            tail = joined.pop()
            rise = (torch.arange(overlap, device=part.device) + 0.5)[:, None] / overlap
            joined.append(tail + rise * (part[..., :overlap, :] - tail))
            part = part[..., overlap:, :]
        body = part.shape[-2] - overlap
        joined += [part[..., :body, :], part[..., body:, :]]
    return torch.cat(joined, dim=-2)


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
