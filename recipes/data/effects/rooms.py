"""Impulse responses of rectangular rooms, by image sources and a diffuse tail.

Images: Allen and Berkley, "Image method for efficiently simulating small-room acoustics", J. Acoust. Soc. Am.
65 (1979), with the fractional delays of Peterson, J. Acoust. Soc. Am. 80 (1986). Later than EARLY_SECONDS
the images are too many to be computed one by one; noise that decays from their energy replaces them, as
Lehmann and Johansson do (IEEE Trans. Audio, Speech, Lang. Process. 18, 2010). Walls are alike and reflect all
frequencies equally.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from qsep.separation.signal.arrays import SOUND_MPS

from .config import RoomConfig

EARLY_SECONDS = 0.05  # after the direct sound
MATCHED_SECONDS = (
    0.02  # the tail begins with the energy that the images have in their last so many seconds
)
TAIL = 0.7  # of the reverberation time: where the response has fallen by 42 dB
HALF_WIDTH = 20  # samples on either side of a fractional delay
MARGIN_METERS = 0.2  # between walls and anything in the room
TRIES = 50


@dataclass(frozen=True)
class Room:
    """size: of its edges in metres, (3,). listener: position of the microphone in metres from a corner, (3,).
    reverberation_seconds: in which sound falls by 60 dB."""

    size: np.ndarray
    listener: np.ndarray
    reverberation_seconds: float

    @property
    def volume(self) -> float:
        """In cubic metres."""
        return float(self.size.prod())

    @property
    def reflection(self) -> float:
        """Of sound pressure at a wall, by Eyring's formula (J. Acoust. Soc. Am. 1, 1930)."""
        surface = 2 * float(np.dot(self.size, np.roll(self.size, 1)))
        seconds = self.reverberation_seconds
        return math.exp(-12 * math.log(10) * self.volume / (SOUND_MPS * surface * seconds))

    def distance(self, position: np.ndarray) -> float:
        """From a position to the microphone in metres, MARGIN_METERS at least."""
        return max(float(np.linalg.norm(position - self.listener)), MARGIN_METERS)


def random_room(config: RoomConfig, rng: np.random.Generator) -> Room:
    """A room and a microphone in it."""
    length, width = rng.uniform(*config.length_meters, 2)
    size = np.array([length, width, rng.uniform(*config.height_meters)])
    listener = rng.uniform(MARGIN_METERS, size - MARGIN_METERS)
    return Room(size, listener, rng.uniform(*config.reverberation_seconds))


def random_position(
    room: Room, distance_meters: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """A position at a distance in the interval from the microphone, (3,); at any if the room is too small."""
    for _ in range(TRIES):
        direction = rng.standard_normal(3)
        distance = rng.uniform(*distance_meters)
        position = room.listener + distance * direction / np.linalg.norm(direction)
        if np.all((position >= MARGIN_METERS) & (position <= room.size - MARGIN_METERS)):
            return position
    return rng.uniform(MARGIN_METERS, room.size - MARGIN_METERS)


def images(room: Room, position: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """The images of a source no farther than `reach` from the microphone, in metres.

    Returns their distances (n,) and numbers of reflections (n,); the source itself has none.
    """
    axes = []
    for size, source, listener in zip(room.size, position, room.listener, strict=True):
        number = math.ceil((reach + size) / (2 * size))
        rounds = np.arange(-number, number + 1)
        offsets = [2 * rounds * size + sign * source - listener for sign in (1, -1)]
        orders = [np.abs(rounds) + np.abs(rounds - mirrored) for mirrored in (0, 1)]
        offset, order = np.concatenate(offsets), np.concatenate(orders)
        near = np.abs(offset) <= reach
        axes.append((np.square(offset[near]), order[near]))
    squares = axes[0][0][:, None, None] + axes[1][0][:, None] + axes[2][0]
    orders_sum = axes[0][1][:, None, None] + axes[1][1][:, None] + axes[2][1]
    near = squares <= reach**2
    return np.sqrt(squares[near]), orders_sum[near]


def room_response(
    room: Room,
    position: np.ndarray,
    sample_rate: int,
    rng: np.random.Generator,
    min_order: int = 0,
    direct: float | None = None,
) -> np.ndarray:
    """The response at the microphone to a source, (k,) float32. It begins with the direct sound, which is 1.

    min_order: leave out images with fewer reflections, as the direct sound, which has none. direct: distance
    in metres from which sound arrives at time 0 with gain 1, no farther than the source; None for that of
    the source.
    """
    direct = room.distance(position) if direct is None else direct
    distances, orders = images(room, position, direct + EARLY_SECONDS * SOUND_MPS)
    delays = (distances - direct) / SOUND_MPS * sample_rate
    gains = room.reflection**orders * direct / distances
    num_early = round(EARLY_SECONDS * sample_rate)
    num_samples = max(num_early, round(TAIL * room.reverberation_seconds * sample_rate))
    response = np.zeros(num_samples + HALF_WIDTH + 1)
    kept = orders >= min_order
    add_impulses(response, delays[kept], gains[kept])
    late = np.arange(num_early, num_samples)
    noise = rng.standard_normal(len(late)) * decay(room, late / sample_rate)
    last = np.arange(num_early - round(MATCHED_SECONDS * sample_rate), num_early)
    energy = np.square(gains[delays >= last[0]]).sum()
    response[late] += noise * np.sqrt(energy / np.square(decay(room, last / sample_rate)).sum())
    return response[:num_samples].astype(np.float32)


def decay(room: Room, seconds: np.ndarray) -> np.ndarray:
    """The envelope of reverberation."""
    return 10 ** (-3 * seconds / room.reverberation_seconds)


def add_impulses(response: np.ndarray, delays: np.ndarray, gains: np.ndarray) -> None:
    """Add impulses at delays in samples, not whole numbers, to the response (k,), in place.

    An impulse is a sinc function under a Hann window; what falls outside of the response is left out.
    """
    whole = np.round(delays).astype(int)
    offsets = np.arange(-HALF_WIDTH, HALF_WIDTH + 1)
    times = offsets - (delays - whole)[:, None]
    window = 0.5 + 0.5 * np.cos(np.pi * times / (HALF_WIDTH + 1))
    impulses = gains[:, None] * np.sinc(times) * window
    places = whole[:, None] + offsets
    inside = (places >= 0) & (places < len(response))
    response += np.bincount(places[inside], impulses[inside], len(response))


def first_images(room: Room, position: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """The source, and its image in each of the six walls: positions (3,) and numbers of reflections."""
    mirrored = [(position, 0)]
    for axis, far in itertools.product(range(3), (0, 1)):
        image = position.copy()
        image[axis] = 2 * far * room.size[axis] - position[axis]
        mirrored.append((image, 1))
    return mirrored
