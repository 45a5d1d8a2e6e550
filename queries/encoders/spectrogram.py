"""The power spectrogram of an example, for separators that listen to it with a network of their own.

No weights: what the example says is learned with the separator, which can be as particular as one voice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..interface import (
    AudioQuery,
    Query,
    QueryEmbedding,
    QueryEncoder,
    check_readable,
    unreadable,
)
from ..media import read_recording
from ..settings import configuration

MAX_SECONDS = 20.0  # of an example
FLOOR = 1e-10  # of power: -100 dB of full scale


@configuration
class Config:
    """sample_rate in Hz; window_samples: even; frames are half a window apart."""

    sample_rate: int = 16000
    window_samples: int = 640

    def __post_init__(self) -> None:
        if self.window_samples < 2 or self.window_samples % 2:
            raise ValueError(f"window_samples is {self.window_samples}; expected an even number")


def build(config: Config) -> Spectrogram:
    """See `Spectrogram`."""
    return Spectrogram(config)


class Spectrogram(QueryEncoder):
    """Tokens: a frame each, natural logarithms of the power in each bin, at least log FLOOR; of several
    examples one after another. Pooled: their mean, the long-term average spectrum."""

    modalities: frozenset[type[Query]] = frozenset({AudioQuery})

    def __init__(self, config: Config) -> None:
        self.config = config
        self.dim = self.token_dim = config.window_samples // 2 + 1
        self.fingerprint = f"spectrogram-{config.sample_rate}-{config.window_samples}"

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`."""
        check_readable(self, queries)
        tokens = [self.frames(query) for query in queries]
        if not tokens:
            return QueryEmbedding(torch.zeros(0, self.dim))
        lengths = torch.tensor([len(frames) for frames in tokens])
        pooled = torch.stack([frames.mean(dim=0) for frames in tokens])
        padded = pad_sequence(tokens, batch_first=True)
        return QueryEmbedding(pooled, padded, torch.arange(padded.shape[1]) < lengths[:, None])

    def frames(self, query: Query) -> Tensor:
        """The tokens (k, dim) of one query."""
        if not isinstance(query, AudioQuery):
            raise unreadable(self, query)
        rate = self.config.sample_rate
        examples = [
            self.log_power(torch.from_numpy(read_recording(example, rate, MAX_SECONDS)))
            for example in query.examples
        ]
        return torch.cat(examples)

    def log_power(self, waveform: Tensor) -> Tensor:
        """(t,), t >= 1, to (n, dim): n = 1 + t // hop frames, centred on multiples of the hop."""
        window_samples = self.config.window_samples
        spec = torch.stft(
            waveform,
            window_samples,
            window_samples // 2,
            window=torch.hann_window(window_samples).sqrt(),
            pad_mode="constant",
            return_complex=True,
        )
        power: Tensor = torch.view_as_real(spec).square().sum(dim=-1) / window_samples
        return power.clamp_min(FLOOR).log().mT.contiguous()
