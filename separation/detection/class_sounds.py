"""Detection by a separator of sound classes, each sound named as exactly as it is recognised.

    window of the recording -> classes that share time-frequency bins are one sound: groups of classes
    group -> its loudness by class, and its sound, which a joint encoder of text and audio compares with the
    classes' names -> a probability of each class
    group -> whether its bins are its own: one that is a little of everything is hardly a sound
    -> the class, or else the smallest family of classes, that is probable enough

The separator confuses similar classes, and so does the encoder; together they err less. Where they hesitate
between classes of one family, the family is certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.encoders.joint import JointEncoder, shipped
from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.queries.reading.book import Entry

from ..inference.class_shares import STEP_SECONDS, class_analysis, step_shares, windows
from ..inference.memory import device_of
from ..inference.unexplained import class_groups
from ..interface import Separator
from .activity import Activity, Guess
from .hierarchy import own_members, sounds_of_classes, sounds_of_families

QUIET_DB = -20.0  # relative to a sound's loudest step in a window: below this it is inactive
FAINT_DB = -20.0  # relative to the window: fainter sounds are not named
# The numbers below were chosen, as the threshold, on a quarter of sounds150-dev-2, with quiet backgrounds and
# without: recipes/benchmarks/quality/auto_classes.py, --background 10.
# Classes are one sound while their mean distance is smaller, see `class_groups`. Finer groups than those for
# unknown words, of more classes: a quiet background would be joined with what is left of louder sounds.
MAX_DISTANCE, MAX_LARGE = 0.45, 40
CERTAIN = 0.4  # a group's confidence from which it surely is a sound
# A class's probability is its share of the group's loudness to the first power, times the joint encoder's
# probability to the second, normalised; to be named by it, it has to be this much more probable than a family
# has to be.
SHARE_POWER, ENCODER_POWER = 0.8, 0.4
MORE_FOR_CLASS = 1.5
MIN_SHARE = 1e-6
OUTSIDE = 0.05  # weight of the loudness of classes outside the group, which it may be nevertheless


class Namer:
    """Names sounds by classes, of a separator, and families of them. sounds: the classes, then the families.

    classes: labels; names: descriptions of them, in the same order.
    """

    def __init__(
        self, classes: Sequence[str], names: Sequence[str], families: Mapping[str, Entry]
    ) -> None:
        self.num_classes = len(classes)
        self.names = names
        self.sounds = (*sounds_of_classes(classes, names), *sounds_of_families(families))
        self.numbers = {label: number for number, label in enumerate(classes)}
        self.members = [[self.numbers[label] for label in sound.members] for sound in self.sounds]

    @cached_property
    def joint(self) -> JointEncoder:
        """The encoder of text and audio that comes with the package."""
        return shipped()

    @cached_property
    def vectors(self) -> Tensor:
        """The classes' names in the joint space, (K, d)."""
        return self.joint.encode([TextQuery(name) for name in self.names]).pooled

    def log_probabilities(self, waveform: Tensor, sample_rate: int) -> NDArray[np.float64]:
        """Of the classes for the sound of a waveform (c, t), by the joint encoder: (K,)."""
        with torch.inference_mode():
            heard = self.joint.sound_at(waveform, sample_rate)
            similarities = self.joint.similarity_scale() * (self.vectors @ heard)
        return similarities.log_softmax(dim=0).double().numpy()

    def probabilities(
        self, loudness: NDArray[np.floating], waveform: Tensor, sample_rate: int
    ) -> NDArray[np.float64]:
        """Of the classes for one sound, (K,): by its loudness in each, (K,), and its waveform (c, t)."""
        shares = np.log(loudness / loudness.sum() + MIN_SHARE)
        odds = SHARE_POWER * shares + ENCODER_POWER * self.log_probabilities(waveform, sample_rate)
        likelihoods = np.exp(odds - odds.max())
        return likelihoods / likelihoods.sum()

    def name(self, probabilities: NDArray[np.floating], threshold: float) -> int | None:
        """Index of the sound: the likeliest class, from MORE_FOR_CLASS times the threshold on, or else the
        smallest family, from the threshold on; None if there is none."""
        best = int(probabilities.argmax())
        if probabilities[best] >= min(MORE_FOR_CLASS * threshold, 1):
            return best
        for number in range(self.num_classes, len(self.sounds)):
            if probabilities[self.members[number]].sum() >= threshold:
                return number
        return None

    def guesses(self, by_class: Mapping[int, NDArray[np.floating]]) -> dict[int, Guess]:
        """The likeliest class of each family, of those that are not named beside it.

        by_class: of each named sound, class or family, the probabilities of the classes, (K,).
        """
        members = own_members([self.sounds[number] for number in by_class])
        guesses = {}
        for (number, probabilities), labels in zip(by_class.items(), members, strict=True):
            if number >= self.num_classes:
                best = max((self.numbers[label] for label in labels), key=probabilities.__getitem__)
                guesses[number] = Guess(self.sounds[best].name, float(probabilities[best]))
        return guesses


def detect_classes(
    separator: Separator,
    namer: Namer,
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
    threshold: float,
) -> Activity:
    """Detects sounds in a recording, in constant memory except for the result.

    blocks: (c, t) of a recording at sample_rate, not empty; namer: of the separator's classes.
    """
    step = round(STEP_SECONDS * separator.sample_rate)
    probabilities = np.zeros((len(namer.sounds), 0), np.float32)
    by_class: dict[int, list[NDArray[np.floating]]] = {}  # of each named sound, in each window
    num_samples = 0
    for start, mixture in windows(blocks, sample_rate, separator.sample_rate):
        first, num_steps = start // step, -(-mixture.shape[-1] // step)
        missing = first + num_steps - probabilities.shape[1]
        probabilities = np.pad(probabilities, ((0, 0), (0, max(0, missing))))
        for number, of_classes, sounding in sounds_in(separator, namer, mixture, step, threshold):
            part = probabilities[number, first : first + num_steps]
            np.maximum(part, of_classes[namer.members[number]].sum() * sounding, out=part)
            by_class.setdefault(number, []).append(of_classes)
        num_samples = start + mixture.shape[-1]
    seconds = num_samples / separator.sample_rate
    guesses = namer.guesses({number: np.mean(rows, axis=0) for number, rows in by_class.items()})
    return Activity(namer.sounds, probabilities, STEP_SECONDS, seconds, threshold, guesses)


def confidence(overlaps: NDArray[np.floating], is_member: NDArray[np.bool_]) -> float:
    """Mean probability of a group's classes, weighted by that probability and loudness: in [0, 1].

    overlaps: (K + 1, K + 1), see `ClassAnalysis`; is_member: (K + 1,).
    """
    return float(overlaps[np.ix_(is_member, is_member)].sum() / overlaps[is_member].sum())


@torch.inference_mode()
def sounds_in(
    separator: Separator, namer: Namer, mixture: Tensor, step: int, threshold: float
) -> Iterator[tuple[int, NDArray[np.floating], NDArray[np.bool_]]]:
    """The named sounds of a window (1, t): their numbers, probabilities of the classes (K,), and whether they
    sound in each step, (n,): not where they are much quieter than in their loudest step. step: in samples."""
    analysis = class_analysis(separator, mixture)
    shares = step_shares(analysis.shares()[0], mixture.shape[-1], step).numpy()
    if not shares.any():
        return
    overlaps = analysis.overlaps()[0].double().cpu().numpy()
    groups = class_groups(overlaps, MAX_DISTANCE, MAX_LARGE)
    # By energy, a quiet sound would be what louder ones leave in it.
    loudness = overlaps[:-1].sum(axis=1)
    totals = shares.sum(axis=1)
    heard = [
        group
        for group in range(groups.max() + 1)
        if totals[groups[:-1] == group].sum() >= 10 ** (FAINT_DB / 10)
    ]
    if not heard:
        return
    degrees = torch.from_numpy(np.stack([groups == group for group in heard])).float()
    queries = QueryEmbedding(degrees[None].to(device_of(separator)))
    estimates = analysis.targets(queries)[0].cpu()
    for group, estimate in zip(heard, estimates, strict=True):
        is_member = groups[:-1] == group
        weighted = loudness * np.where(is_member, 1.0, OUTSIDE)
        by_class = namer.probabilities(weighted, estimate, separator.sample_rate)
        by_class *= min(confidence(overlaps, groups == group) / CERTAIN, 1)
        number = namer.name(by_class, threshold)
        if number is None:
            continue
        steps = shares[is_member].sum(axis=0)
        sounding = steps >= steps.max() * 10 ** (QUIET_DB / 10)
        yield number, by_class, sounding
