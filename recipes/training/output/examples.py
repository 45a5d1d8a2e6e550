"""Example outputs of a separator for the trackers: waveforms, spectrograms and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.interface import QueryEncoder
from qsep.separation.interface import MixtureBatch

from ...data.mixtures.interface import Mixtures
from ..query_batch import encode_batch

WINDOW, HOP = 1024, 256
RANGE_DB = 80.0


@dataclass(frozen=True)
class Example:
    """A validation item's first present sound. waveforms: (t,) float32 each, by "mixture", "target" and
    "estimate", at sample_rate in Hz. mask: (f, n), the estimate's magnitude over the mixture's, in [0, 1].
    """

    waveforms: dict[str, NDArray[np.float32]]
    sample_rate: int
    mask: NDArray[np.float32]

    def picture(self) -> NDArray[np.uint8]:
        """Spectrograms in dB of the waveforms, and the mask, side by side: (height, width, 3)."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 3), layout="tight")
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(self.waveforms) + 1, sharey=True)
        levels = {name: level_db(waveform) for name, waveform in self.waveforms.items()}
        loudest = levels["mixture"].max()
        for axis, (name, level) in zip(axes[:-1], levels.items(), strict=True):
            axis.imshow(level, origin="lower", aspect="auto", vmin=loudest - RANGE_DB, vmax=loudest)
            axis.set_title(name)
        axes[-1].imshow(self.mask, origin="lower", aspect="auto", vmin=0, vmax=1)
        axes[-1].set_title("mask")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@torch.no_grad()  # shown, not trained
def separated_examples(
    separator: Any, encoder: QueryEncoder, data: Mixtures, num_items: int
) -> list[Example]:
    """One example of each of the first num_items mixtures that have a present sound."""
    device = next(separator.parameters()).device
    examples: list[Example] = []
    for draw in range(num_items):
        batch: MixtureBatch = data.collate([data[draw]]).to(device)
        queried = [query is not None for query in batch.queries[0]]
        present = [i for i, there in enumerate(queried) if there and batch.sources[0, i].any()]
        if not present:
            continue
        queries = encode_batch(encoder, batch.queries).to(device)
        estimates = separator.separate(batch.mixture, queries).target
        named = {
            "mixture": batch.mixture[0, 0],
            "target": batch.sources[0, present[0], 0],
            "estimate": estimates[0, present[0], 0],
        }
        ratio = magnitude(named["estimate"]) / magnitude(named["mixture"]).clamp(min=1e-8)
        waveforms = {name: waveform.float().cpu().numpy() for name, waveform in named.items()}
        mask = ratio.clamp(max=1).cpu().numpy()
        examples.append(Example(waveforms, batch.sample_rate, mask))
    return examples


def magnitude(waveform: Tensor) -> Tensor:
    """Magnitudes (f, n) of the short-time Fourier transform of a waveform (t,), with a Hann window."""
    window = torch.hann_window(WINDOW, device=waveform.device)
    return torch.stft(
        waveform.float(), WINDOW, HOP, window=window, pad_mode="constant", return_complex=True
    ).abs()


def level_db(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """The level (f, n) in dB of a waveform (t,)."""
    levels: NDArray[np.float32] = (
        20 * magnitude(torch.from_numpy(waveform)).clamp(min=1e-8).log10().numpy()
    )
    return levels
