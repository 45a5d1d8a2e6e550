"""From a recording to its sounds: which detector a model uses, and how it separates a node of the
hierarchy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsep.queries.constraints import Constraints
from qsep.queries.interface import ClassQuery, Query, Tagger, TextQuery
from qsep.queries.networks.cnn14 import load_cnn14
from qsep.queries.networks.yamnet import load_yamnet

from ..api import Model
from .activity import Activity
from .class_sounds import Namer, detect_classes
from .hierarchy import Group, most_specific, own_members
from .segmentwise import separate_segments
from .separated_sounds import detect_separated
from .tagged_sounds import detect_tagged

SEPARATOR_THRESHOLD = 0.5  # of probabilities from the separator itself
CLASS_THRESHOLD = 0.3  # of the probability that a sound is of a class or family
TAGGED_THRESHOLD = 0.2  # of a tagger's probabilities, as in USS
# In order of preference.
YAMNET = Path("yamnet")  # in place of a file
TAGGER_FILES = ("Cnn14_mAP=*.pth", "cnn14.safetensors", "Cnn14*.pth")

Blocks = Iterable[NDArray[np.floating]]


class NodeSeparator:
    """A model, and what detects sounds for it: a tagger if there is one, otherwise the model itself.

    tagger: YAMNET, or weights of Cnn14 or a folder that holds them; by default the tagger that a USS model
    comes with. threshold: of probabilities; by default 0.5, for classes
    and families 0.3, with a tagger 0.2. ValueError if the model
    cannot be queried by classes, or has no classes and there is no tagger.
    """

    def __init__(
        self, model: Model, tagger: Path | None = None, threshold: float | None = None
    ) -> None:
        self.model = model
        self.by_probabilities = model.encoder.probabilities
        self.tagger = load_tagger(tagger) if tagger else model.encoder.tagger
        self.threshold = threshold
        if threshold is None:
            by_classes = ClassQuery in model.encoder.modalities
            own_threshold = CLASS_THRESHOLD if by_classes else SEPARATOR_THRESHOLD
            self.threshold = own_threshold if self.tagger is None else TAGGED_THRESHOLD
        if not self.by_probabilities and TextQuery not in model.encoder.modalities:
            raise ValueError(
                f"{model.name} takes neither names of sounds nor probabilities as queries; use another model"
            )
        if self.tagger is None and not model.classes:
            raise ValueError(
                f"{model.name} has no list of sounds to detect; give a detector with --tagger yamnet, "
                "or Cnn14_mAP=0.431.pth of PANNs"
            )

    @cached_property
    def namer(self) -> Namer:
        """What names the sounds of a model that is queried by classes."""
        model = self.model
        families = model.encoder.book.families if model.encoder.book else {}
        return Namer(model.classes, model.class_names, families)

    def detect(self, blocks: Blocks, sample_rate: int) -> Activity:
        """Detects sounds in blocks (c, t) of a recording at sample_rate, not empty; memory does not
        grow with its length."""
        assert self.threshold is not None
        if self.tagger is not None:
            return detect_tagged(self.tagger, blocks, sample_rate, self.threshold)
        if ClassQuery in self.model.encoder.modalities:
            return detect_classes(
                self.model.separator, self.namer, blocks, sample_rate, self.threshold
            )
        return detect_separated(self.model, blocks, sample_rate, self.threshold)

    def separate(
        self, groups: Sequence[Group], activity: Activity, blocks: Blocks, sample_rate: int
    ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]:
        """Pairs of mixture (c, t) and targets (s, c, t), one for each group, of the recording given to
        `detect`.

        A model queried by probabilities separates as in USS. Other models separate the most specific
        active sounds by their names, mutually exclusive; a group is the sum of its sounds, so it never
        exceeds the mixture.
        """
        if self.by_probabilities:
            assert self.tagger is not None
            assert self.threshold is not None
            yield from separate_segments(
                *(self.model.separator, self.tagger, groups, self.threshold),
                *(blocks, sample_rate),
            )
            return
        separated = most_specific(activity.sounds, activity.active())
        queries: list[Query]
        if ClassQuery in self.model.encoder.modalities and self.tagger is None:
            sounds = [activity.sounds[number] for number in separated]
            queries = [ClassQuery(members) for members in own_members(sounds)]
        else:
            queries = [TextQuery(activity.sounds[number].name) for number in separated]
        for query in queries:
            self.model.warn_if_unfamiliar(query)
        members_of_group = [
            [separated.index(member) for member in separated if member in group.members]
            for group in groups
        ]
        constraints = Constraints(exclusive=True)
        for mixture, targets in self.model.separate_blocks(
            blocks, sample_rate, queries, constraints
        ):
            yield mixture, np.stack([targets[members].sum(axis=0) for members in members_of_group])


def load_tagger(path: Path) -> Tagger:
    """YAMNet for YAMNET, if no file or folder has that name; otherwise Cnn14, see `tagger_file`."""
    if path == YAMNET and not path.exists():
        return load_yamnet()
    return load_cnn14(tagger_file(path))


def tagger_file(path: Path) -> Path:
    """The file of Cnn14's weights at a path, a file or a folder. ValueError if there is none."""
    if path.is_file():
        return path
    for pattern in TAGGER_FILES:
        if files := sorted(path.glob(pattern)) if path.is_dir() else []:
            return files[0]
    missing = "no such file or folder" if not path.exists() else "no weights of Cnn14 in it"
    raise ValueError(f"{path}: {missing}; give yamnet, or Cnn14_mAP=0.431.pth of PANNs")
