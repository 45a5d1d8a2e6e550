"""Queries for sounds that no class covers: the part of the recording that resembles the words most.

recording -> how much the classes share its time-frequency bins (K + 1, K + 1)
classes that share bins are names for the same sound -> groups of classes, one for each sound
words -> similarity to the classes of each group -> a degree for all classes of the group
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from qsep.queries.interface import ClassQuery, Query
from qsep.queries.reading.reading import AtomReading, Reading

from ..interface import Separator
from .class_shares import class_analysis, windows

# Classes are joined while their mean distance, 1 - cosine of their probabilities over the bins, is smaller.
MAX_DISTANCE = 0.75
# The largest classes, of more than this part of the loudness, form the groups; the others join them.
MAX_LARGE, MIN_LARGE = 20, 0.004
# Log odds that a group is the queried sound: BIAS + CLOSENESS x closeness + CONFIDENCE x log confidence, as
# returned by `features`. A logistic regression on the groups of mixtures of a sound of an unknown kind and a
# known one (recipes/benchmarks/quality/unknown_sounds.py --fit), times 0.35: with less decided degrees the
# mean score is higher, since wrong choices cost less.
BIAS, CLOSENESS, CONFIDENCE = -1.31, 14.88, -0.56


def degrees_in(reading: Reading, overlaps: NDArray[np.floating]) -> NDArray[np.float32]:
    """Degrees (K + 1,) of a query in one recording, the last one for "other".

    overlaps: (K + 1, K + 1), see `ClassAnalysis`. Words that are not known mean the groups of
    classes that they resemble most; known words do not depend on the recording.
    """
    groups = class_groups(overlaps)

    def resembling(atom: AtomReading) -> NDArray[np.float32]:
        assert atom.closeness is not None
        return group_degrees(groups, overlaps, atom.closeness)

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


def group_degrees(
    groups: NDArray[np.int64], overlaps: NDArray[np.floating], closeness: NDArray[np.floating]
) -> NDArray[np.float32]:
    """A degree for each class, (K + 1,), the same within a group: the probability that it is queried.

    As for `features`. A single group has degree 1.
    """
    if groups.max() == 0:
        return np.ones(len(groups), np.float32)
    close, confidence = features(groups, overlaps, closeness)
    odds = BIAS + CLOSENESS * close + CONFIDENCE * confidence
    return (1 / (1 + np.exp(-odds)))[groups].astype(np.float32)


def features(
    groups: NDArray[np.int64], overlaps: NDArray[np.floating], closeness: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each group, (g,) each: its closeness to the words, less the mean of all groups', and the logarithm
    of the confidence in its classes.

    groups: `class_groups` of overlaps (K + 1, K + 1). closeness: of the words to each class, see
    `AtomReading`; a group's is the mean over its classes, weighted by loudness. The confidence in a class is
    its mean probability, weighted by that probability and loudness: it is large where a class that the model
    knows sounds, and small where a sound resembles many classes.
    """
    loudness = overlaps.sum(axis=1).clip(1e-20)
    total = np.bincount(groups, loudness)
    close = np.bincount(groups, loudness * closeness) / total
    certain = np.bincount(groups, np.diagonal(overlaps)) / total
    return close - close.mean(), np.log(certain.clip(1e-6))


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
    overlaps = overlaps_of(separator, blocks, sample_rate)
    resolved = list(queries)
    for index in unknown:
        reading = readings[index]
        assert reading is not None
        degrees = degrees_in(reading, overlaps)
        named = dict(zip(separator.classes, map(float, degrees[:-1]), strict=True))
        resolved[index] = ClassQuery(named, other=float(degrees[-1]))
    return resolved


@torch.inference_mode()
def overlaps_of(
    separator: Separator, blocks: Iterable[NDArray[np.floating]], sample_rate: int
) -> NDArray[np.float64]:
    """The classes' overlaps (K + 1, K + 1) in a recording, see `ClassAnalysis`.

    Blocks are read one after the other, in constant memory.
    """
    size = len(separator.classes) + 1
    total = np.zeros((size, size))
    for _, mixture in windows(blocks, sample_rate, separator.sample_rate):
        total += class_analysis(separator, mixture).overlaps()[0].double().cpu().numpy()
    return total


def has_unknown_words(reading: Reading) -> bool:
    """Whether some part of the query is not a sound that the model knows."""
    return not all(atom.known for atom in reading.atoms.values())
