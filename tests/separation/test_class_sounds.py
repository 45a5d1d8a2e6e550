"""Sounds named by classes and families, against hand calculations; their detection on a tiny separator."""

from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from tiny import noise, tiny_separator

from qsep.queries.reading.book import Entry
from qsep.recipes.demo.make_scene import SCENE_FILE
from qsep.separation.api import load
from qsep.separation.detection.activity import Activity, Guess
from qsep.separation.detection.class_sounds import Namer, confidence, detect_classes
from qsep.separation.detection.hierarchy import Sound, groups_at, own_members, sounds_of_families
from qsep.separation.detection.nodes import NodeSeparator

CLASSES = ("dog_bark", "cat_meow", "crow_caw", "piano")
FAMILIES = {
    "animal": Entry("animals", (), ("dog_bark", "cat_meow", "crow_caw")),
    "kitchen": Entry("a kitchen", (), ("cat_meow", "piano")),
    "bird": Entry("birds", (), ("crow_caw",)),
    "wild_animal": Entry("wild animals", (), ("dog_bark", "crow_caw")),
}


class Hearing(Namer):
    """A namer whose encoder hears every class alike but one, twice as likely."""

    twice = 0

    def log_probabilities(self, waveform: torch.Tensor, sample_rate: int) -> NDArray[np.float64]:
        weights = np.ones(self.num_classes)
        weights[self.twice] = 2
        return np.log(weights / weights.sum())


def namer() -> Hearing:
    return Hearing(CLASSES, ("a dog", "a cat", "a crow", "a piano"), FAMILIES)


def test_families_that_are_kinds_name_sounds_the_smallest_first() -> None:
    sounds = sounds_of_families(FAMILIES)
    assert [sound.name for sound in sounds] == ["birds", "wild animals", "animals"]
    assert sounds[0].path[-1] == "Bird"
    assert sounds[2].members == ("dog_bark", "cat_meow", "crow_caw")


def test_a_sound_is_called_by_its_class_or_the_smallest_family_that_is_probable_enough() -> None:
    def name(*probabilities: float) -> str | None:
        number = namer().name(np.array(probabilities), threshold=0.4)
        return None if number is None else namer().sounds[number].name

    assert name(0.61, 0.2, 0.1, 0.09) == "a dog"
    assert name(0.59, 0.2, 0.1, 0.11) == "wild animals"
    assert name(0.3, 0.1, 0.3, 0.3) == "wild animals"  # 0.6, while birds have 0.3
    assert name(0.2, 0.35, 0.1, 0.35) == "animals"  # 0.65; wild animals have 0.3
    assert namer().name(np.array([0.1, 0.1, 0.1, 0.3]), threshold=0.4) is None


def test_a_class_probability_joins_its_energy_and_what_the_encoder_hears() -> None:
    energies = np.array([6.0, 2.0, 0.0, 0.0])
    actual = namer().probabilities(energies, torch.zeros(1, 10), 8000)
    shares = np.array([0.75, 0.25, 0.0, 0.0]) + 1e-6
    expected = shares**0.8 * np.array([2, 1, 1, 1]) ** 0.4
    np.testing.assert_allclose(actual, expected / expected.sum(), rtol=1e-9)


def test_a_group_is_confident_where_its_classes_share_bins_with_no_others() -> None:
    """Two bins of loudness 1 and 2, probabilities (0.5, 0.3, 0.2) and (0.1, 0.1, 0.8): the first two classes
    together have 0.8 and 0.2, so 1 x 0.8^2 + 2 x 0.2^2 of 1 x 0.8 + 2 x 0.2."""
    probabilities, loudness = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), np.array([1.0, 2.0])
    overlaps = np.einsum("n,nc,nd->cd", loudness, probabilities, probabilities)
    actual = confidence(overlaps, np.array([True, True, False]))
    assert actual == pytest.approx((0.64 + 0.08) / (0.8 + 0.4))


def test_a_family_leaves_out_the_classes_that_have_a_file_of_their_own() -> None:
    dog, wild = Sound("a dog", members=("dog",)), Sound("wild", members=("dog", "crow"))
    animals = Sound("animals", members=("dog", "crow", "cat"))
    assert own_members([animals, dog]) == [("crow", "cat"), ("dog",)]
    assert own_members([wild, animals]) == [("dog", "crow"), ("cat",)]
    crow = Sound("a crow", members=("crow",))
    assert own_members([wild, dog, crow]) == [("dog", "crow"), ("dog",), ("crow",)]


def test_the_guess_of_a_family_is_its_likeliest_class_that_is_not_named_itself() -> None:
    names = namer()
    dog, birds, animals = 0, 4, 6
    assert [names.sounds[number].name for number in (birds, animals)] == ["birds", "animals"]
    by_class = {animals: np.array([0.5, 0.2, 0.25, 0.05]), birds: np.array([0.1, 0.0, 0.45, 0.45])}
    guesses = {animals: Guess("a dog", 0.5), birds: Guess("a crow", 0.45)}
    assert names.guesses(by_class) == guesses
    # beside a dog and birds, which are the rest of the animals, they are a cat
    guesses[animals] = Guess("a cat", 0.2)
    assert names.guesses({dog: np.array([0.9, 0.1, 0, 0]), **by_class}) == guesses
    activity = Activity(names.sounds, np.ones((7, 1), np.float32), 0.5, 0.5, 0.4, guesses)
    leaves = {group.name: activity.guess(group) for group in groups_at(names.sounds, "leaf")}
    assert leaves["animals"] == Guess("a cat", 0.2)
    assert leaves["a dog"] is leaves["wild animals"] is None
    (top, *_) = groups_at(names.sounds, 1)
    assert top.name == "Animal"
    assert activity.guess(top) is None  # a node of the ontology with several sounds


def separator() -> Any:
    return tiny_separator("class_unet", classes=CLASSES)


@pytest.mark.parametrize("num_samples", [1, 3000, 41000])
def test_recordings_of_any_length_get_a_timeline_and_silence_no_sound(num_samples: int) -> None:
    model, names = separator(), namer()
    names.twice = 3
    rate = model.sample_rate
    activity = detect_classes(model, names, [noise(2, num_samples).numpy()], rate, 0.4)
    assert activity.probabilities.shape == (7, -(-num_samples * 2 // rate))
    assert activity.seconds == pytest.approx(num_samples / rate, abs=2 / rate)
    assert activity.active()
    silence = np.zeros((2, num_samples), np.float32)
    assert not detect_classes(model, names, [silence], rate, 0.4).probabilities.any()


def test_pauses_of_a_sound_are_told_from_it() -> None:
    model, names = separator(), namer()
    rate = model.sample_rate
    waveform = noise(1, 4 * rate, seed=3)
    waveform[:, rate : 3 * rate] *= 1e-3
    activity = detect_classes(model, names, [waveform.numpy()], rate, 0.3)
    (number, *_) = activity.active()
    steps = activity.probabilities[number]
    assert (steps[[0, 1, 6, 7]] > 0.3).all()
    assert (steps[3:5] == 0).all()


def test_rain_under_the_louder_sounds_of_the_demo_is_found_and_no_sound_that_is_not_there() -> None:
    samples, rate = soundfile.read(SCENE_FILE, dtype="float32")
    nodes = NodeSeparator(load("sounds150", "cpu"))
    activity = nodes.detect([samples.T], rate)
    present = {"rain"}, {"flute"}, {"bass_drum", "snare_drum"}, {"speech_male"}
    named = [{*activity.sounds[number].members} for number in activity.active()]
    assert all(any(labels & classes for labels in named) for classes in present)
    assert all(any(labels & classes for classes in present) for labels in named)
    groups = activity.groups(["leaf"])
    assert all(
        (activity.guess(group) is None) == (group.name in nodes.model.class_names)
        for group in groups
    )
    pairs = list(nodes.separate(groups, activity, [samples.T], rate))
    mixture, targets = (np.concatenate(parts, axis=-1) for parts in zip(*pairs, strict=True))
    rest = torch.from_numpy(mixture - targets.sum(axis=0))
    # What is left of each bin is a part of it, so the targets and the rest are the recording. 1.1: the masks
    # are those of other frames, at the model's rate.
    window = torch.hann_window(2048)
    left, whole = (
        torch.stft(each, 2048, window=window, return_complex=True).abs().square()
        for each in (rest, torch.from_numpy(mixture))
    )
    assert left[left > 1.1 * whole].sum() < 1e-3 * whole.sum()
    assert left.sum() < 0.1 * whole.sum()  # four sounds are nearly all of it
