"""Loudness against the recommendation's own figures, levels by hand."""

import numpy as np
import pytest

from qsep.recipes.data.effects.config import LevelConfig
from qsep.recipes.data.effects.levels import at_loudness, at_powers, leveled, within_peak
from qsep.recipes.data.effects.loudness import k_weighting, loudness_lufs

RATE = 16000


def sine(seconds: float, peak_db: float, hz: float = 997.0, rate: int = 48000) -> np.ndarray:
    times = np.arange(round(seconds * rate)) / rate
    return (10 ** (peak_db / 20) * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def noises(number: int = 3, num_microphones: int = 1, num_samples: int = RATE) -> np.ndarray:
    gains = np.geomspace(1, 0.01, number)[:, None, None]
    white = np.random.default_rng(0).standard_normal((number, num_microphones, num_samples))
    return (0.1 * gains * white).astype(np.float32)


def db(power_ratio: float) -> float:
    return float(10 * np.log10(power_ratio))


def test_the_filters_at_48_khz_are_the_recommendations() -> None:
    shelf, highpass = k_weighting(48000)
    assert shelf == pytest.approx(
        [
            1.53512485958697,
            -2.69169618940638,
            1.19839281085285,
            1,
            -1.69065929318241,
            0.73248077421585,
        ],
        abs=1e-9,
    )
    assert highpass == pytest.approx([1, -2, 1, 1, -1.99004745483398, 0.99007225036621], abs=1e-9)


@pytest.mark.parametrize(
    ("rate", "close"), [(48000, 5e-3), (44100, 0.01), (32000, 0.02), (16000, 0.05)]
)
def test_a_full_scale_sine_of_997_hz_has_3_01_lufs_below_zero(rate: int, close: float) -> None:
    # The bilinear transform bends the shelf, the more the lower the rate.
    assert loudness_lufs(sine(5, 0.0, rate=rate), rate) == pytest.approx(-3.01, abs=close)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [  # EBU Tech 3341, table 1, cases 1, 3 and 4: 3.01 less, since those are in two channels
        ([(20, -23.0)], -26.01),
        ([(10, -36.0), (60, -23.0), (10, -36.0)], -26.01),
        ([(10, -72.0), (10, -36.0), (60, -23.0), (10, -36.0), (10, -72.0)], -26.01),
        ([(20, -26.0), (20.1, -20.0), (20, -26.0)], -26.01),  # case 5
    ],
)
def test_quiet_parts_do_not_count(parts: list[tuple[float, float]], expected: float) -> None:
    waveform = np.concatenate([sine(seconds, level, 1000.0) for seconds, level in parts])
    assert loudness_lufs(waveform, 48000) == pytest.approx(expected, abs=0.1)  # EBU's tolerance


def test_a_sound_shorter_than_a_block_has_a_loudness() -> None:
    assert loudness_lufs(sine(0.3, -20.0), 48000) == pytest.approx(-23.0, abs=0.1)


def test_silence_has_none() -> None:
    assert loudness_lufs(np.zeros(48000), 48000) == -np.inf


@pytest.mark.parametrize("scale", [1e-4, 1.0, 30.0])
def test_a_source_gets_the_loudness_that_is_asked_for(scale: float) -> None:
    scaled = at_loudness(noises(1)[0] * np.float32(scale), -31.5, RATE)
    assert scaled.shape == (1, RATE)
    assert loudness_lufs(scaled[0], RATE) == pytest.approx(-31.5, abs=1e-3)


def test_what_is_too_low_to_have_a_loudness_gets_a_power() -> None:
    swell = np.sin(np.pi * np.arange(4 * RATE) / RATE).astype(np.float32)  # 0.5 Hz
    scaled = at_loudness(swell[None], -30.0, RATE)
    assert db(np.square(scaled.astype(float)).mean()) == pytest.approx(-30, abs=1e-3)


@pytest.mark.parametrize("rate", [1000, 3000, 4000, 192_000])
def test_loudness_is_the_same_at_any_rate(rate: int) -> None:
    tone = sine(1.0, -20.0, 400.0, rate)
    # The power of the tone and -0.691; at 400 Hz both filters have 0 dB.
    assert loudness_lufs(tone, rate) == pytest.approx(-23.01 - 0.69, abs=0.05)


@pytest.mark.parametrize("num_microphones", [1, 2])
def test_by_snr_the_first_source_lies_as_drawn_over_the_sum_of_the_others(
    num_microphones: int,
) -> None:
    config = LevelConfig("snr", snr_db=(4.0, 4.0))
    plain = noises(3, num_microphones)
    sources = leveled(plain, config, RATE, np.random.default_rng(0)).astype(np.float64)
    rest = sources[1:].sum(axis=0)
    assert db(np.square(sources[0]).sum() / np.square(rest).sum()) == pytest.approx(4.0, abs=1e-4)
    before, after = (np.square(each).sum(axis=(1, 2)) for each in (plain.astype(float), sources))
    assert after[1] / after[2] == pytest.approx(before[1] / before[2], rel=1e-5)
    assert after[0] == before[0]


def test_drawn_snrs_fill_their_range() -> None:
    config = LevelConfig("snr", snr_db=(-3.0, 9.0))
    drawn = []
    for seed in range(60):
        target, *others = leveled(noises(2), config, RATE, np.random.default_rng(seed))
        drawn.append(db(np.square(target).sum() / np.square(others[0]).sum()))
    assert -3 <= min(drawn) < -1.5
    assert 7.5 < max(drawn) <= 9


def test_drawn_loudnesses_fill_their_range() -> None:
    config = LevelConfig("loudness", loudness_lufs=(-40.0, -20.0))
    drawn = np.concatenate(
        [
            [loudness_lufs(each[0], RATE) for each in leveled(noises(2), config, RATE, rng)]
            for rng in map(np.random.default_rng, range(30))
        ]
    )
    assert -40.001 <= drawn.min() < -38
    assert -22 < drawn.max() <= -19.999


@pytest.mark.parametrize("rule", ["snr", "loudness"])
@pytest.mark.parametrize("silent", [0, 1])
def test_a_source_that_an_effect_silenced_leaves_the_others_audible(rule: str, silent: int) -> None:
    sources = noises(2)
    sources[silent] = 0
    changed = leveled(sources, LevelConfig(rule), RATE, np.random.default_rng(0))
    assert np.isfinite(changed).all()
    assert changed.any(axis=(1, 2)).tolist() == [silent == 1, silent == 0]


def test_without_a_rule_levels_remain() -> None:
    sources = noises()
    assert leveled(sources, LevelConfig(), RATE, np.random.default_rng(0)) is sources


def test_the_limit_on_the_peak_scales_all_sources_alike() -> None:
    sources = noises() * 20
    limited = within_peak(sources, 0.9)
    assert np.abs(limited.sum(axis=0)).max() == pytest.approx(0.9, rel=1e-6)
    ratios = limited[sources != 0] / sources[sources != 0]
    assert ratios == pytest.approx(np.full_like(ratios, ratios[0]), rel=1e-6)
    assert within_peak(noises() * 0.1, 0.9) == pytest.approx(noises() * 0.1, abs=0)


def test_powers_are_restored_and_silence_remains() -> None:
    changed = noises(3, 2)[::-1].copy()
    changed[1] = 0
    restored = at_powers(changed, noises())
    powers, expected = (
        np.square(each.astype(float)).mean(axis=(1, 2)) for each in (restored, noises())
    )
    assert powers[[0, 2]] == pytest.approx(expected[[0, 2]], rel=1e-6)
    assert powers[1] == 0


def test_an_interval_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match=r"snr_db is \[5, -5\]; expected the smaller number first"):
        LevelConfig(snr_db=(5.0, -5.0))


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="rule is 'lufs'; expected '', 'snr' or 'loudness'"):
        LevelConfig("lufs")
