"""Captioned recordings are mixed as AudioSep and USS mix them, or as our own rule says."""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from parity.recorded import FOLDER as PARITY

from qsep.queries.interface import AudioQuery, TextQuery
from qsep.recipes.data.mixtures.segments import (
    SegmentMixConfig,
    SegmentMixtures,
    audiosep_sources,
    exact_sources,
    read_captions,
    uss_sources,
)

RATE = 8000
BATCH = 4


@cache
def recorded() -> Any:
    return np.load(PARITY / "resunet30.npz")


def waveforms() -> np.ndarray:
    """(5, t) of which the third is nearly silent and the last silent."""
    return recorded()["metrics/in.waveforms"][:, 0]


@pytest.mark.parametrize("case", ["seed0_max2", "seed3_max2", "seed1_max3"])
def test_audioseps_rule_gives_its_own_mixtures_and_targets(case: str) -> None:
    draws = iter(recorded()[f"metrics/in.randint_calls_{case}"][:, 2].tolist())
    for item in range(5):
        num_sources = next(draws)
        segments = np.stack([waveforms()[(item + index) % 5] for index in range(num_sources)])
        sources = audiosep_sources(segments, [next(draws) for _ in range(num_sources)])
        for name, actual in (("mixture", sources.sum(axis=0)), ("segment", sources[0])):
            expected = recorded()[f"metrics/out.{name}_{case}"][item, 0]
            # 1e-5 of each item's own size: the faint ones tell the limits of the gains apart
            scale = np.sqrt(np.mean(expected.astype(float) ** 2)) or 1.0
            assert np.sqrt(np.mean((actual - expected) ** 2.0)) < 1e-5 * scale, (item, name)
    assert next(draws, None) is None


def test_usss_rule_gives_its_own_mixtures() -> None:
    for item in range(5):
        actual = uss_sources(waveforms()[[item, (item + 1) % 5]])
        assert np.array_equal(actual[0], waveforms()[item])
        expected = recorded()["metrics/uss_mixture"][item]
        np.testing.assert_allclose(actual.sum(axis=0), expected, rtol=0, atol=1e-5 * expected.std())


@pytest.mark.parametrize("level_db", [-9.7, 0.0, 7.3])
def test_our_rule_meets_its_level_at_any_ratio_of_the_recordings(level_db: float) -> None:
    rng = np.random.default_rng(3)
    gains = np.array([[1e-4], [0.3], [0.002]])
    segments = (gains * rng.standard_normal((3, 5000))).astype(np.float32)
    target, *others = exact_sources(segments, level_db).astype(np.float64)
    actual = 10 * np.log10(np.square(sum(others)).sum() / np.square(target).sum())
    assert actual == pytest.approx(level_db, abs=1e-4)  # float32
    np.testing.assert_allclose(target, segments[0], rtol=1e-6)
    assert np.square(others[0]).sum() == pytest.approx(np.square(others[1]).sum(), rel=1e-5)


def test_mixtures_beyond_full_scale_are_scaled_down_as_a_whole() -> None:
    rng = np.random.default_rng(3)
    segments = rng.uniform(-0.9, 0.9, (2, 5000)).astype(np.float32)
    sources = exact_sources(segments, 3.0)
    assert np.abs(sources.sum(axis=0)).max() == pytest.approx(0.9, rel=1e-6)
    ratio = np.square(sources[1]).sum() / np.square(sources[0]).sum()
    assert 10 * np.log10(ratio) == pytest.approx(3.0, abs=1e-4)


@pytest.fixture(name="folder")
def recordings(tmp_path: Path) -> Path:
    """Seven recordings, in stereo where odd, each at a level that tells it apart; the last is silent."""
    items = []
    for index in range(7):
        rng = np.random.default_rng(index)
        scale = 0 if index == 6 else 0.01 * (1 + index)
        samples = scale * rng.standard_normal((3 * RATE, 1 + index % 2))
        soundfile.write(tmp_path / f"{index}.wav", samples, RATE, subtype="FLOAT")
        items.append({"wav": f"{index}.wav", "caption": f"noise number {min(index, 5)}"})
    (tmp_path / "train.json").write_text(json.dumps({"data": items}))
    return tmp_path


def mixtures(folder: Path, by_example: bool = False, **settings: Any) -> SegmentMixtures:
    config = SegmentMixConfig(segment_samples=RATE + 7, **settings)
    return SegmentMixtures(
        folder, read_captions(folder, "train"), config, by_example, BATCH, RATE, seed=5
    )


@pytest.mark.parametrize("rule", ["audiosep", "uss", "exact"])
def test_an_item_is_a_function_of_seed_and_number(rule: str, folder: Path) -> None:
    data, again = mixtures(folder, rule=rule), mixtures(folder, rule=rule)
    numbers = [3, 11, 0, 3]
    actual = [data[number] for number in numbers]
    for number, (sources, queries, name) in zip(reversed(numbers), reversed(actual), strict=True):
        expected = again[number]
        assert np.array_equal(sources, expected[0])
        assert (queries, name) == expected[1:]
    assert not np.array_equal(actual[0][0], actual[1][0])


def test_each_segment_of_a_step_is_one_target_and_disturbs_the_mixture_before(
    folder: Path,
) -> None:
    data = mixtures(folder, rule="uss")
    items = [data[BATCH + index][0].numpy()[:, 0] for index in range(BATCH)]
    for index, sources in enumerate(items):
        following = items[(index + 1) % BATCH][0]
        if following.any() and sources[1].any():
            gain = np.dot(sources[1], following) / np.dot(following, following)
            np.testing.assert_allclose(sources[1], gain * following, atol=1e-6)


def test_an_epoch_queries_every_recording_once(folder: Path) -> None:
    data = mixtures(folder)
    for epoch in range(3):
        files = [data.segment(7 * epoch + number)[0].file for number in range(7)]
        assert sorted(files) == [f"{index}.wav" for index in range(7)]


def test_only_the_target_is_queried_by_caption_or_by_itself(folder: Path) -> None:
    sources, queries, _ = mixtures(folder, max_sources=3)[1]
    clip, _ = mixtures(folder).segment(1)
    assert queries == [TextQuery(*clip.captions), None, None]
    assert sources.shape == (3, 1, RATE + 7)
    sources, queries, _ = mixtures(folder, by_example=True, rule="uss")[1]
    assert queries == [AudioQuery(sources[0, 0].numpy(), sample_rate=RATE), None]


@pytest.fixture
def several(folder: Path) -> Path:
    """The first two recordings share one of their captions, c."""
    texts = {"0.wav": ["a", "b", "c"], "1.wav": ["c", "d"], "2.wav": ["e"]}
    data = [{"wav": wav, "caption": all_[0], "captions": all_} for wav, all_ in texts.items()]
    (folder / "train.json").write_text(json.dumps({"data": data}))
    return folder


def test_several_captions_are_drawn_equally_often(several: Path) -> None:
    data: Any = mixtures(several)
    counts = Counter(data[draw][1][0].name for draw in range(600))
    expected = {"a": 67, "b": 67, "c": 167, "d": 100, "e": 200}
    assert counts == {text: pytest.approx(n, abs=30) for text, n in expected.items()}  # 3 sigma


def test_recordings_that_share_one_of_their_captions_are_not_mixed(several: Path) -> None:
    data = mixtures(several, rule="exact")
    for draw in range(30):
        segments = data.unlike(draw, 2, np.random.default_rng(draw))[1]
        levels = {round(float(np.std(segment)), 2) for segment in segments}
        assert len(levels) == 2
        assert 0.03 in levels  # the level of 2.wav


def test_our_rule_mixes_no_caption_with_itself_and_nothing_silent(folder: Path) -> None:
    data = mixtures(folder, rule="exact", max_sources=3)
    numbers = set()
    for draw in range(40):
        sources = data[draw][0][:, 0].numpy()
        rms = np.sqrt(np.square(sources).mean(axis=-1))
        numbers.add(int((rms > 0).sum()))
        assert rms[0] > 0
        level_db = 20 * np.log10(np.sqrt(np.square(sources[1:].sum(axis=0)).mean()) / rms[0])
        assert abs(level_db) <= 10.001
        clips = data.unlike(draw, 3, np.random.default_rng(draw))[1]
        assert len({round(float(np.std(clip)), 3) for clip in clips}) == 3
    assert numbers == {2, 3}


def test_recordings_are_cut_at_random_resampled_and_their_channels_averaged(folder: Path) -> None:
    time = np.arange(6 * 48000) / 48000
    ramp = 0.1 * time  # tells the place of a cut
    stereo = np.stack([ramp, ramp / 2, 9 * ramp], axis=1)
    for name in ("0.wav", "1.wav"):
        soundfile.write(folder / name, stereo, 48000, subtype="FLOAT")
    (folder / "train.json").write_text(
        json.dumps({"data": [{"wav": f"{i}.wav", "caption": f"{i}"} for i in range(2)]})
    )
    starts = []
    for draw in range(20):
        segment = mixtures(folder).segment(draw)[1]
        slope = np.polyfit(np.arange(RATE) / RATE, segment[4 : RATE + 4], 1)[0]
        assert slope == pytest.approx(0.075, rel=1e-3)  # mean of the first two channels
        starts.append(segment[4] / 0.075)
    assert min(starts) < 1.5
    assert max(starts) > 3.5


def test_short_recordings_end_in_silence_and_those_under_a_second_are_replaced(
    folder: Path,
) -> None:
    soundfile.write(folder / "0.wav", np.full(RATE, 0.5), RATE)
    soundfile.write(folder / "1.wav", np.full(RATE - 1, 0.5), RATE)
    data = mixtures(folder)
    for draw in range(7):
        clip, segment = data.segment(draw)
        assert clip.file != "1.wav"
        if clip.file == "0.wav":
            assert (segment[:RATE] == 0.5).all()
            assert (segment[RATE:] == 0).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file; data.folder must hold train.json"),
        ("{", "expected data with wav and caption each"),
        ('{"data": [{"wav": "0.wav"}]}', "expected data with wav and caption each"),
        ('{"data": [{"wav": "x.wav", "caption": "x"}]}', "1 of its files are missing, first"),
        ('{"data": [{"wav": "0.wav", "caption": "x"}]}', "lists 1 recordings, but mixtures need 2"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(
    content: str | None, reason: str, folder: Path
) -> None:
    (folder / "train.json").unlink()
    if content is not None:
        (folder / "train.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        read_captions(folder, "train")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"rule": "loud"}, "mix.rule is 'loud'; expected 'audiosep', 'uss' or 'exact'"),
        ({"max_sources": 1}, "mix.max_sources is 1; expected 2 or more"),
        ({"rule": "uss", "max_sources": 3}, "mix.max_sources is 3; expected 2"),
        ({"max_sources": 5}, "train.batch_size 4 is less than mix.max_sources"),
        ({"rule": "exact", "max_sources": 7}, "mixtures need 7 different captions, not 6"),
    ],
)
def test_settings_that_the_data_cannot_meet_are_refused(
    settings: dict[str, Any], reason: str, folder: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        mixtures(folder, **settings)


def test_numbers_of_sources_follow_their_weights(folder: Path) -> None:
    data = mixtures(folder, rule="exact", max_sources=3, num_sources_weights=(1.0, 3.0))
    counts = Counter(int(data[draw][0].any(dim=-1).sum()) for draw in range(80))
    assert set(counts) == {2, 3}
    assert counts[3] == pytest.approx(60, abs=15)  # four standard deviations


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 0.0), (1.0, 1.0, 1.0)])
def test_weights_for_other_numbers_of_sources_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"num_sources_weights has \d numbers; expected 2, not all 0"
    ):
        SegmentMixConfig(rule="exact", max_sources=3, num_sources_weights=weights)


@pytest.mark.parametrize("rule", ["audiosep", "exact"])
def test_absent_captions_are_queried_after_the_sources(rule: str, folder: Path) -> None:
    data, plain = mixtures(folder, rule=rule, max_absent=2), mixtures(folder, rule=rule)
    named = set()
    for draw in range(20):
        sources, queries, _ = data[draw]
        assert sources.shape[0] == len(queries) == 4
        assert np.array_equal(sources[:2], plain[draw][0])  # the same mixtures
        assert not sources[2:].any()
        assert queries[:2] == plain[draw][1]
        target, *absent = (query for query in queries if query is not None)
        assert len({target, *absent}) == 1 + len(absent) == 3
        named |= set(absent)
    assert len(named) >= 5


def test_absent_captions_are_none_of_the_mixed_recordings(folder: Path) -> None:
    data = mixtures(folder, rule="exact", max_absent=4, max_sources=3)
    for draw in range(20):
        mixed, _ = data.unlike(draw, 3, np.random.default_rng(draw))
        texts = [query.text for query in data.absent(mixed, draw) if query]
        assert 1 <= len(texts) <= 3  # of six captions
        assert not {caption for clip in mixed for caption in clip.captions} & set(texts)


def test_absent_examples_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"mix.max_absent is for queries in words"):
        mixtures(folder, by_example=True, max_absent=1)
