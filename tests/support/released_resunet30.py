"""Small checkpoints of AudioSep, USS and the DCASE 2024 baseline in their authors' format."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from released import Change, Release
from tiny import StubConfig, StubEncoder, tiny_separator, tiny_tagger
from torch import Tensor

from qsep.queries.interface import QueryEncoder
from qsep.separation.published.converters.resunet30 import published_modules

WINDOW, BINS = 1024, 513  # of the baseline: 16 kHz
CHANNELS = [2, 3, 4, 5, 6, 6]


@pytest.fixture(autouse=True)
def stub_clap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stub 512 wide where a checkpoint asks for CLAP; other encoders are the real ones."""
    from qsep.separation.components import build_encoder
    from qsep.separation.published import reader
    from qsep.separation.storage import checkpoint, config

    def stubbed(kind: str, settings: dict[str, Any]) -> QueryEncoder:
        if kind == "clap":
            return StubEncoder(StubConfig(dim=512))
        return build_encoder(kind, settings)

    for module in (checkpoint, config, reader):
        monkeypatch.setattr(module, "build_encoder", stubbed)


@cache
def original(query_dim: int = 527) -> Any:
    """A separator as the release would be converted to, with random weights."""
    return tiny_separator(
        "resunet30",
        query_dim=query_dim,
        channels=CHANNELS,
        sample_rate=16000,
        window_samples=WINDOW,
        hop_samples=160,
    )


@cache
def transforms() -> dict[str, Tensor]:
    """As the authors store them: of the forward one the real and imaginary rows, and more."""
    angle = 2 * np.pi * np.outer(np.arange(WINDOW), np.arange(WINDOW)) / WINDOW
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    forward = window * np.exp(-1j * angle)
    inverse = window[:, None] * np.exp(1j * angle) / WINDOW
    stored = {
        "base.stft.conv_real.weight": forward.real[:BINS, None],
        "base.stft.conv_imag.weight": forward.imag[:BINS, None],
        "base.istft.conv_real.weight": inverse.real[..., None],
        "base.istft.conv_imag.weight": inverse.imag[..., None],
        "base.istft.ola_window": window**2,
    }
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in stored.items()}


def released(separator: Any) -> dict[str, Tensor]:
    """Its weights under the authors' keys, with those that they have and never use."""
    theirs = {ours: theirs for theirs, ours in published_modules().items() if ours}
    weights = {**transforms()}
    for key, value in separator.state_dict().items():
        module, _, name = key.rpartition(".")
        weights[f"{theirs[module]}.{name}"] = value
    for number, width in enumerate((6, 6, 6, 5, 4, 3), 1):
        for name in ("weight", "bias", "running_mean", "running_var"):
            weights[f"base.decoder_block{number}.bn2.{name}"] = torch.ones(width)
        weights[f"base.decoder_block{number}.bn2.num_batches_tracked"] = torch.tensor(5)
        film = f"film.decoder_block{number}->beta2"
        weights[f"{film}.weight"] = torch.ones(width, separator.query_dim)
        weights[f"{film}.bias"] = torch.ones(width)
    return {f"ss_model.{key}": value.clone() for key, value in weights.items()}


def uss() -> dict[str, Tensor]:
    """Separator, query net and event detector, as USS keeps them in one file."""
    net = tiny_tagger()
    held = net.state_dict() | {
        "spectrogram_extractor.stft.conv_real.weight": torch.ones(513, 1, 1024),
        "spectrogram_extractor.stft.conv_imag.weight": torch.ones(513, 1, 1024),
        "logmel_extractor.melW": net.mel,
    }
    weights = released(original())
    for prefix in ("query_net.base.", "anchor_segment_detector.sed_model."):
        weights |= {prefix + key: value for key, value in held.items()}
    return weights


def audiosep() -> dict[str, Tensor]:
    return released(original(512)) | {"query_encoder.model.logit_scale_a": torch.tensor(3.0)}


@pytest.fixture(name="release")
def releaser(tmp_path: Path) -> Release:
    """Writes a Lightning checkpoint with what else such files hold; returns its path."""

    def write(weights: dict[str, Tensor] | None = None, change: Change | None = None) -> Path:
        content = uss() if weights is None else weights
        if change:
            change(content)
        envelope = {
            "epoch": 3,
            "global_step": 1_000_000,
            "pytorch-lightning_version": "1.9.1",
            "state_dict": content,
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {},
            "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}],
            "lr_schedulers": [{"base_lrs": [0.001], "last_epoch": 5, "lr_lambdas": [None]}],
        }
        torch.save(envelope, tmp_path / "released.ckpt")
        return tmp_path / "released.ckpt"

    return write
