"""Rooms: images counted by mirroring at walls one by one, decay by Eyring and Sabine, sources that move."""

import json
import math

import numpy as np
import pytest
from parity.recorded import FOLDER as PARITY

from qsep.recipes.data.effects.config import ArrayConfig, RoomConfig
from qsep.recipes.data.effects.motion import moved
from qsep.recipes.data.effects.placing import (
    convolved,
    destination,
    in_the_open,
    microphones,
    placed,
)
from qsep.recipes.data.effects.rooms import (
    EARLY_SECONDS,
    Room,
    images,
    random_position,
    random_room,
    room_response,
)
from qsep.separation.signal.arrays import SOUND_MPS

RATE = 16000
ROOM = Room(np.array([6.1, 4.3, 2.9]), np.array([2.0, 1.1, 1.3]), 0.5)
PLACE = np.array([4.4, 3.0, 1.7])
OUTDOORS = Room(np.array([400.0, 400.0, 400.0]), np.array([200.0, 200.0, 200.0]), 0.001)


def mirrored(room: Room, position: np.ndarray, reach: float) -> dict[tuple[int, ...], int]:
    """Images within reach by repeated mirroring at the six walls; position in 0.1 mm -> fewest mirrorings."""
    images = {tuple(np.round(position * 1e4).astype(int)): (position, 0)}
    newest = list(images.values())
    while newest:
        following = []
        for image, order in newest:
            for axis in range(3):
                for wall in (0.0, room.size[axis]):
                    other = image.copy()
                    other[axis] = 2 * wall - image[axis]
                    key = tuple(np.round(other * 1e4).astype(int))
                    # a step beyond reach, since the way to an image in reach may lead there
                    near = np.linalg.norm(other - room.listener) <= reach + 2 * room.size.max()
                    if near and key not in images:
                        images[key] = (other, order + 1)
                        following.append(images[key])
        newest = following
    return {
        key: order
        for key, (image, order) in images.items()
        if np.linalg.norm(image - room.listener) <= reach
    }


def test_images_are_those_of_repeated_mirroring() -> None:
    distances, orders = images(ROOM, PLACE, 15.0)
    expected = mirrored(ROOM, PLACE, 15.0)
    assert len(distances) == len(expected) > 100
    pairs = [
        (math.dist(np.array(key) / 1e4, ROOM.listener), order) for key, order in expected.items()
    ]
    sorted_images = sorted(zip(distances, orders, strict=True))
    for (distance, order), (other, other_order) in zip(sorted_images, sorted(pairs), strict=True):
        assert distance == pytest.approx(other, abs=2e-4)  # rounded to 0.1 mm
        assert order == other_order


def test_images_and_their_gains_are_those_of_pyroomacoustics() -> None:
    stored = json.loads((PARITY / "rooms.json").read_text("utf-8"))
    size, listener, source = (np.array(stored[key]) for key in ("size", "listener", "source"))
    room = Room(size, listener, stored["eyring_seconds"])
    distances, orders = images(room, source, stored["reach"])
    order = np.argsort(distances)
    # pyroomacoustics computes in float32
    assert distances[order] == pytest.approx(np.array(stored["distances"]), abs=2e-6)
    gains = room.reflection ** orders[order]
    assert gains == pytest.approx(np.array(stored["gains"]), rel=1e-5)
    assert room.reflection**2 == pytest.approx(1 - stored["absorption"], rel=1e-5)


def test_the_direct_sound_is_one_and_a_reflection_has_its_delay_and_gain() -> None:
    """The floor's reflection, worked by hand: the source's image lies 1.7 m below the floor."""
    room = Room(np.array([200.0, 200.0, 200.0]), np.array([100.0, 100.0, 1.0]), 3.0)
    position = np.array([104.0, 100.0, 2.0])
    response = room_response(room, position, RATE, np.random.default_rng(0))
    direct, reflected = math.dist((0, 1), (4, 2)), math.dist((0, 1), (4, -2))
    delay = (reflected - direct) / SOUND_MPS * RATE
    assert response[0] == 1
    window = np.arange(round(delay) - 15, round(delay) + 16)
    gain = room.reflection * direct / reflected
    expected = gain * np.sinc(window - delay)
    # the window makes the sinc fall faster: by cos(pi / 4)^2 at most there
    assert response[window] == pytest.approx(expected, abs=0.06 * gain)
    assert response[window].sum() == pytest.approx(gain, rel=0.02)


def test_walls_reflect_as_eyring_says() -> None:
    """T = 0.161 V / (-S ln(1 - a)), which is Sabine's 0.161 V / (S a) if the absorption is small."""
    surface = 2 * (6.1 * 4.3 + 4.3 * 2.9 + 2.9 * 6.1)
    absorption = 1 - ROOM.reflection**2
    eyring = 0.1611 * ROOM.volume / (-surface * math.log(1 - absorption))
    assert eyring == pytest.approx(0.5, rel=1e-3)
    live = Room(ROOM.size, ROOM.listener, 20.0)
    sabine = 0.1611 * live.volume / (surface * (1 - live.reflection**2))
    assert sabine == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize("seconds", [0.25, 0.5, 0.8])
def test_sound_decays_by_60_db_in_the_reverberation_time(seconds: float) -> None:
    room = Room(ROOM.size, ROOM.listener, seconds)
    response = room_response(room, PLACE, RATE, np.random.default_rng(1)).astype(float)
    # Schroeder's backward integral, from 5 to 25 dB below the start
    level = 10 * np.log10(np.cumsum(np.square(response[::-1]))[::-1] / np.square(response).sum())
    first, last = (int(np.argmax(level < edge)) for edge in (-5, -25))
    decay_seconds = 60 / (level[first] - level[last]) * (last - first) / RATE
    assert decay_seconds == pytest.approx(seconds, rel=0.15)  # of one room, not diffuse


def test_the_tail_continues_the_images_at_their_level() -> None:
    ratios = []
    rng = np.random.default_rng(2)
    for _ in range(40):
        room = random_room(RoomConfig(), rng)
        response = room_response(room, random_position(room, (0.5, 4.0), rng), RATE, rng)
        edge, width = round(EARLY_SECONDS * RATE), round(0.02 * RATE)
        # Differences, without low frequencies, at which images add up in phase and noise does not.
        steep = np.diff(response.astype(float))
        early, late = (np.square(steep[a : a + width]).sum() for a in (edge - width, edge))
        fall_db = 60 * 0.02 / room.reverberation_seconds
        ratios.append(10 * np.log10(early / late) - fall_db)
    assert abs(np.median(ratios)) < 1


def test_a_sound_in_a_room_is_its_convolution_with_the_response() -> None:
    sound = np.random.default_rng(3).standard_normal(3001).astype(np.float32)
    response = room_response(ROOM, PLACE, RATE, np.random.default_rng(3))
    expected = np.convolve(sound.astype(float), response.astype(float))[:3001]
    assert convolved(sound, response) == pytest.approx(expected, abs=1e-4)  # float32


@pytest.mark.parametrize("speed_mps", [-20.0, 20.0])
def test_a_moving_source_is_shifted_in_frequency_as_doppler_says(speed_mps: float) -> None:
    start = OUTDOORS.listener + np.array([60.0, 0, 0])
    end = start + np.array(
        [2 * speed_mps, 0, 0]
    )  # in two seconds, on a line through the microphone
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    heard = moved(tone, OUTDOORS, start, end, RATE)[2000:-4000]
    crossings = np.flatnonzero(np.diff(np.signbit(heard)))
    heard_hz = (len(crossings) - 1) / 2 / ((crossings[-1] - crossings[0]) / RATE)
    assert heard_hz == pytest.approx(1000 / (1 + speed_mps / SOUND_MPS), abs=0.1)


def test_a_source_that_comes_nearer_gets_louder_with_the_distance() -> None:
    start, end = (OUTDOORS.listener + np.array([x, 0, 0]) for x in (8.0, 2.0))
    tone = np.sin(2 * np.pi * 500 * np.arange(2 * RATE) / RATE).astype(np.float32)
    heard = moved(tone, OUTDOORS, start, end, RATE)
    assert np.abs(heard[:400]).max() == pytest.approx(1, rel=0.02)
    assert np.abs(heard[RATE - 100 : RATE + 100]).max() == pytest.approx(8 / 5, rel=0.02)
    assert np.abs(heard[-1000:-500]).max() == pytest.approx(8 / 2.1, rel=0.03)


def test_a_source_that_stands_still_is_heard_as_in_the_room() -> None:
    sound = np.random.default_rng(4).standard_normal(4 * RATE)
    sound = np.fft.irfft(np.fft.rfft(sound)[:1000], 4 * RATE).astype(np.float32)  # below 250 Hz
    still = moved(sound, ROOM, PLACE, PLACE, RATE)
    still += convolved(sound, room_response(ROOM, PLACE, RATE, np.random.default_rng(5), 2))
    expected = convolved(sound, room_response(ROOM, PLACE, RATE, np.random.default_rng(5)))
    # the windowed sinc's error at low frequencies
    assert np.square(still - expected).mean() < 1e-3 * np.square(expected).mean()


def test_everything_is_inside_of_its_room() -> None:
    rng = np.random.default_rng(6)
    for _ in range(200):
        room = random_room(RoomConfig(), rng)
        start = random_position(room, (0.5, 4.0), rng)
        end = destination(room, start, 3.0, rng)
        for position in (room.listener, start, end):
            assert np.all((position >= 0) & (position <= room.size))
        assert math.dist(start, end) <= 3.0 + 1e-9
        assert 3 <= room.size[0] <= 10
        assert 2.4 <= room.size[2] <= 4


def test_places_lie_at_the_distances_asked_for_where_the_room_has_them() -> None:
    rng = np.random.default_rng(7)
    room = Room(np.array([8.0, 8.0, 3.0]), np.array([4.0, 4.0, 1.5]), 0.4)
    distances = [room.distance(random_position(room, (1.0, 1.2), rng)) for _ in range(50)]
    assert 1.0 <= min(distances)
    assert max(distances) <= 1.2


@pytest.mark.parametrize("moving", [0.0, 1.0])
@pytest.mark.parametrize("num_samples", [1, 50, 5003])
def test_sources_keep_their_length_and_type_in_a_room(moving: float, num_samples: int) -> None:
    sources = np.random.default_rng(8).standard_normal((3, num_samples)).astype(np.float32)
    config = RoomConfig(1.0, moving_probability=moving)
    heard = placed(sources, config, RATE, np.random.default_rng(9))
    assert heard.shape == (3, 1, num_samples)
    assert heard.dtype == np.float32
    again = placed(sources, config, RATE, np.random.default_rng(9))
    assert np.array_equal(heard, again)


def lag(first: np.ndarray, second: np.ndarray) -> float:
    """By how many samples the second lags behind the first, between samples by a parabola."""
    size = 2 * len(first)
    spectrum = np.fft.rfft(second, size) * np.fft.rfft(first, size).conj()
    correlation = np.fft.irfft(spectrum, size)
    peak = int(correlation.argmax())
    before, at, after = (correlation[(peak + step) % size] for step in (-1, 0, 1))
    whole = peak if peak < size // 2 else peak - size
    return float(whole + (before - after) / (2 * (before - 2 * at + after)))


def low_noise(num_samples: int, seed: int) -> np.ndarray:
    """Noise up to a quarter of the band."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(num_samples))
    return np.fft.irfft(spectrum[: len(spectrum) // 4], num_samples).astype(np.float32)


def test_each_microphone_of_a_room_hears_a_source_at_its_distance() -> None:
    """Nearly without reflections, in a room whose walls swallow sound: the tail's level is low."""
    sound = low_noise(RATE // 2, 1)
    room_config = RoomConfig(1.0, (6.0, 8.0), reverberation_seconds=(0.03, 0.03))
    array = ArrayConfig(2, (0.5, 0.5))
    for seed in range(4):
        heard = placed(sound[None], room_config, RATE, np.random.default_rng(seed), array)
        rng = np.random.default_rng(seed)  # the same draws
        room = random_room(room_config, rng)
        first, second = microphones(room, array, rng)
        position = random_position(room, room_config.distance_meters, rng)
        distances = [math.dist(position, microphone) for microphone in (first, second)]
        assert math.dist(first, second) == pytest.approx(0.5)
        expected = (distances[1] - distances[0]) / SOUND_MPS * RATE
        assert lag(heard[0, 0], heard[0, 1]) == pytest.approx(expected, abs=0.1)
        nearer = int(np.argmin(distances))
        assert lag(sound, heard[0, nearer]) == pytest.approx(0, abs=0.1)


def test_one_microphone_hears_the_same_with_and_without_an_array_of_one() -> None:
    sources = np.random.default_rng(8).standard_normal((3, 2001)).astype(np.float32)
    config = RoomConfig(1.0, moving_probability=0.5)
    alone, by_array = (
        placed(sources, config, RATE, np.random.default_rng(9), array)
        for array in (None, ArrayConfig())
    )
    assert np.array_equal(alone, by_array)


def test_in_the_open_sources_come_from_sides_of_their_own() -> None:
    sources = np.stack([low_noise(RATE // 2, seed) for seed in range(5)])
    array = ArrayConfig(3, (0.3, 0.3))
    heard = in_the_open(sources, array, RATE, np.random.default_rng(2))
    assert heard.shape == (5, 3, RATE // 2)
    assert np.array_equal(heard[:, 0], sources)
    lags = [lag(each[0], each[1]) for each in heard]
    assert [lag(each[0], each[2]) for each in heard] == pytest.approx(
        [2 * each for each in lags], abs=0.05
    )
    assert len({round(each) for each in lags}) > 2
    assert max(map(abs, lags)) <= 0.3 / SOUND_MPS * RATE + 0.05


def test_a_line_that_is_too_long_for_the_room_is_refused() -> None:
    room = Room(np.array([1.0, 1.2, 2.5]), np.array([0.5, 0.5, 1.0]), 0.3)
    with pytest.raises(
        ValueError, match=r"a line of 2\.00 m of microphones is too long for a room"
    ):
        microphones(room, ArrayConfig(3, (1.0, 1.0)), np.random.default_rng(0))
