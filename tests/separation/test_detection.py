"""Sounds and their hierarchy, when they are active, and how nodes of it are taken out of a recording."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from tiny import StubConfig, StubEncoder, noise, tiny_separator, tiny_tagger

from qsep.queries.audioset import audioset
from qsep.queries.constraints import Constraints
from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.separation.api import CHECKPOINTS_DIR, Model
from qsep.separation.detection import separated_sounds
from qsep.separation.detection.activity import Activity
from qsep.separation.detection.hierarchy import (
    Group,
    Sound,
    groups_at,
    most_specific,
    sounds_of_audioset,
    sounds_of_classes,
)
from qsep.separation.detection.nodes import NodeSeparator, tagger_file
from qsep.separation.detection.segmentwise import separate_segments
from qsep.separation.detection.separated_sounds import BIAS, LEVEL, Window, detect_separated
from qsep.separation.detection.tagged_sounds import detect_tagged

RATE = 8000
KINDS = (
    "a dog barking",
    "rain falling",
    "a violin",
    "a cello",
    "gravel",
)  # the last is not in the ontology
SOUNDS = sounds_of_classes(KINDS)
NUMBER = {sound.name: number for number, sound in enumerate(sounds_of_audioset())}


def named(groups: list[Group]) -> dict[str, tuple[int, ...]]:
    return {group.name: group.members for group in groups}


def test_classes_belong_to_the_nth_node_above_them() -> None:
    assert named(groups_at(SOUNDS, 1)) == {
        "Animal": (0,),
        "Natural sounds": (1,),
        "Music": (2, 3),
        "gravel": (4,),
    }
    assert named(groups_at(SOUNDS, 3)) == {
        "Dog": (0,),
        "Rain": (1,),
        "Bowed string instrument": (2, 3),
        "gravel": (4,),
    }
    rain = Group("Rain", 9, ("Natural sounds", "Water"), "/m/06mb1", (1,))
    assert groups_at(SOUNDS, 9)[1] == rain
    leaf = groups_at(SOUNDS, "leaf")[2]
    assert (leaf.name, leaf.members) == ("a violin", (2,))
    assert leaf.ancestors[0::3] == ("Music", "Violin, fiddle")


def test_all_classes_of_the_shipped_models_are_in_the_ontology() -> None:
    config = json.loads((CHECKPOINTS_DIR / "sounds21" / "config.json").read_text())
    sounds = sounds_of_classes(config["separator"]["config"]["concepts"])
    assert all(sound.path for sound in sounds)
    assert len({sound.mid for sound in sounds}) == 21


def test_audiosets_levels_hold_all_classes_below_their_nodes() -> None:
    sounds = sounds_of_audioset()
    assert len(groups_at(sounds, 1)) == 7
    animal = named(groups_at(sounds, 1))["Animal"]
    assert len(animal) == 65
    third = named(groups_at(sounds, 3))
    assert {sounds[number].name for number in third["Dog"]} == {
        *("Dog", "Bark", "Yip", "Howl", "Bow-wow", "Growling", "Whimper (dog)")
    }
    assert "Silence" in third  # ends above, with nothing below
    assert "Music" not in third
    assert "Musical instrument" not in third
    # 251 nodes at the third level itself, and what ends above
    inner = {node.path[:2] for node in audioset().values() if len(node.path) > 2}
    ends = [s for s in sounds if len(s.path) == 2 and s.path not in inner]
    above = [group for group in groups_at(sounds, 3) if len(group.ancestors) < 2]
    assert {sound.name for sound in ends} <= {group.name for group in above}
    assert len(groups_at(sounds, 3)) == 251 + len(above)


def test_an_ancestor_of_an_active_class_adds_nothing() -> None:
    sounds = sounds_of_audioset()
    active = [NUMBER[name] for name in ("Animal", "Dog", "Bark", "Cat", "Speech")]
    actual = [sounds[number].name for number in most_specific(sounds, active)]
    assert actual == ["Speech", "Bark", "Cat"]


def test_other_levels_are_refused() -> None:
    for level in (0, "twig"):
        with pytest.raises(ValueError, match="expected 1, 2, 3 … or leaf"):
            groups_at(SOUNDS, level)


def activity(*rows: list[float], seconds: float = 1.8) -> Activity:
    probabilities = np.array(rows, np.float32)
    sounds = SOUNDS[: len(rows)] if len(rows) <= len(SOUNDS) else sounds_of_audioset()
    return Activity(sounds, probabilities, 0.5, seconds, 0.5)


def test_spans_are_the_runs_at_or_above_the_threshold_and_end_with_the_recording() -> None:
    actual = activity([0.5, 0.9, 0.4, 0.6], [0, 0, 0.7, 0])
    assert actual.spans([0]) == [(0.0, 1.0), (1.5, 1.8)]
    assert actual.spans([0, 1]) == [(0.0, 1.8)]
    assert actual.spans([1]) == [(1.0, 1.5)]
    assert actual.active() == [0, 1]
    np.testing.assert_allclose(actual.of([0, 1]), [0.5, 0.9, 0.7, 0.6])


def test_active_nodes_are_listed_once_for_all_levels() -> None:
    actual = activity([0.0] * 4, [0.9] * 4, [0.2, 0.6, 0, 0], [0.1] * 4)
    names = [group.name for group in actual.groups([1, 3, 4, "leaf"])]
    assert names == [
        *("Natural sounds", "Music", "Rain", "Bowed string instrument", "Violin, fiddle"),
        *("rain falling", "a violin"),
    ]


def model(**changes: Any) -> Model:
    separator = tiny_separator(query_dim=384, **changes)
    return Model(separator, StubEncoder(StubConfig(dim=384)), "tiny")


def test_windows_are_five_seconds_every_half_of_that_and_together_the_recording() -> None:
    waveform = noise(2, 12 * RATE + 77, seed=4)
    mono = waveform.mean(dim=0, keepdim=True)
    step = RATE // 2
    blocks = np.array_split(waveform.numpy(), 7, axis=1)
    actual = list(separated_sounds.windows(model(), blocks, RATE, step))
    assert [window.start for window in actual] == [0, 5, 10, 15]
    for window in actual:
        begin = window.start * step
        part = mono[:, begin : begin + 5 * RATE]
        torch.testing.assert_close(window.mixture, part, atol=1e-7, rtol=0)  # order of the mean
        assert window.estimates.shape == (3, *part.shape)
    kinds = model().embed([TextQuery(kind) for kind in model().classes])
    whole = model().separator.separate(mono[None], kinds.map(lambda entry: entry[None]))
    estimates = whole.target[0, :, :, 10 * step : 10 * step + 5 * RATE]
    torch.testing.assert_close(actual[2].estimates, estimates, atol=1e-5, rtol=0)


def test_a_probability_is_made_of_level_and_share_and_paused_where_the_kind_is_quiet() -> None:
    classifier = separated_sounds.EstimateClassifier(model())
    mixture = noise(1, 2 * RATE, seed=1)
    estimates = torch.zeros(3, 1, 2 * RATE)
    estimates[0, :, :RATE] = mixture[:, :RATE] * 0.5
    estimates[0, :, RATE:] = mixture[:, RATE:] * 0.01  # 34 dB under the loudest step
    estimates[1] = mixture * 0.01
    window = Window(0, mixture, estimates)
    level, share = classifier.features(window)
    power = (
        mixture[:, :RATE].square().sum() * 0.25 + mixture[:, RATE:].square().sum() * 1e-4
    ).log10()
    assert level[0] == pytest.approx(float(10 * (power - mixture.square().sum().log10())), abs=1e-4)
    assert level[1] == level[2] == -torch.inf  # estimates 40 dB under the mixture are not examined
    assert share.tolist() == [pytest.approx(0, abs=1e-4), -torch.inf, -torch.inf]
    expected = float(torch.sigmoid(BIAS + LEVEL * level[0]))
    actual = classifier.probabilities(window, RATE)
    np.testing.assert_allclose(actual, [[expected, 0.0], [0.0, 0.0], [0.0, 0.0]], atol=1e-6)


def test_classes_in_the_same_bins_share_them_by_power_and_likelihood() -> None:
    classifier = separated_sounds.EstimateClassifier(model())
    mixture = noise(1, 2 * RATE, seed=1)
    high = (noise(1, 2 * RATE, seed=2) * torch.arange(2 * RATE).remainder(2)).diff(
        prepend=torch.zeros(1, 1)
    )
    gains = (0.5, 0.3)
    estimates = torch.stack([gains[0] * mixture, gains[1] * mixture, high])
    _, share = classifier.features(Window(0, mixture + high, estimates))
    likelihoods = []
    for number in range(3):
        resampled = soxr.resample(estimates[number, 0].numpy(), RATE, classifier.joint.sample_rate)
        embedded = classifier.joint.sound(torch.from_numpy(resampled))
        odds = classifier.joint.network.scale() * (classifier.class_embeddings @ embedded)
        likelihoods.append(float(odds.softmax(dim=0)[number]))
    frames = np.pad(estimates[:, 0].numpy().astype(float), ((0, 0), (512, 512)))
    starts = range(0, 2 * RATE + 1 + -(2 * RATE) % 512, 512)
    hann = np.sin(np.pi * np.arange(1024) / 1024)
    padded = np.pad(frames, ((0, 0), (0, 1024)))
    spectra = np.array([np.fft.rfft(hann * padded[:, start : start + 1024]) for start in starts])
    power = np.abs(spectra) ** 2  # (n, k, f)
    claims = power * np.sqrt(likelihoods)[:, None]
    own_energies = (power * claims / claims.sum(axis=1, keepdims=True)).sum(axis=(0, 2))
    np.testing.assert_allclose(
        share, 10 * np.log10(own_energies / power.sum(axis=(0, 2))), atol=1e-3
    )
    assert -30 < share.min() < share.max() < -0.1  # all three lose something


@pytest.mark.parametrize("num_samples", [1, 3000, 41000])
def test_recordings_of_any_length_get_a_timeline_and_silence_nothing(num_samples: int) -> None:
    actual = detect_separated(model(), [noise(2, num_samples).numpy()], 11025, 0.5)
    assert actual.probabilities.shape == (3, -(-num_samples * 2 // 11025))
    assert actual.seconds == pytest.approx(num_samples / 11025, abs=2 / RATE)
    silence = detect_separated(model(), [np.zeros((2, num_samples), np.float32)], 11025, 0.5)
    assert not silence.probabilities.any()


def test_a_tagger_runs_on_two_second_segments_padded_with_zeros() -> None:
    stereo = noise(2, 150000, seed=3)
    blocks = np.array_split(stereo.numpy(), 5, axis=1)
    actual = detect_tagged(tiny_tagger(), blocks, 32000, 0.2)
    assert actual.probabilities.shape == (527, 3)
    mono = torch.cat([stereo.mean(dim=0), torch.zeros(42000)]).reshape(3, 64000)
    with torch.inference_mode():
        expected = tiny_tagger()(mono)[1].T
    np.testing.assert_allclose(actual.probabilities, expected, atol=1e-6)
    assert actual.seconds == 150000 / 32000
    silence = detect_tagged(tiny_tagger(), [np.zeros((1, 100), np.float32)], 8000, 0.2)
    assert not silence.probabilities.any()


def uss() -> Any:
    return tiny_separator(
        "resunet30",
        query_dim=527,
        channels=(2, 3, 4),
        sample_rate=32000,
        window_samples=256,
        hop_samples=128,
    )


@torch.inference_mode()
def test_uss_queries_each_segment_by_its_own_probabilities_with_other_classes_set_to_zero() -> None:
    separator, tagger = uss(), tiny_tagger()
    waveform = noise(2, 150000, seed=3, scale=0.2)
    dogs = groups_at(sounds_of_audioset(), 3)[0]
    segments = torch.cat([waveform, torch.zeros(2, 42000)], dim=1).unflatten(1, (3, 64000))
    embedded = tagger(segments.mean(dim=0))[1]
    largest = embedded[:, list(dogs.members)].amax(dim=1)
    threshold = float(largest.median())  # one of three segments is not active
    pairs = list(separate_segments(separator, tagger, [dogs], threshold, [waveform.numpy()], 32000))
    target = torch.from_numpy(np.concatenate([targets for _, targets in pairs], axis=-1))[0]
    assert target.shape == (2, 150000)
    mask = torch.zeros(527)
    mask[list(dogs.members)] = 1
    for number in range(3):
        part = target[:, number * 64000 : (number + 1) * 64000]
        if largest[number] < threshold:
            assert not part.any()
            continue
        query = QueryEmbedding((embedded[number] * mask)[None, None])
        expected = separator.separate(segments[None, :, number], query).target[0, 0]
        torch.testing.assert_close(part, expected[:, : part.shape[1]], atol=1e-6, rtol=0)
    assert (largest < threshold).sum() == 1


def test_a_node_of_a_model_queried_by_text_is_the_sum_of_its_active_sounds() -> None:
    ours = model(class_names=list(KINDS), num_phrases=len(KINDS) + 1)
    separator = NodeSeparator(ours, threshold=0.5)
    actual = activity([0.0], [0.9], [0.6], [0.7], [0.0])
    groups = actual.groups([1, "leaf"])
    assert [group.name for group in groups][:2] == ["Natural sounds", "Music"]
    waveform = noise(2, 5001, seed=6).numpy()
    pairs = list(separator.separate(groups, actual, [waveform], RATE))
    targets = np.concatenate([targets for _, targets in pairs], axis=-1)
    queries = [TextQuery(kind) for kind in KINDS[1:4]]
    parts = list(ours.separate_blocks([waveform], RATE, queries, Constraints(exclusive=True)))
    rain, violin, cello = np.concatenate([targets for _, targets in parts], axis=-1)
    np.testing.assert_allclose(targets, [rain, violin + cello, rain, violin, cello], atol=1e-7)


def test_a_tagger_is_found_in_a_folder(tmp_path: Path) -> None:
    for name in ("Cnn14_DecisionLevelMax_mAP=0.385.pth", "Cnn14_mAP=0.431.pth"):
        (tmp_path / name).touch()
    assert tagger_file(tmp_path).name == "Cnn14_mAP=0.431.pth"
    assert tagger_file(tmp_path / "Cnn14_mAP=0.431.pth") == tmp_path / "Cnn14_mAP=0.431.pth"
    (tmp_path / "empty").mkdir()
    for name, reason in (("empty", "no weights of Cnn14 in it"), ("x", "no such file or folder")):
        with pytest.raises(ValueError, match=reason):
            tagger_file(tmp_path / name)


def test_the_error_says_what_a_model_lacks() -> None:
    nameless = Model(tiny_separator("clipsep"), StubEncoder(), "clipsep")
    with pytest.raises(
        ValueError, match="clipsep has no list of sounds to detect; give a detector with --tagger"
    ):
        NodeSeparator(nameless)


def test_classes_outside_the_ontology_have_no_descendants() -> None:
    assert most_specific([Sound("x"), Sound("y")], [0, 1]) == [0, 1]
