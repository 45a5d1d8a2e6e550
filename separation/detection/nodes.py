"""From a recording to its sounds: what detects them, and how each model takes a node of the hierarchy out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsep.queries.cache import CachedEncoder
from qsep.queries.encoders.panns import Panns
from qsep.queries.interface import ClassQuery, Constraints, Query, TextQuery
from qsep.queries.networks.cnn14 import Cnn14, load_cnn14

from ..api import Model
from .activity import Activity
from .class_sounds import detect_classes
from .hierarchy import Group, most_specific, sounds_of_kinds
from .own_sounds import detect_own
from .segmentwise import separate_segments
from .tagged_sounds import detect_tagged

OWN_THRESHOLD = 0.5  # of the probability that a kind is there
TAGGED_THRESHOLD = 0.2  # as in USS
TAGGER_FILES = (
    "Cnn14_mAP=*.pth",
    "cnn14.safetensors",
    "Cnn14*.pth",
)  # sought in a folder, in this order

Blocks = Iterable[NDArray[np.floating]]


class NodeSeparator:
    """A model and what detects sounds for it: a tagger, if there is one, or the model itself.

    tagger: Cnn14's weights, or a folder with them; by default the one that a model of USS comes with.
    threshold: of probabilities; by default 0.5, or 0.2 of a tagger's.
    """

    def __init__(
        self, model: Model, tagger: Path | None = None, threshold: float | None = None
    ) -> None:
        self.model = model
        own = tagger_of(model)
        self.by_probabilities = own is not None and own.config.output == "probabilities"
        self.tagger: Cnn14 | None = None
        if tagger is not None:
            self.tagger = load_cnn14(tagger_file(tagger))
        elif own is not None:
            self.tagger = own.network
        self.threshold = threshold
        if threshold is None:
            self.threshold = OWN_THRESHOLD if self.tagger is None else TAGGED_THRESHOLD
        if not self.by_probabilities and TextQuery not in model.encoder.modalities:
            raise ValueError(
                f"{model.name} is not asked by classes' names or probabilities; take another model"
            )
        if self.tagger is None and not model.classes:
            raise ValueError(
                f"{model.name} has no list of sounds; say with --tagger what detects them "
                "(Cnn14_mAP=0.431.pth of PANNs)"
            )

    def detect(self, blocks: Blocks, sample_rate: int) -> Activity:
        """blocks: (c, t) of a recording at sample_rate, not empty, in constant memory."""
        assert self.threshold is not None
        if self.tagger is not None:
            return detect_tagged(self.tagger, blocks, sample_rate, self.threshold)
        if ClassQuery in self.model.encoder.modalities:
            return detect_classes(
                self.model.separator,
                sounds_of_kinds(self.model.classes, self.model.class_names),
                blocks,
                sample_rate,
                self.threshold,
            )
        return detect_own(self.model, blocks, sample_rate, self.threshold)

    def separate(
        self, groups: Sequence[Group], activity: Activity, blocks: Blocks, sample_rate: int
    ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]:
        """Pairs of mixture (c, t) and targets (s, c, t), one a group, of the recording that was detected in.

        A model that is asked by probabilities separates as USS does. Others are asked for the most specific
        active sounds by their names, exclusively, and a group is the sum of its own: never more than the
        mixture.
        """
        if self.by_probabilities:
            assert self.tagger is not None
            assert self.threshold is not None
            yield from separate_segments(
                *(self.model.separator, self.tagger, groups, self.threshold),
                *(blocks, sample_rate),
            )
            return
        asked = most_specific(activity.sounds, activity.active())
        queries: list[Query]
        if ClassQuery in self.model.encoder.modalities and self.tagger is None:
            queries = [ClassQuery([self.model.classes[number]]) for number in asked]
        else:
            queries = [TextQuery(activity.sounds[number].name) for number in asked]
        for query in queries:
            self.model.warn_if_unfamiliar(query)
        own = [
            [asked.index(member) for member in asked if member in group.members] for group in groups
        ]
        constraints = Constraints(exclusive=True)
        for mixture, targets in self.model.separate_blocks(
            blocks, sample_rate, queries, constraints
        ):
            yield mixture, np.stack([targets[members].sum(axis=0) for members in own])


def tagger_of(model: Model) -> Panns | None:
    """The tagger that makes a model's queries."""
    encoder = model.encoder
    if isinstance(encoder, CachedEncoder):
        encoder = encoder.encoder
    return encoder if isinstance(encoder, Panns) else None


def tagger_file(path: Path) -> Path:
    if path.is_file():
        return path
    for pattern in TAGGER_FILES:
        if found := sorted(path.glob(pattern)) if path.is_dir() else []:
            return found[0]
    missing = "no such file or folder" if not path.exists() else "no weights of Cnn14 in it"
    raise ValueError(f"{path}: {missing}; give Cnn14_mAP=0.431.pth of PANNs")
