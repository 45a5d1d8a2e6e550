"""Speed, colour and rooms, against closed forms."""

import numpy as np
import pytest

from qsep.recipes.data.mixtures.augment import (
    AugmentConfig,
    change_speed,
    equalised_and_reverberated,
    equalizer_response,
    fast_length,
    room_response,
)

RATE = 16000
OFF = AugmentConfig(filter_probability=0.0, reverb_probability=0.0)
COLOUR = AugmentConfig(filter_probability=1.0, reverb_probability=0.0)
ROOM = AugmentConfig(filter_probability=0.0, reverb_probability=1.0)
BOTH = AugmentConfig(filter_probability=1.0, reverb_probability=1.0)


def tone(hz: float, num_samples: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(num_samples) / RATE).astype(np.float32)


def noise(num_samples: int = 5003) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(num_samples).astype(np.float32)


@pytest.mark.parametrize(
    ("semitones", "expected_hz"), [(12, 880.0), (-12, 220.0), (3, 523.251), (-2.5, 380.837)]
)
def test_speed_moves_a_tone_to_the_pitch_of_the_interval(
    semitones: float, expected_hz: float
) -> None:
    moved = change_speed(tone(440), semitones)
    crossings = np.flatnonzero(np.diff(np.signbit(moved[400:-400])))
    actual_hz = (len(crossings) - 1) / 2 / ((crossings[-1] - crossings[0]) / RATE)
    assert actual_hz == pytest.approx(expected_hz, rel=2e-4)  # one sample of 15,000


@pytest.mark.parametrize("semitones", [-3.0, -0.4, 0.7, 3.0])
def test_speed_divides_the_length_by_its_ratio(semitones: float) -> None:
    assert len(change_speed(tone(440), semitones)) == pytest.approx(
        RATE / 2 ** (semitones / 12), abs=1
    )


def test_equalizer_without_deviation_changes_nothing() -> None:
    response = equalizer_response(np.zeros(8), 129, RATE)
    assert np.array_equal(response, np.ones(129))


def test_equalizer_has_the_drawn_gains_at_its_eight_points() -> None:
    gains_db = np.random.default_rng(2).normal(0, 4.0, 8)
    response = equalizer_response(gains_db, RATE // 2 + 1, RATE)  # bin: 1 Hz
    points_hz = 30 * (RATE / 2 / 30) ** (np.arange(8) / 7)
    actual_db = 20 * np.log10(response[np.rint(points_hz).astype(int)])
    # half a Hertz off the point: at 30 Hz 2 % of the way to the next, at most 20 dB away
    assert actual_db == pytest.approx(gains_db, abs=0.4)
    assert actual_db[-1] == pytest.approx(gains_db[-1], abs=1e-9)


def test_a_room_starts_with_the_direct_sound_of_one() -> None:
    assert room_response(np.random.default_rng(3), RATE)[0] == 1


@pytest.mark.parametrize("seed", range(5))
def test_reverberation_is_0_to_15_db_under_the_direct_sound(seed: int) -> None:
    response = room_response(np.random.default_rng(seed), RATE).astype(float)
    level_db = 10 * np.log10(np.square(response[1:]).sum())
    assert -15.001 < level_db < 0.001


@pytest.mark.parametrize("seed", range(5))
def test_reverberation_falls_by_60_db_in_its_time(seed: int) -> None:
    seconds = np.random.default_rng(seed).uniform(0.1, 0.8)  # the first draw
    response = room_response(np.random.default_rng(seed), RATE).astype(float)
    times = np.arange(len(response)) / RATE
    late = times > 0.011
    slope = np.polyfit(times[late], 20 * np.log10(np.abs(response[late]) + 1e-12), 1)[0]
    assert slope == pytest.approx(-60 / seconds, rel=0.1)  # noise: hundreds of samples or more


def test_without_drawn_augmentations_the_sound_is_unchanged() -> None:
    assert equalised_and_reverberated(noise(), np.random.default_rng(4), RATE, OFF) is not None
    assert np.array_equal(
        equalised_and_reverberated(noise(), np.random.default_rng(4), RATE, OFF), noise()
    )


def test_a_click_becomes_the_rooms_impulse_response() -> None:
    click = np.zeros(20000, np.float32)
    click[100] = 1
    placed = equalised_and_reverberated(click, np.random.default_rng(5), RATE, ROOM)
    same = np.random.default_rng(5)
    same.random(2)  # whether to filter, whether to place
    response = room_response(same, RATE)
    assert placed[100 : 100 + len(response)] == pytest.approx(response, abs=1e-6)  # float32
    assert np.abs(placed[:100]).max() < 1e-6


def test_the_reverberation_tail_does_not_wrap_around() -> None:
    click = np.zeros(3000, np.float32)
    click[-1] = 1
    placed = equalised_and_reverberated(click, np.random.default_rng(6), RATE, ROOM)
    assert np.abs(placed[:-1]).max() < 1e-6


def test_a_microphone_scales_a_tone_by_its_response() -> None:
    # A length just under a power of two is padded little, so the tone fills the transform.
    sound = tone(1000, 16383)
    coloured = equalised_and_reverberated(sound, np.random.default_rng(7), RATE, COLOUR)
    same = np.random.default_rng(7)
    same.random(2)
    response = equalizer_response(same.normal(0, COLOUR.equalizer_db, 8), 8193, RATE)
    gain = response[1024]  # 1,000 Hz of 8,000 in 8,192 bins
    middle = slice(4000, 12000)
    assert coloured[middle] == pytest.approx(gain * sound[middle], abs=2e-3)  # slope of the curve


@pytest.mark.parametrize("config", [OFF, COLOUR, ROOM, BOTH])
@pytest.mark.parametrize("num_samples", [1, 7, 1000, 5003])
def test_length_and_dtype_are_kept(config: AugmentConfig, num_samples: int) -> None:
    changed = equalised_and_reverberated(noise(num_samples), np.random.default_rng(8), RATE, config)
    assert changed.shape == (num_samples,)
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()


def test_the_result_depends_on_the_generator_alone() -> None:
    first = equalised_and_reverberated(noise(), np.random.default_rng(9), RATE, BOTH)
    again = equalised_and_reverberated(noise(), np.random.default_rng(9), RATE, BOTH)
    other = equalised_and_reverberated(noise(), np.random.default_rng(10), RATE, BOTH)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_the_input_is_not_modified() -> None:
    sound = noise()
    equalised_and_reverberated(sound, np.random.default_rng(11), RATE, BOTH)
    change_speed(sound, 2.0)
    assert np.array_equal(sound, noise())


def test_fast_length_is_the_smallest_sufficient_fft_length() -> None:
    sizes = sorted({factor << power for power in range(13) for factor in (1, 3, 5)})
    expected = [next(size for size in sizes if size >= n) for n in range(1, 3000)]
    assert [fast_length(n) for n in range(1, 3000)] == expected
