"""Long recordings for networks that take a segment at a time: overlapping segments, crossfaded."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

OVERLAP = 1 / 4  # of neighbouring segments of frames


class SegmentGeometry(NamedTuple):
    """How a recording is cut for a network of spectra of one length, and how far an output sample sees."""

    segment_samples: int
    step_frames: int
    stride_samples: int
    context_samples: int


def segment_geometry(segment_frames: int, window_samples: int, hop_samples: int) -> SegmentGeometry:
    """For segments that overlap by OVERLAP, of an STFT with these windows.

    A sample is covered by frames up to half a window away; their segments reach segment_frames - 1 frames
    farther, and the last of those sees half a window more.
    """
    step_frames = segment_frames - int(OVERLAP * segment_frames)
    reach_samples = (segment_frames - 1) * hop_samples
    return SegmentGeometry(
        segment_frames * hop_samples - 1,
        step_frames,
        step_frames * hop_samples,
        reach_samples + window_samples,
    )


def segment_starts(num_frames: int, size: int, step: int) -> list[int]:
    """First frames of segments that cover num_frames >= size: every `step` frames, and one segment that
    ends at the end."""
    last = num_frames - size
    return [*range(0, last, step), last]


def over_segments(
    frames: Tensor, size: int, step: int, process: Callable[[Tensor], Tensor]
) -> Tensor:
    """Applies `process` to overlapping segments and crossfades the results: frames (..., n), n >= size,
    to (..., n).

    process: (..., size) to (..., size); the leading dimensions of the result may differ. Segments are
    processed one at a time, so memory does not grow with their number. Where segments overlap, weights
    rise and fall linearly over size - step frames and sum to one.
    """
    ramp = torch.arange(0.5, size, device=frames.device) / (size - step)
    fade = torch.minimum(ramp, ramp.flip(0)).clamp(max=1)
    weight = frames.new_zeros(frames.shape[-1])
    joined: Tensor | None = None
    for start in segment_starts(frames.shape[-1], size, step):
        segment = slice(start, start + size)
        part = process(frames[..., segment])
        if joined is None:
            joined = part.new_zeros(*part.shape[:-1], frames.shape[-1])
        joined[..., segment] += part * fade
        weight[segment] += fade
    assert joined is not None
    return joined / weight


def join_overlapping(parts: Iterable[Tensor], overlap: int) -> Tensor:
    """Joins parts (..., n, k), each of which starts `overlap` frames before the one ahead ends, to
    (..., m, k).

    Overlaps are crossfaded linearly, with weights that sum to one. No frame may be covered by more than
    two parts: n >= 2 overlap.
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
    """Applies `run` to overlapping segments of a mixture and crossfades the results: (b, c, t) to
    (..., t).

    run: (b, c, t') to (..., t'). Segments of two steps start at every step, the last padded with zeros,
    and each fades into the next, so that an output sample depends on no input farther away than a
    segment. A mixture of at most one segment is passed to `run` as it is.
    """
    num_samples = mixture.shape[-1]
    if num_samples <= 2 * step:
        return run(mixture)
    num_steps = -(-num_samples // step)
    padded = F.pad(mixture, (0, num_steps * step - num_samples))
    rise = (torch.arange(step, device=mixture.device, dtype=mixture.dtype) + 0.5) / step
    joined: list[Tensor] = []
    tail: Tensor | None = None
    for start in range(0, (num_steps - 1) * step, step):
        output = run(padded[..., start : start + 2 * step])
        head = output[..., :step]
        joined.append(head if tail is None else rise * head + (1 - rise) * tail)
        tail = output[..., step:]
    assert tail is not None
    return torch.cat([*joined, tail], dim=-1)[..., :num_samples]
