"""Conversations queried by examples of the voices."""

import tomllib

import numpy as np
import pytest
from repository import ROOT

from qsep.queries.interface import AudioQuery
from qsep.recipes.data.mixtures.augment import AugmentConfig
from qsep.recipes.data.mixtures.clips import Take
from qsep.recipes.data.mixtures.speakers import (
    SpeakerMixConfig,
    SpeakerMixtures,
    Voices,
    divided,
)

RATE = 8000
PLAIN = AugmentConfig(speed_probability=0, filter_probability=0, reverb_probability=0)


def takes(num_men: int = 3, num_women: int = 3) -> dict[str, list[Take]]:
    """Recordings of 1 s, each of a constant that says whose it is, and rain."""
    voices = {"man": num_men, "woman": num_women}
    speakers = {
        label: [
            Take(np.full(RATE, 1000 * (2 * n + 1 + (label == "woman")), np.int16), f"{label} {n}")
            for n in range(number)
        ]
        for label, number in voices.items()
    }
    return speakers | {"rain": [Take(np.full(RATE, 500, np.int16), "rain")]}


def mixtures(**changes: object) -> SpeakerMixtures:
    settings = {
        "segment_samples": 2001,
        "example_seconds": (0.1, 0.3),
        "backgrounds": ("rain",),
        "augment": PLAIN,
    }
    config = SpeakerMixConfig(**(settings | changes))  # type: ignore[arg-type]
    return SpeakerMixtures(Voices(takes(), config, RATE), config, RATE, seed=4)


def test_an_item_is_a_function_of_its_number_alone() -> None:
    data = mixtures()
    first, _ = data[7], data[8]
    again = mixtures()[7]
    assert first[2] == again[2] == "4-7"
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert not np.array_equal(first[0], data[8][0])


def test_two_sources_have_examples_and_the_mixture_is_the_sum_of_three() -> None:
    data = mixtures()
    batch = data.collate([data[n] for n in range(5)])
    assert batch.sources.shape == (5, 3, 1, 2001)
    assert (batch.mixture == batch.sources.sum(dim=1)).all()
    for first, second, rest in batch.queries:
        assert (type(first), type(second), rest) == (AudioQuery, AudioQuery, None)


def test_example_and_mixture_have_no_sample_of_a_recording_in_common() -> None:
    recording = np.arange(1000)
    sides = set()
    for seed in range(20):
        voice, example = divided([recording], 300, 40, np.random.default_rng(seed))
        apart = max(example[0] - voice[-1], voice[0] - example[-1])
        assert apart == 41
        assert len(example) == 300
        sides.add(bool(example[0] > voice[0]))
    assert sides == {True, False}
    voice, example = divided([recording], 900, 40, np.random.default_rng(0))
    assert len(example) == 460  # half of the recording, less the gap


def test_another_recording_of_the_speaker_is_the_example_where_there_is_one() -> None:
    recordings = [np.zeros(5), np.ones(6), np.full(7, 2)]
    for seed in range(10):
        voice, example = divided(recordings, 3, 1, np.random.default_rng(seed))
        assert voice[0] != example[0]


def test_a_speaker_who_is_asked_for_and_absent_is_silent() -> None:
    always = {"absent_probability": 1.0, "background_probability": 0.0}
    data = mixtures(num_sources_weights=(0, 1, 0), **always)
    for number in range(6):
        sources, queries, _ = data[number]
        assert queries[1] is not None
        assert [bool(source.any()) for source in sources] == [True, False, True]


@pytest.mark.parametrize(("probability", "alike"), [(1.0, True), (0.0, False)])
def test_speakers_of_one_kind_or_of_two(probability: float, alike: bool) -> None:
    data = mixtures(same_kind_probability=probability)
    for seed in range(8):
        first, second, third = data.chosen(np.random.default_rng(seed))
        assert (first.label == second.label) == alike
        assert len({first, second, third}) == 3


def test_two_voices_are_not_enough() -> None:
    with pytest.raises(ValueError, match="2 speakers; mixtures need 3"):
        Voices(takes(1, 1), SpeakerMixConfig(backgrounds=("rain",)), RATE)


def test_the_recipe_holds_out_the_speakers_that_the_protocol_scores() -> None:
    recipe = tomllib.loads((ROOT / "recipes/configs/speaker-live.toml").read_text("utf-8"))
    listed = (ROOT / "evaluation/protocols/manifests/sounds150-speakers.csv").read_text("utf-8")
    trained = {line.split(",")[2] for line in listed.splitlines() if line.startswith("audio/train")}
    assert trained == set(recipe["mix"]["held_out"])
