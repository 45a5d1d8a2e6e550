"""Fourier transforms that checkpoints store as weights, and that are computed here."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


def check_fourier(stored: Tensor | None, window_samples: int, path: Path) -> None:
    """ValueError unless the stored transform is that of a Hann window of window_samples.

    stored: real part of the forward transform, (f, 1, window_samples), as torchlibrosa stores it; None
    if it was left out. The imaginary part and the inverse follow from it.
    """
    if stored is None:
        return
    turns = torch.outer(torch.arange(window_samples // 2 + 1), torch.arange(window_samples))
    angle = 2 * torch.pi / window_samples * (turns % window_samples).double()
    expected = torch.hann_window(window_samples, dtype=torch.float64) * angle.cos()
    if stored[:, 0].shape != expected.shape or (stored[:, 0] - expected).abs().max() > 1e-4:
        raise ValueError(
            f"{path}: its spectrogram is not that of a Hann window {window_samples} samples long"
        )
