"""The sources of a mixture in one room, or in the open, at one or several microphones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from qsep.separation.signal.arrays import plane_wave

from ..mixtures.augment import fast_length
from .config import ArrayConfig, RoomConfig
from .motion import moved
from .rooms import MARGIN_METERS, TRIES, Room, random_position, random_room, room_response


def placed(
    sources: np.ndarray,
    config: RoomConfig,
    sample_rate: int,
    rng: np.random.Generator,
    array: ArrayConfig | None = None,
) -> np.ndarray:
    """The sources (s, t) as the m microphones of a random room hear them: (s, m, t) float32.

    Each is relative to its own direct sound at the microphone that it reaches first, so levels and onsets
    remain about the same.
    """
    room = random_room(config, rng)
    rooms = [replace(room, listener=listener) for listener in microphones(room, array, rng)]
    seconds = sources.shape[1] / sample_rate
    received = []
    for source in sources:
        position = random_position(room, config.distance_meters, rng)
        direct = min(heard.distance(position) for heard in rooms)
        if rng.random() < config.moving_probability:
            end = destination(room, position, seconds * rng.uniform(*config.speed_mps), rng)
            middle = (position + end) / 2
            channels = []
            for heard in rooms:
                near = min(other.distance(middle) for other in rooms)
                late = room_response(heard, middle, sample_rate, rng, min_order=2, direct=near)
                late *= np.float32(direct / near)
                path = moved(source, heard, position, end, sample_rate, direct)
                channels.append(path + convolved(source, late))
        else:
            channels = [
                convolved(source, room_response(heard, position, sample_rate, rng, direct=direct))
                for heard in rooms
            ]
        received.append(np.stack(channels))
    return np.stack(received)


def microphones(room: Room, array: ArrayConfig | None, rng: np.random.Generator) -> np.ndarray:
    """Positions of the microphones, (m, 3): the room's, and others in a horizontal line from it."""
    if array is None or array.num_microphones == 1:
        return room.listener[None]
    spacing = rng.uniform(*array.spacing_meters)
    steps = spacing * np.arange(array.num_microphones)[:, None]
    for _ in range(TRIES):
        angle = rng.uniform(0, 2 * math.pi)
        places = room.listener + steps * np.array([math.cos(angle), math.sin(angle), 0])
        if np.all((places >= MARGIN_METERS) & (places <= room.size - MARGIN_METERS)):
            return places
    raise ValueError(
        f"a line of {steps[-1, 0]:.2f} m of microphones is too long for a room of "
        f"{room.size[0]:.1f} by {room.size[1]:.1f} m: set mix.array.spacing_meters"
    )


def in_the_open(
    sources: np.ndarray, array: ArrayConfig, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """The sources (s, t) as plane waves, each from a random side, at m microphones: (s, m, t) float32."""
    if array.num_microphones == 1:
        return sources[:, None]
    spacing = rng.uniform(*array.spacing_meters)
    angles = rng.uniform(0, math.pi, len(sources))
    return np.stack(
        [
            plane_wave(source, angle, array.num_microphones, spacing, sample_rate)
            for source, angle in zip(sources, angles, strict=True)
        ]
    )


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
