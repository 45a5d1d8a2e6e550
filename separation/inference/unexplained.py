"""Queries for sounds that no class covers: the part of the recording that resembles the words most.

recording -> how much the classes share its time-frequency bins (K + 1, K + 1)
classes that share bins are names for the same sound -> groups of classes, one for each sound
words, and the sound of each group -> a degree for all classes of the group, from
    the likeness of the words to the group's classes,
    the confidence in these: a sound that no class covers resembles many of them, and
    what an audio tagger hears in the group's sound, by the classes of AudioSet that the words resemble
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from qsep.queries.encoders import joint
from qsep.queries.interface import ClassQuery, Query, QueryEmbedding
from qsep.queries.reading.reading import AtomReading, Reading

from ..interface import ClassAnalysis, Separator
from .class_shares import class_analysis, windows
from .memory import device_of

# Classes are joined while their mean distance, 1 - cosine of their probabilities over the bins, is smaller.
MAX_DISTANCE = 0.75
# The largest classes, of more than this part of the loudness, form the groups; the others join them.
MAX_LARGE, MIN_LARGE = 20, 0.004
MAX_HEARD = 6  # windows whose groups are separated and heard, spread over the recording
# Log odds that a group is the queried sound, a sum of CLOSENESS x closeness, CONFIDENCE x log confidence and
# HEARD x fit, see `features`. A logistic regression on the groups of mixtures of a sound of an unknown kind
# and a known one (recipes/benchmarks/quality/unknown_sounds.py --fit), times its DECIDED: with less decided
# degrees the mean score is higher, since wrong choices cost less.
CLOSENESS, CONFIDENCE, HEARD = 11.4, -0.587, 0.0524
TINY = 1e-9
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Scene:
    """The sounds of one recording.

    overlaps: (K + 1, K + 1), see `ClassAnalysis`. groups: (K + 1,), of `class_groups`. events: (g, 521),
    logits of AudioSet's classes in the sound of each group, see `JointEncoder.event_logits`.
    """

    overlaps: Floats
    groups: NDArray[np.int64]
    events: Floats


def degrees_in(reading: Reading, scene: Scene) -> NDArray[np.float32]:
    """Degrees (K + 1,) of a query in one recording, the last one for "other".

    Words that are not known mean the groups of classes that they resemble most; known words do not depend on
    the recording.
    """

    def resembling(atom: AtomReading) -> NDArray[np.float32]:
        assert atom.closeness is not None
        return group_degrees(scene, atom.closeness, joint.shipped().event_weights(atom.text))

    return reading.degrees(resembling)


def class_groups(
    overlaps: NDArray[np.floating], max_distance: float = MAX_DISTANCE, max_large: int = MAX_LARGE
) -> NDArray[np.int64]:
    """The number of each class's group, (K + 1,), from 0 on, for overlaps (K + 1, K + 1).

    Average linkage of the max_large loudest classes by the cosine of their probabilities over the bins, up to
    max_distance; every other class joins the group that it overlaps most.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    loudness = overlaps[:-1].sum(axis=1)
    large = np.argsort(-loudness, kind="stable")[:max_large]
    large = large[loudness[large] > MIN_LARGE * overlaps.sum()]
    if len(large) < 2:
        return np.zeros(len(overlaps), np.int64)
    norms = np.sqrt(np.diagonal(overlaps).clip(1e-20))
    cosines = overlaps / norms / norms[:, None]
    distances = (1 - cosines[np.ix_(large, large)]).clip(0)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average")
    of_large = fcluster(tree, max_distance, "distance") - 1
    means = [
        cosines[:, large[of_large == group]].mean(axis=1) for group in range(of_large.max() + 1)
    ]
    groups = np.argmax(means, axis=0)
    groups[large] = of_large
    return groups


def group_degrees(scene: Scene, closeness: Floats, event_weights: Floats) -> NDArray[np.float32]:
    """A degree for each class, (K + 1,), the same within a group: the probability that it is queried.

    closeness: of the words to each class, see `AtomReading`. event_weights: (521,), how much the words mean
    each of AudioSet's classes. A single group has degree 1.
    """
    if scene.groups.max() == 0:
        return np.ones(len(scene.groups), np.float32)
    close, confidence, fit = features(scene, closeness, event_weights)
    odds = CLOSENESS * close + CONFIDENCE * confidence + HEARD * fit
    return (1 / (1 + np.exp(-odds)))[scene.groups].astype(np.float32)


def features(
    scene: Scene, closeness: Floats, event_weights: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of each group, (g,) each, less the mean of all groups: closeness to the words, the logarithm of the
    confidence in its classes, and the fit of its sound to the words.

    Arguments: as for `group_degrees`. A group's closeness is the mean over its classes, weighted by loudness.
    The confidence in a class is its mean probability, weighted by that probability and loudness: it is large
    where a class that the model knows sounds, and small where a sound resembles many classes. The fit is the
    mean of the logits of AudioSet's classes, by the words' weights.
    """
    groups, overlaps = scene.groups, scene.overlaps
    loudness = overlaps.sum(axis=1).clip(1e-20)
    total = np.bincount(groups, loudness)
    close = np.bincount(groups, loudness * closeness) / total
    certain = np.bincount(groups, np.diagonal(overlaps)) / total
    confidence = np.log(certain.clip(1e-6))
    fit = scene.events @ event_weights
    return close - close.mean(), confidence - confidence.mean(), fit - fit.mean()


def resolve_unknown(
    separator: Separator,
    queries: Sequence[Query],
    readings: Sequence[Reading | None],
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
) -> list[Query]:
    """The queries, with those that have unknown words replaced by a ClassQuery for this recording.

    readings: of each query, None for queries that are no text. blocks: (c, t) of the recording or of its
    beginning, at sample_rate in Hz; consumed only if a query needs them.
    """
    unknown = [
        index for index, reading in enumerate(readings) if reading and has_unknown_words(reading)
    ]
    if not unknown:
        return list(queries)
    scene = scene_of(separator, blocks, sample_rate)
    resolved = list(queries)
    for index in unknown:
        reading = readings[index]
        assert reading is not None
        degrees = degrees_in(reading, scene)
        named = dict(zip(separator.classes, map(float, degrees[:-1]), strict=True))
        resolved[index] = ClassQuery(named, other=float(degrees[-1]))
    return resolved


@torch.inference_mode()
def scene_of(separator: Separator, blocks: Iterable[Floats], sample_rate: int) -> Scene:
    """The sounds of a recording, block by block, in constant memory.

    blocks: (c, t), at sample_rate in Hz. All windows count for the groups; at most MAX_HEARD are heard.
    """
    size = len(separator.classes) + 1
    overlaps = np.zeros((size, size))
    heard: list[ClassAnalysis] = []
    every = 1  # windows, of which one is kept to be heard
    for number, (_, mixture) in enumerate(windows(blocks, sample_rate, separator.sample_rate)):
        analysis = class_analysis(separator, mixture)
        overlaps += analysis.overlaps()[0].double().cpu().numpy()
        if number % every == 0:
            heard.append(analysis)
        if len(heard) > MAX_HEARD:
            heard, every = heard[::2], 2 * every
    groups = class_groups(overlaps)
    several = groups.max() > 0
    events = group_events(separator, heard, groups) if several else np.zeros((1, 0))
    return Scene(overlaps, groups, events)


def group_events(
    separator: Separator, analyses: Sequence[ClassAnalysis], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Logits of AudioSet's classes in the sound of each group, (g, 521): means over the analyses of
    mixtures (1, 1, t), weighted by the amplitude of the group there. groups: (K + 1,)."""
    tagger = joint.shipped()
    members = F.one_hot(torch.from_numpy(groups)).mT.float()
    queries = QueryEmbedding(members[None].to(device_of(separator)))
    weighted, weights = [], []
    for analysis in analyses:
        sounds = analysis.targets(queries)[0, :, 0].cpu()
        amplitudes = sounds.double().square().mean(dim=-1, keepdim=True).sqrt().numpy() + TINY
        logits = tagger.event_logits(tagger.resampled(sounds, separator.sample_rate))
        weighted.append(amplitudes * logits)
        weights.append(amplitudes)
    events: NDArray[np.float64] = np.sum(weighted, axis=0) / np.sum(weights, axis=0)
    return events


def has_unknown_words(reading: Reading) -> bool:
    """Whether some part of the query is not a sound that the model knows."""
    return not all(atom.known for atom in reading.atoms.values())
