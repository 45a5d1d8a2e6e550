"""Mixtures whose sounds are cut by workers, and filtered and summed in batches on the training device.

Filters and sums take most of a worker's time; they are Fourier transforms of one size, which suit GPUs.
The items are those that workers mix but for rounding and for the equaliser's curve, which is sampled at the
bins of this size of transform instead of each sound's own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qsep.queries.interface import Query
from qsep.separation.interface import MixtureBatch

from .augment import NUM_POINTS, equalizer_points_hz, fast_length, longest_room
from .classes import ClassMixtures
from .items import Sound, Unmixed
from .mix_and_separate import MixAndSeparate

TINY = 1e-12  # in powers, as in `mix_and_separate.rms`


@dataclass(frozen=True)
class UnmixedBatch:
    """The n sounds of b items with s sources. `to` makes a MixtureBatch of them.

    waveforms: (n, t). sources: (n,), each sound's source, counted through all items. gains: (n,) after
    normalisation to a root mean square of 1; item_gains: (b,). gains_db: (n, NUM_POINTS) of equalisers,
    rooms: (n, k) responses, cutoff_hz: (n,) of low-pass filters, infinite for none. queries, ids: as in
    MixtureBatch.
    """

    waveforms: Tensor
    sources: Tensor
    gains: Tensor
    item_gains: Tensor
    gains_db: Tensor
    rooms: Tensor
    cutoff_hz: Tensor
    queries: list[list[Query | None]]
    sample_rate: int
    ids: list[str]

    def to(self, device: torch.device | str) -> MixtureBatch:
        """The batch with its sounds filtered and summed on the device."""
        sounds = self.waveforms.to(device)
        num_samples = sounds.shape[1]
        size = fast_length(num_samples + longest_room(self.sample_rate))
        spec = torch.fft.rfft(sounds, size)
        spec = spec * self.response(spec.shape[1], device)
        spec = spec * torch.fft.rfft(self.rooms.to(device), size)
        sounds = torch.fft.irfft(spec, size)[:, :num_samples]
        level = (sounds.square().mean(dim=1) + TINY).sqrt()
        sounds = sounds * (self.gains.to(device) / level)[:, None]
        num_items, num_slots = len(self.queries), len(self.queries[0])
        sources = sounds.new_zeros(num_items * num_slots, num_samples)
        sources = sources.index_add(0, self.sources.to(device), sounds)
        sources = sources.view(num_items, num_slots, 1, num_samples)
        sources = sources * self.item_gains.to(device)[:, None, None, None]
        return MixtureBatch(sources.sum(dim=1), sources, self.queries, self.sample_rate, self.ids)

    def response(self, num_bins: int, device: torch.device | str) -> Tensor:
        """The gains of equalisers and low-pass filters: (n, num_bins)."""
        curves_db = self.gains_db.to(device) @ curve_weights(num_bins, self.sample_rate).to(device)
        hz = torch.linspace(0, self.sample_rate / 2, num_bins, device=device)
        ratios = hz / self.cutoff_hz.to(device)[:, None]
        return 10 ** (curves_db / 20) * (1 + ratios**8).rsqrt()  # Butterworth's magnitude, order 4


@functools.lru_cache(maxsize=4)
def curve_weights(num_bins: int, sample_rate: int) -> Tensor:
    """The weight of each of the equaliser's points in each bin, by linear interpolation.

    Returns (NUM_POINTS, num_bins).
    """
    points = np.log(equalizer_points_hz(sample_rate) + 1)
    bins = np.log(np.linspace(0, sample_rate / 2, num_bins) + 1)
    weights = [np.interp(bins, points, unit) for unit in np.eye(NUM_POINTS)]
    return torch.from_numpy(np.array(weights, np.float32))


class UnmixedMixtures(torch.utils.data.Dataset[Unmixed]):
    """The items of `mixtures` for `UnmixedBatch`."""

    def __init__(self, mixtures: ClassMixtures | MixAndSeparate) -> None:
        self.mixtures = mixtures
        self.sample_rate, self.seed = mixtures.sample_rate, mixtures.seed

    def __getitem__(self, draw: int) -> Unmixed:
        return self.mixtures.unmixed(draw)

    def collate(self, items: list[Unmixed]) -> UnmixedBatch:
        """Items as a batch that is not mixed yet."""
        num_slots = len(items[0].queries)
        sounds = [sound for item in items for sound in item.sounds]
        sources = [
            index * num_slots + sound.slot
            for index, item in enumerate(items)
            for sound in item.sounds
        ]
        cutoffs = [sound.filter.cutoff_hz or np.inf for sound in sounds]
        return UnmixedBatch(
            torch.from_numpy(np.stack([sound.waveform for sound in sounds])),
            torch.tensor(sources),
            torch.tensor([sound.gain for sound in sounds], dtype=torch.float32),
            torch.tensor([item.gain for item in items], dtype=torch.float32),
            equalizers(sounds),
            rooms(sounds),
            torch.tensor(cutoffs, dtype=torch.float32),
            [item.queries for item in items],
            self.sample_rate,
            [item.id for item in items],
        )


def equalizers(sounds: list[Sound]) -> Tensor:
    """The equalisers' gains in dB, 0 for none: (n, NUM_POINTS)."""
    flat = np.zeros(NUM_POINTS)
    gains = [flat if each.filter.gains_db is None else each.filter.gains_db for each in sounds]
    return torch.from_numpy(np.array(gains, np.float32))


def rooms(sounds: list[Sound]) -> Tensor:
    """The responses of rooms, followed by zeros, (n, k); the direct sound alone for none."""
    room_responses = [each.filter.room for each in sounds]
    longest = max(1 if room is None else len(room) for room in room_responses)
    responses = torch.zeros(len(sounds), longest)
    for response, room in zip(responses, room_responses, strict=True):
        if room is None:
            response[0] = 1
        else:
            response[: len(room)] = torch.from_numpy(room)
    return responses
