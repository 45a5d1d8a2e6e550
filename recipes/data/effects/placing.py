"""The sources of a mixture in one room."""

from __future__ import annotations

import numpy as np

from ..mixtures.augment import fast_length
from .config import RoomConfig
from .motion import moved
from .rooms import Room, random_position, random_room, room_response


def placed(
    sources: np.ndarray, config: RoomConfig, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """The sources (s, t) as the microphone of a random room hears them: (s, t) float32.

    Each is relative to its own direct sound, so levels and onsets remain about the same.
    """
    room = random_room(config, rng)
    seconds = sources.shape[1] / sample_rate
    received = []
    for source in sources:
        position = random_position(room, config.distance_meters, rng)
        if rng.random() < config.moving_probability:
            end = destination(room, position, seconds * rng.uniform(*config.speed_mps), rng)
            middle = (position + end) / 2
            late = room_response(room, middle, sample_rate, rng, min_order=2)
            late *= np.float32(room.distance(position) / room.distance(middle))
            direct = moved(source, room, position, end, sample_rate)
            received.append(direct + convolved(source, late))
        else:
            received.append(convolved(source, room_response(room, position, sample_rate, rng)))
    return np.stack(received)


def destination(
    room: Room, start: np.ndarray, meters: float, rng: np.random.Generator
) -> np.ndarray:
    """The end, (3,), of a path of this length from start; nearer if the room is too small.

    It stays at its height and does not leave the room.
    """
    goal = rng.uniform(0, room.size)
    goal[2] = start[2]
    way = goal - start
    distance = float(np.linalg.norm(way))
    return start + way * min(1.0, meters / max(distance, 1e-9))


def convolved(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The first t samples of the waveform (t,) convolved with the response (k,): (t,) float32."""
    from scipy.fft import irfft, rfft

    size = fast_length(len(waveform) + len(response) - 1)
    spec = rfft(waveform.astype(np.float32, copy=False), size)
    spec *= rfft(response, size)
    filtered: np.ndarray = irfft(spec, size)[: len(waveform)]
    return filtered
