"""Recordings embedded by YAMNet, an audio tagger trained on AudioSet: for distances between sets of sounds.

No separator is trained with it; it judges them from outside. See `networks/yamnet.py` for the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..interface import AudioQuery, Query, QueryEmbedding, QueryEncoder, check_readable, unreadable
from ..media import read_recording
from ..networks.yamnet import GRAPH, SAMPLE_RATE, WIDTH, Yamnet, load_yamnet, package_file
from ..settings import configuration
from .panns import digest

MAX_SECONDS = 600.0  # of an example


@configuration
class Config:
    """Nothing to set: the weights come with the extra `yamnet`."""


def build(config: Config) -> YamnetEncoder:
    """See `YamnetEncoder`; ValueError without the extra."""
    return YamnetEncoder(config)


class YamnetEncoder(QueryEncoder):
    """The mean of the embeddings of a recording's patches; several recordings have equal weights. Its network
    is loaded at the first recording."""

    modalities: frozenset[type[Query]] = frozenset({AudioQuery})
    dim = WIDTH

    def __init__(self, config: Config) -> None:
        self.config = config
        self.fingerprint = f"yamnet-{digest(package_file(GRAPH))}"

    @cached_property
    def network(self) -> Yamnet:
        """The network, on the device."""
        return load_yamnet().to(self.device)

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`; pooled is not negative."""
        check_readable(self, queries)
        return QueryEmbedding(torch.stack([self.vector(query) for query in queries]))

    @torch.inference_mode()
    def vector(self, query: Query) -> Tensor:
        """(dim,)."""
        if not isinstance(query, AudioQuery):
            raise unreadable(self, query)
        vectors = []
        for example in query.examples:
            waveform = torch.from_numpy(read_recording(example, SAMPLE_RATE, MAX_SECONDS))
            vectors.append(self.network.embeddings(waveform[None].to(self.device))[0].mean(dim=0))
        return torch.stack(vectors).mean(dim=0).cpu().clone()
