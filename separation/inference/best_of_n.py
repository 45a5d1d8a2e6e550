"""Several draws of a generative separator, of which the best is kept.

A flow separator draws one of the targets that mixture and query allow; another draw may be a better one.
What is better is judged without knowing the target: by what it sounds like, or by whether it can be in the
mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import AudioQuery, Query, QueryEmbedding, QueryEncoder, TextQuery

from ..components import build_encoder
from ..interface import (
    Generators,
    LossOutput,
    MixtureBatch,
    Separated,
    Separator,
)
from ..signal.stft import stft
from .examples import DescribedExamples

WINDOW_SECONDS = 0.032
JUDGES = ("embedding", "consistency")


class Judge(Protocol):
    """Scores of candidates, the higher the better; name: what it goes by, for reports."""

    @property
    def name(self) -> str: ...

    def __call__(self, mixture: Tensor, candidates: Tensor, sample_rate: int) -> Tensor:
        """mixture (c, t), candidates (k, s, c, t) to scores (k, s), each query's comparable among k."""
        ...


@dataclass(frozen=True)
class ByConsistency:
    """Share of a candidate's energy that lies where the mixture is as loud, 0 to 1: what is louder than the
    mixture cannot have been in it, but by chance of phases."""

    name: str = "consistency"

    def __call__(self, mixture: Tensor, candidates: Tensor, sample_rate: int) -> Tensor:
        window = 2 * round(WINDOW_SECONDS * sample_rate / 2)
        heard, found = (
            stft(part, window, window // 2).abs().square() for part in (mixture, candidates)
        )
        inside = torch.minimum(found, heard).sum(dim=(-3, -2, -1))
        return inside / found.sum(dim=(-3, -2, -1)).clamp_min(1e-12)


class ByEmbedding:
    """Cosine of a candidate's embedding to its query's, by an encoder that reads both."""

    name = "embedding"

    def __init__(self, encoder: QueryEncoder, queries: Sequence[Query]) -> None:
        self.encoder = encoder
        self.wanted = F.normalize(encoder.encode(queries).pooled, dim=-1)  # (s, d)

    def __call__(self, mixture: Tensor, candidates: Tensor, sample_rate: int) -> Tensor:
        mono = candidates.mean(dim=-2).flatten(0, 1).cpu().numpy()  # (k s, t)
        heard = [AudioQuery(waveform, sample_rate=sample_rate) for waveform in mono]
        found = F.normalize(self.encoder.encode(heard).pooled, dim=-1)
        wanted = self.wanted[
            : candidates.shape[1]
        ]  # negatives that the network is told are no rows
        return (found.unflatten(0, candidates.shape[:2]) * wanted).sum(dim=-1)


def listener(encoder: QueryEncoder) -> QueryEncoder:
    """What hears candidates: the model's own encoder where words and sounds lie in one space, as CLAP's, else
    the joint encoder that comes with the package."""
    if isinstance(encoder, DescribedExamples):
        return encoder.joint
    if {AudioQuery, TextQuery} <= encoder.modalities:
        return encoder
    joint: QueryEncoder = build_encoder("joint", {})
    return joint


@dataclass(frozen=True)
class BestOfN:
    """num candidates of each target, judged by one of JUDGES."""

    num: int = 1
    judge: str = "embedding"

    def __post_init__(self) -> None:
        if self.num < 1:
            raise ValueError(f"{self.num} candidates; expected 1 or more")
        if self.judge not in JUDGES:
            raise ValueError(f"judge {self.judge!r}; expected one of {', '.join(JUDGES)}")

    def check(self, separator: Separator) -> None:
        """ValueError if the separator draws nothing."""
        if self.num > 1 and not separator.capabilities.generative:
            raise ValueError(
                "this model has one answer to a query and no candidates; take a generative one, as flow-small"
            )

    def apply(
        self, separator: Separator, encoder: QueryEncoder, queries: Sequence[Query]
    ) -> Separator:
        """The separator itself for one candidate, else BestOfNSeparator. queries: all of a call, in order."""
        if self.num == 1:
            return separator
        if self.judge == "consistency":
            return BestOfNSeparator(separator, self.num, ByConsistency())
        return BestOfNSeparator(separator, self.num, ByEmbedding(listener(encoder), queries))


class BestOfNSeparator(nn.Module, Separator):
    """A generative separator as one that draws `num` candidates in one pass and returns each query's best.

    Candidate i is drawn from the seed i, so that the first is what the separator alone gives, and all are
    the same tomorrow. A long recording is judged chunk by chunk. choices: for each chunk and query which
    candidate was kept, and all scores.
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
        return self.separator.loss(batch, queries, generator)

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: Generators = None
    ) -> Separated:
        """mixture: (b, c, t); queries: (b, s, …). generator: ignored, for candidates have their own."""
        kept = []
        for index, item in enumerate(mixture):
            own = queries.map(lambda entry, index=index: entry[index])  # type: ignore[misc]
            kept.append(self.best(item, own))
        target = torch.stack(kept)
        return Separated(target, mixture[:, None] - target)

    def best(self, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
        """mixture (c, t), queries (s, …) to (s, c, t)."""
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


def explained(separator: object, index: int) -> dict[str, Any]:
    """What a report says of the candidates of query `index`: the judge, and chunk by chunk who was kept."""
    if not isinstance(separator, BestOfNSeparator):
        return {}
    chunks = [choices[index] for choices in separator.choices]
    return {"candidates": {"num": separator.num, "judge": separator.scorer.name, "chunks": chunks}}
