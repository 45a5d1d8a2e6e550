"""Cnn14_DecisionLevelMax of PANNs (Kong et al. 2020, arXiv 1912.10211, sec. III): sound event detection.

Layers and names are those of Cnn14 with other weights: it classifies every step of 0.32 s and takes the
maximum, whereas the tagger pools features and classifies once. USS cuts its training data where this
detector's probability of a clip's label is highest (Kong et al. 2023, arXiv 2305.07447).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .cnn14 import HOP_SAMPLES, MIN_SAMPLES, SAMPLE_RATE, Cnn14, load_cnn14

# Before the names of its weights in a checkpoint of USS.
IN_USS = "anchor_segment_detector.sed_model."
STEP_FRAMES = 32  # five poolings
FRAME_RATE = SAMPLE_RATE // HOP_SAMPLES
ANCHOR_FRAMES = 2 * FRAME_RATE  # of an anchor segment, and of the smoothing, which takes one more
# What it is trained on; longer recordings are processed in such pieces.
PIECE_SAMPLES = 10 * SAMPLE_RATE


def load_detector(path: Path) -> Cnn14:
    """The detector with PANNs' weights (Cnn14_DecisionLevelMax_mAP=0.385.pth) or those in a USS checkpoint.

    A file does not show whether its weights are the detector's or the tagger's: names and shapes are equal.
    """
    return load_cnn14(path, IN_USS)


def framewise(detector: Cnn14, waveform: Tensor) -> Tensor:
    """(b, t) at SAMPLE_RATE, t >= MIN_SAMPLES, in [-1, 1], to the probability of each class at each frame
    (b, n, 527), n = 1 + t // HOP_SAMPLES. The clip's is the maximum over frames."""
    steps = detector.frames(waveform)
    nearby = F.max_pool1d(steps, 3, 1, 1) + F.avg_pool1d(steps, 3, 1, 1)
    hidden = F.relu(detector.fc1(nearby.transpose(1, 2)))
    probabilities = detector.fc_audioset(hidden).sigmoid().repeat_interleave(STEP_FRAMES, dim=1)
    missing = 1 + waveform.shape[-1] // HOP_SAMPLES - probabilities.shape[1]
    return torch.cat([probabilities, probabilities[:, -1:].expand(-1, missing, -1)], dim=1)


@torch.inference_mode()
def activity(detector: Cnn14, waveform: Tensor) -> Tensor:
    """Probabilities (n, 527), 100 frames a second, for a recording (t,), t >= 1; n as for `framewise`."""
    pieces = list(waveform.split(PIECE_SAMPLES))
    if len(pieces) > 1 and len(pieces[-1]) < MIN_SAMPLES:
        pieces[-2:] = [torch.cat(pieces[-2:])]
    num_frames = [len(piece) // HOP_SAMPLES for piece in pieces]
    num_frames[-1] += 1
    probabilities = [
        framewise(detector, F.pad(piece, (0, max(0, MIN_SAMPLES - len(piece))))[None])[0, :num]
        for piece, num in zip(pieces, num_frames, strict=True)
    ]
    return torch.cat(probabilities)


def anchor_start(probabilities: Tensor) -> int:
    """First frame of the two seconds with the highest mean probability of one class, (n,).

    Beyond its ends the recording counts as constant; the segment lies within it, or starts at 0 if it is
    shorter.
    """
    half = ANCHOR_FRAMES // 2
    padded = F.pad(probabilities[None, None], (half, half), mode="replicate")
    centre = int(F.avg_pool1d(padded, ANCHOR_FRAMES + 1, 1)[0, 0].argmax())
    last = len(probabilities) - 1 - half  # 900 of ten seconds' 1001 frames, as in USS
    return max(0, min(max(centre, half), last) - half)
