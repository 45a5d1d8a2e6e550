"""USS's way to separate a node of the ontology (Kong et al. 2023, arXiv 2305.07447).

Every two seconds are separated by the tagger's probabilities with all classes outside the node set to
0, and are silent if none of the node's classes is active. As published, segments neither overlap nor
fade, so there may be clicks where they meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from qsep.queries.audioset import class_nodes
from qsep.queries.interface import QueryEmbedding, Tagger

from ..inference.chunks import Geometry
from ..inference.recording import separate_stream
from ..interface import Capabilities, LossOutput, MixtureBatch, Separated, Separator
from .hierarchy import Group
from .tagged_sounds import SEGMENT_SECONDS, tag


def separate_segments(
    separator: Separator,
    tagger: Tagger,
    groups: Sequence[Group],
    threshold: float,
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]:
    """As `separate_stream`, one target for each group: pairs of mixture (c, t) and targets (s, c, t).

    ValueError if the separator is not queried by the tagger's probabilities at the tagger's rate.
    """
    num_classes = len(class_nodes())
    if separator.sample_rate != tagger.sample_rate or separator.query_dim != num_classes:
        raise ValueError(
            f"the separator takes queries of width {separator.query_dim} at {separator.sample_rate} Hz; "
            f"the tagger gives {num_classes} probabilities at {tagger.sample_rate} Hz"
        )
    masks = torch.zeros(len(groups), num_classes)
    for mask, group in zip(masks, groups, strict=True):
        mask[list(group.members)] = 1
    segmentwise = Segmentwise(separator, tagger, threshold)
    geometry = Geometry(segmentwise.stride_samples, context=0, fade=0)
    queries = QueryEmbedding(masks)
    yield from separate_stream(segmentwise, blocks, sample_rate, queries, geometry)


class Segmentwise(nn.Module, Separator):
    """A Separator of single segments, for use only; queries are masks over the tagger's classes, of 0
    and 1."""

    num_channels = None
    capabilities = Capabilities()

    def __init__(self, separator: Separator, tagger: Tagger, threshold: float) -> None:
        super().__init__()
        assert isinstance(separator, nn.Module)
        self.inner: Separator = separator
        self.threshold = threshold
        self.tag = lambda segment: torch.from_numpy(tag(tagger, segment))
        self.config = separator.config
        self.sample_rate, self.query_dim = separator.sample_rate, separator.query_dim
        self.stride_samples = SEGMENT_SECONDS * tagger.sample_rate
        self.context_samples = 0

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Not trained."""
        raise NotImplementedError

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), t <= stride_samples; queries.pooled (b, s, 527) of 0 and 1. target +
        residual = mixture."""
        num_samples = mixture.shape[-1]
        padded = F.pad(mixture, (0, self.stride_samples - num_samples))
        target = mixture.new_zeros(*queries.pooled.shape[:2], *mixture.shape[1:])
        for item, (segment, masks) in enumerate(zip(padded, queries.pooled, strict=True)):
            tagged = self.tag(segment.mean(dim=0).cpu()).to(masks)
            probabilities = masks * tagged
            active = probabilities.amax(dim=1) >= self.threshold
            if active.any():
                embedding = QueryEmbedding(probabilities[active][None])
                target[item, active] = self.inner.separate(segment[None], embedding).target[
                    0, ..., :num_samples
                ]
        return Separated(target, mixture[:, None] - target)
