"""BSRNN: recurrent layers alternately along the frames of each band and along the bands of each frame.

Luo and Yu, "Music source separation with band-split RNN", TASLP 2023 (arXiv 2209.15174), sec. II-B.
Causal as in Yu and Luo, "Efficient monaural speech enhancement with universal sample rate band-split
RNN", ICASSP 2023, sec. 2: the LSTM along time is unidirectional, and norms use one frame at a time.
Goes with `analyses/bands.py` and any head.
"""

from __future__ import annotations

from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..composition import Inject, State


@configuration
class Config:
    """num_layers: pairs of LSTMs. hidden_factor: width of an LSTM's state, over that of the features."""

    num_layers: int = 12
    hidden_factor: int = 2


def build(config: Config, channels: int, num_bands: int, num_maps: int, causal: bool) -> Bsrnn:
    """The backbone for features of `channels` channels, as many as come out."""
    return Bsrnn(config, channels, causal)


class Bsrnn(nn.Module):
    """Keeps the shape (b, d, k, n); the query conditions the input of each pair (sec. II-B)."""

    complete = False

    def __init__(self, config: Config, channels: int, causal: bool) -> None:
        super().__init__()
        self.width, self.sites = channels, (channels,) * config.num_layers
        hidden = config.hidden_factor * channels
        self.along_frames = nn.ModuleList(
            Recurrent(channels, hidden, not causal, causal) for _ in self.sites
        )
        self.along_bands = nn.ModuleList(
            Recurrent(channels, hidden, True, causal) for _ in self.sites
        )

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, d, k, n) to (b, d, k, n)."""
        return self.step(features, inject, None)[0]

    def step(self, features: Tensor, inject: Inject, state: State | None) -> tuple[Tensor, State]:
        """The next frames (b, d, k, n) from the state of the last call, None at the start; to their
        output and the new state. Only if built causal does the state make up for frames before."""
        hidden, carried = features, []
        for layer, (frames, bands) in enumerate(
            zip(self.along_frames, self.along_bands, strict=True)
        ):
            hidden, last = frames(inject(layer, hidden), state[layer] if state else None)
            carried.append(last)
            hidden = bands(hidden.transpose(2, 3), None)[0].transpose(2, 3)
        return hidden, carried


class Recurrent(nn.Module):
    """Norm, LSTM, linear layer and residual along the last axis of (b, d, m, l).

    frame_norm: normalise over d at each position, otherwise over d and l.
    """

    def __init__(self, channels: int, hidden: int, both_ways: bool, frame_norm: bool) -> None:
        super().__init__()
        self.frame_norm = frame_norm
        self.norm = nn.LayerNorm(channels) if frame_norm else nn.GroupNorm(1, channels)
        self.lstm = nn.LSTM(channels, hidden, batch_first=True, bidirectional=both_ways)
        self.out = nn.Linear(hidden * (1 + both_ways), channels)

    def forward(
        self, hidden: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """hidden (b, d, m, l) and the LSTM's state to the same shape and the LSTM's last state."""
        num, _, others, _ = hidden.shape
        if self.frame_norm:
            rows = self.norm(hidden.permute(0, 2, 3, 1)).flatten(0, 1)
        else:
            # Statistics of each band, or of each frame, separately.
            rows = self.norm(hidden.transpose(1, 2).flatten(0, 1)).transpose(1, 2)
        states, state = self.lstm(rows, state)
        added = self.out(states).unflatten(0, (num, others)).permute(0, 3, 1, 2)
        assert state is not None
        return hidden + added, state
