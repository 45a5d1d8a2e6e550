"""Cnn14, an audio tagger trained on AudioSet (Kong et al. 2020, "PANNs", arXiv 1912.10211).

Parts are named as in the authors' checkpoints. Spectra are laid out (b, c, n, k) as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from ..files.weights import load_weights, read_state_dict

SAMPLE_RATE = 32000
NUM_CLASSES = 527
WIDTH = 2048  # of the embedding
WINDOW_SAMPLES, HOP_SAMPLES = 1024, 320
NUM_BANDS, LOWEST_HZ, HIGHEST_HZ = 64, 50.0, 14000.0
MIN_SAMPLES = 32 * HOP_SAMPLES  # five poolings halve the frames
IN_USS = "query_net.base."  # before the names of its weights in a checkpoint of USS
FRONT_END = ("spectrogram_extractor.", "logmel_extractor.")  # stored there, computed here


def load_cnn14(path: Path, prefix: str = IN_USS) -> Cnn14:
    """Cnn14 with PANNs' released weights, or those in a checkpoint of USS, whose names begin with `prefix`.

    Loaded strictly, frozen, in evaluation mode. Raises ValueError if they do not fit.
    """
    weights = read_state_dict(path)
    in_uss = {
        key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)
    }
    weights = in_uss or weights
    network = Cnn14(widths(weights, path))
    check_front_end(weights, network, path)
    used = {key: value for key, value in weights.items() if not key.startswith(FRONT_END)}
    load_weights(network, used, str(path))
    return network.eval().requires_grad_(False)


def widths(weights: Mapping[str, Tensor], path: Path) -> tuple[int, ...]:
    """Channels of the six blocks; ValueError for variants with fewer, as Cnn10, which pool differently."""
    names = [f"conv_block{block}.conv2.weight" for block in range(1, 7)]
    missing = [name for name in names if name not in weights]
    if missing:
        raise ValueError(f"{path}: not the weights of Cnn14: {missing[0]} is missing")
    return tuple(len(weights[name]) for name in names)


def check_front_end(weights: Mapping[str, Tensor], network: Cnn14, path: Path) -> None:
    """Raise ValueError if the stored spectrogram differs from the one computed here.

    PANNs released variants of Cnn14 at other sample rates, whose remaining weights would fit.
    """
    window = weights.get("spectrogram_extractor.stft.conv_real.weight")
    mel = weights.get("logmel_extractor.melW")
    if window is not None and window.shape[-1] != WINDOW_SAMPLES:
        raise ValueError(f"{path}: made for windows of {window.shape[-1]} samples, not of 1024")
    if mel is not None and (
        mel.shape != network.mel.shape or (mel - network.mel).abs().max() > 1e-4
    ):
        raise ValueError(f"{path}: its mel bands are not those of Cnn14 at 32 kHz")


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norms and ReLU."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.bn2 = nn.BatchNorm2d(num_out)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, num_in, n, k) to (b, num_out, n, k); pooling follows outside."""
        hidden = F.relu(self.bn1(self.conv1(hidden)))
        return F.relu(self.bn2(self.conv2(hidden)))


class Cnn14(nn.Module):
    """Cnn14 for inference, without dropout. channels: of the blocks; the last is the embedding's width."""

    mel: Tensor
    window: Tensor
    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        channels: tuple[int, ...] = (64, 128, 256, 512, 1024, WIDTH),
    ) -> None:
        super().__init__()
        mel = torchaudio.functional.melscale_fbanks(
            WINDOW_SAMPLES // 2 + 1,
            LOWEST_HZ,
            HIGHEST_HZ,
            NUM_BANDS,
            SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("mel", mel, persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)
        self.bn0 = nn.BatchNorm2d(NUM_BANDS)
        self.num_blocks = len(channels)
        for block, (num_in, num_out) in enumerate(pairwise((1, *channels)), 1):
            self.add_module(f"conv_block{block}", ConvBlock(num_in, num_out))
        self.fc1 = nn.Linear(channels[-1], channels[-1])
        self.fc_audioset = nn.Linear(channels[-1], NUM_CLASSES)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """(b, t) at SAMPLE_RATE, t >= MIN_SAMPLES, to dB (b, n, k), n = 1 + t // HOP_SAMPLES."""
        spec = torch.stft(
            waveform,
            WINDOW_SAMPLES,
            HOP_SAMPLES,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = torch.view_as_real(spec).square().sum(dim=-1).transpose(1, 2)
        return 10 * (power @ self.mel).clamp_min(1e-10).log10()

    def frames(self, waveform: Tensor) -> Tensor:
        """Audio (b, t) to the last block's output, averaged over frequency: (b, WIDTH, n // 32)."""
        log_mel = self.log_mel(waveform)
        hidden = self.bn0(log_mel.transpose(1, 2)[..., None]).permute(0, 3, 2, 1)
        for block in range(1, self.num_blocks + 1):
            hidden = self.get_submodule(f"conv_block{block}")(hidden)
            if block < self.num_blocks:
                hidden = F.avg_pool2d(hidden, 2)
        return hidden.mean(dim=3)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """(b, t) at SAMPLE_RATE, t >= MIN_SAMPLES, in [-1, 1]. Returns the embedding
        (b, WIDTH), not negative, and the probability of each class (b, NUM_CLASSES)."""
        frames = self.frames(waveform)
        pooled = frames.amax(dim=2) + frames.mean(dim=2)
        embedding = F.relu(self.fc1(pooled))
        return embedding, self.fc_audioset(embedding).sigmoid()

    def tagged(self, waveform: Tensor) -> Tensor:
        """As `Tagger.tagged`."""
        probabilities: Tensor = self(waveform)[1]
        return probabilities
