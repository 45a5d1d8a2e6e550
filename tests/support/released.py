"""Shared by tests of checkpoints that others released."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command import Run, record
from torch import Tensor

from qsep.separation.published.reader import load_published

Change = Callable[[dict[str, Any]], Any]
Release = Callable[..., Path]


def stored_transforms(window_samples: int) -> dict[str, Tensor]:
    """A Fourier transform under a Hann window as checkpoints keep it: (f, 1, window_samples) kernels."""
    num_bins = window_samples // 2 + 1
    angle = 2 * np.pi * np.outer(np.arange(num_bins), np.arange(window_samples)) / window_samples
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_samples) / window_samples)
    stored = {
        "stft.conv_real.weight": (window * np.cos(angle))[:, None],
        "stft.conv_imag.weight": (-window * np.sin(angle))[:, None],
        "istft.conv_real.weight": np.ones((window_samples, window_samples, 1)),
        "istft.conv_imag.weight": np.ones((window_samples, window_samples, 1)),
        "istft.ola_window": window**2,
    }
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in stored.items()}


def check_the_command_line(qsep: Run, released: Path, folder: Path) -> None:
    """The command converts a checkpoint, and the folder that it makes separates as the checkpoint does."""
    recording = record(folder / "in.wav")
    done = qsep("models", "convert", released, "-o", folder / "ours")
    assert (done.code, done.out) == (0, f"checkpoint: {folder / 'ours'}\n"), done.err
    for model, out in ((released, "direct"), (folder / "ours", "folder")):
        done = qsep("separate", recording, "-q", "rain", "-m", model, "-o", folder / out)
        assert done.code == 0, done.err
    direct, converted = (
        soundfile.read(folder / out / "in.rain.wav")[0] for out in ("direct", "folder")
    )
    # The query's network may sum in another order if its weights are elsewhere in memory.
    np.testing.assert_allclose(converted, direct, rtol=0, atol=2 / 32768)
    assert np.abs(direct).max() > 1e-3


def check_refusal(released: Path, reason: str) -> None:
    """The checkpoint is refused in one line, which names the reason."""
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        load_published(released)
    assert reason in str(caught.value)
