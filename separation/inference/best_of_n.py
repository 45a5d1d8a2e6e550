"""Best of n: draw several candidates from a generative separator and keep the best.

A generative separator draws a sample of the targets that mixture and query allow; another sample may be
better. Candidates are judged without the true target: by their similarity to the query, or by their
consistency with the mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import AudioQuery, Query, QueryEmbedding, QueryEncoder

from ..components import build_encoder
from ..interface import (
    Generators,
    LossOutput,
    MixtureBatch,
    Separated,
    Separator,
)
from ..signal.stft import stft

WINDOW_SECONDS = 0.032
JUDGES = ("embedding", "consistency")


class Judge(Protocol):
    """Scores candidates; higher is better. name: for reports."""

    @property
    def name(self) -> str:
        """One of JUDGES."""
        ...

    def __call__(self, mixture: Tensor, candidates: Tensor, sample_rate: int) -> Tensor:
        """mixture (c, t), candidates (k, s, c, t) to scores (k, s), comparable among the k of a query.

        sample_rate: in Hz.
        """
        ...


@dataclass(frozen=True)
class ByConsistency:
    """Fraction in [0, 1] of a candidate's energy that does not exceed the mixture's, bin by bin of an STFT.

    A bin that is louder than the mixture's can be a part of it only if other sounds cancel it.
    """

    name: str = "consistency"

    def __call__(self, mixture: Tensor, candidates: Tensor, sample_rate: int) -> Tensor:
        """As `Judge`; scores in [0, 1]."""
        window = 2 * round(WINDOW_SECONDS * sample_rate / 2)
        mixture_energy, energy = (
            stft(part, window, window // 2).abs().square() for part in (mixture, candidates)
        )
        inside = torch.minimum(energy, mixture_energy).sum(dim=(-3, -2, -1))
        return inside / energy.sum(dim=(-3, -2, -1)).clamp_min(1e-12)


class ByEmbedding:
    """Cosine in [-1, 1] between a candidate's embedding and its query's, by an encoder of text and audio.

    queries: s targets, perhaps followed by negatives, which are not scored.
    """

    name = "embedding"

    def __init__(self, encoder: QueryEncoder, queries: Sequence[Query]) -> None:
        self.encoder = encoder
        self.query_vectors = F.normalize(encoder.encode(queries).pooled, dim=-1)  # (s + m, d)

    def __call__(self, mixture: Tensor, candidates: Tensor, sample_rate: int) -> Tensor:
        """As `Judge`; scores in [-1, 1]."""
        mono = candidates.mean(dim=-2).flatten(0, 1).cpu().numpy()  # (k s, t)
        recordings = [AudioQuery(waveform, sample_rate=sample_rate) for waveform in mono]
        vectors = F.normalize(self.encoder.encode(recordings).pooled, dim=-1)
        query_vectors = self.query_vectors[: candidates.shape[1]]
        return (vectors.unflatten(0, candidates.shape[:2]) * query_vectors).sum(dim=-1)


def judging_encoder(encoder: QueryEncoder) -> QueryEncoder:
    """The encoder that compares candidates with queries.

    The model's own if it embeds text and audio in one space, as CLAP does; otherwise the joint encoder that
    comes with the package.
    """
    joint: QueryEncoder = encoder.joint_encoder or build_encoder("joint", {})
    return joint


@dataclass(frozen=True)
class BestOfN:
    """How many candidates of each target to draw, and which of JUDGES picks one; ValueError for others."""

    num: int = 1
    judge: str = "embedding"

    def __post_init__(self) -> None:
        if self.num < 1:
            raise ValueError(f"{self.num} candidates; expected 1 or more")
        if self.judge not in JUDGES:
            raise ValueError(f"judge {self.judge!r}; expected one of {', '.join(JUDGES)}")

    def check(self, separator: Separator) -> None:
        """Raise ValueError if there are several candidates but the separator is not generative."""
        if self.num > 1 and not separator.capabilities.generative:
            raise ValueError(
                "this model is not generative, so it has a single candidate; use one that is, as flow-small"
            )

    def apply(
        self, separator: Separator, encoder: QueryEncoder, queries: Sequence[Query]
    ) -> Separator:
        """The separator itself for one candidate, otherwise a BestOfNSeparator.

        queries: of the targets, then the negatives, in the order of the embedding.
        """
        if self.num == 1:
            return separator
        if self.judge == "consistency":
            return BestOfNSeparator(separator, self.num, ByConsistency())
        return BestOfNSeparator(separator, self.num, ByEmbedding(judging_encoder(encoder), queries))


class BestOfNSeparator(nn.Module, Separator):
    """Wraps a generative separator: draws `num` candidates in one pass and returns each query's best.

    Candidate i is drawn with seed i, so results are reproducible and candidate 0 is the separator's own
    result. A long recording is judged chunk by chunk. choices: for each chunk and query the index of the
    kept candidate, and all scores.
    """

    def __init__(self, separator: Separator, num: int, judge: Judge) -> None:
        super().__init__()
        self.separator, self.num, self.scorer = separator, num, judge
        self.config = separator.config
        self.sample_rate, self.num_channels = separator.sample_rate, separator.num_channels
        self.query_dim = separator.query_dim
        self.capabilities, self.classes = separator.capabilities, separator.classes
        self.stride_samples = separator.stride_samples
        self.context_samples = separator.context_samples
        self.choices: list[list[dict[str, Any]]] = []

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """The loss of the wrapped separator."""
        return self.separator.loss(batch, queries, generator)

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: Generators = None
    ) -> Separated:
        """mixture: (b, c, t); queries: (b, s, ...). generator: ignored, since candidates have fixed seeds."""
        targets = []
        for index, item in enumerate(mixture):
            item_queries = queries.map(itemgetter(index))
            targets.append(self.best(item, item_queries))
        target = torch.stack(targets)
        return Separated(target, mixture[:, None] - target)

    def best(self, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
        """The best candidates (s, c, t) for one mixture (c, t) and queries (s, ...)."""
        generators = [torch.Generator().manual_seed(seed) for seed in range(self.num)]
        repeated = queries.map(lambda entry: entry.expand(self.num, *entry.shape))
        separate: Any = self.separator.separate  # generative: takes a list of generators
        candidates: Tensor = separate(
            mixture.expand(self.num, *mixture.shape), repeated, generators
        ).target
        scores = self.scorer(mixture, candidates, self.sample_rate)
        chosen = scores.argmax(dim=0)
        self.choices.append(
            [
                {"candidate": int(index), "scores": [round(float(score), 4) for score in column]}
                for index, column in zip(chosen, scores.T, strict=True)
            ]
        )
        return candidates[chosen, torch.arange(len(chosen))]

    def report(self, index: int) -> dict[str, Any]:
        """Number of candidates, judge, and the choice in each chunk for query `index`."""
        chunks = [choices[index] for choices in self.choices]
        return {"candidates": {"num": self.num, "judge": self.scorer.name, "chunks": chunks}}
