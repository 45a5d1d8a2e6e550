"""The contract between recordings, queries and separators.

Symbols used everywhere: b batch, s sources (or queries of one mixture), c channels, t samples,
f frequency bins, n frames, k bands or tokens, d query width, tau flow time in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from qsep.queries.interface import Query, QueryEmbedding, SoundEncoder

if TYPE_CHECKING:
    from qsep.queries.networks.phrase_classifier import PhraseClassifier


WHOLE = slice(None)  # all samples


@dataclass(frozen=True)
class MixtureBatch:
    """Mixtures with all their sources, as recipes make and objectives consume them.

    mixture: (b, c, t), exactly sources.sum(dim=1).
    sources: (b, s, c, t). A source of zeros with a query is a sound that is queried and absent.
    queries: b lists of s; None where a source is not queried.
    part_of: (b, s) whole numbers, or None. For a sound that is known only by name, as part of a source that
    is itself a mixture, the index of that source (its own entry of `sources` is zero); -1 for other sounds.
    whole: (b, s) bool, or None. True where a query is for all sounds of the mixture together, as a picture
    that shows all of them; its own entry of `sources` is zero.
    """

    mixture: Tensor
    sources: Tensor
    queries: list[list[Query | None]]
    sample_rate: int
    ids: list[str]
    part_of: Tensor | None = None
    whole: Tensor | None = None

    def queried(self) -> Tensor:
        """(b, s) bool, True where a source is queried."""
        return self._has_query() if self.whole is None else self._has_query() & ~self.whole

    def queried_whole(self) -> Tensor:
        """(b, s) bool, True where a query is for the whole mixture."""
        has_query = self._has_query()
        return torch.zeros_like(has_query) if self.whole is None else has_query & self.whole

    def _has_query(self) -> Tensor:
        chosen = [[query is not None for query in row] for row in self.queries]
        return torch.tensor(chosen, device=self.mixture.device)

    def to(self, device: torch.device | str) -> MixtureBatch:
        """The same batch with its tensors on another device."""
        mixture, sources = self.mixture.to(device), self.sources.to(device)
        part_of = None if self.part_of is None else self.part_of.to(device)
        whole = None if self.whole is None else self.whole.to(device)
        return MixtureBatch(
            mixture, sources, self.queries, self.sample_rate, self.ids, part_of, whole
        )


@dataclass(frozen=True)
class Separated:
    """What was queried and the rest, for each of s queries: both (b, s, c, t).

    A mask separator's residual is mixture - target, so that the two sum to its input exactly.
    """

    target: Tensor
    residual: Tensor


@dataclass(frozen=True)
class LossOutput:
    """total: (b,), what is minimised; terms: named parts of it for the log, each (b,)."""

    total: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class Likeness:
    """How alike a sound and s queries are: cosines in [-1, 1] of vectors of one space.

    whole: (b, s), the sound and the query. tokens: (b, s, k), the sound and each token of the query, as the
    patches of a picture; None for queries without tokens.
    """

    whole: Tensor
    tokens: Tensor | None


@dataclass(frozen=True)
class Capabilities:
    """What a separator does besides separating what a query names; the defaults are those of most.

    negatives: reads the queries' `negative`, sounds that are not wanted.
    spans: reads the queries' `activity`, when the sound may be there.
    generative: targets are drawn, not cut out of the mixture; `separate` also takes a list of generators.
    streaming: has `live`, which keeps state from block to block, so that recordings need no chunks.
    analyses: has `analysed`, which does once what does not depend on the query; takes any channels.
    compares: has `likeness`, which tells how alike a sound and a query are.
    chunk_seconds: how much of a long recording is best separated at once; None leaves the choice open.
    """

    negatives: bool = False
    spans: bool = False
    generative: bool = False
    streaming: bool = False
    analyses: bool = False
    compares: bool = False
    chunk_seconds: float | None = None


class Analysis(Protocol):
    """A mixture (b, c, t) as its separator has analysed it."""

    def targets(self, queries: QueryEmbedding, part: slice = WHOLE) -> Tensor:
        """queries.pooled: (b, s, d); part: samples, start and stop in [0, t]. Returns the targets there,
        (b, s, c, t'), equal to the same part of `separate`'s."""
        ...


class ClassAnalysis(Protocol):
    """The sounds of a mixture (b, c, t) by K classes; the last of each K + 1 is of sounds of no class."""

    def shares(self) -> Tensor:
        """Energy of each class in n equal parts of the mixture: (b, K + 1, n). The sum of all is the
        mixture's energy."""
        ...

    def overlaps(self) -> Tensor:
        """How much the classes share time-frequency bins: (b, K + 1, K + 1). Sum of the products of two
        classes' probabilities over the bins, weighted by the bins' loudness; so a row's sum is the class's
        part of the loudness."""
        ...

    def targets(self, queries: QueryEmbedding) -> Tensor:
        """queries.pooled: (b, s, K + 1), degrees. Returns the targets of masks, (b, s, c, t)."""
        ...


class Core(Protocol):
    """The separation of one recording at the separator's rate, block by block."""

    @property
    def latency_samples(self) -> int:
        """Upper bound on the input samples whose targets have not been returned."""
        ...

    def push(self, block: Tensor) -> Iterable[Tensor]:
        """Take the next samples (c, t); return the targets that are ready, each (s, c, t')."""
        ...

    def finish(self) -> Iterable[Tensor]:
        """End the recording; return the remaining targets."""
        ...


@runtime_checkable
class Separator(Protocol):
    """A network that extracts queried sounds from mixtures; an nn.Module that also inherits from this.

    This is the whole contract, with defaults where most separators agree.

    sample_rate: Hz. num_channels: channels it takes, or None for any.
    query_dim: width of QueryEmbedding.pooled, 0 where it reads no queries.
    stride_samples: cutting a recording at multiples of this leaves frames where they were.
    context_samples: an output sample depends on no input farther away than this.
    classes: names of the sound classes it was trained on; empty where it was not so trained.
    sound_encoder: in training, the frozen query encoder if it also embeds sound, for losses that compare
    estimates with queries; set by the training task, otherwise None.
    """

    config: Any
    sample_rate: int
    num_channels: int | None
    query_dim: int
    stride_samples: int
    context_samples: int
    capabilities: Capabilities = Capabilities()
    classes: tuple[str, ...] = ()
    sound_encoder: SoundEncoder | None = None

    @property
    def phrase_book(self) -> PhraseClassifier | None:
        """The phrases by which its weights know the classes; None where it has none."""
        return None

    def class_analysis(self, mixture: Tensor) -> ClassAnalysis | None:
        """The sounds of a mixture (b, c, t) by class, from one pass of the network; None if the separator
        does not tell its classes apart."""
        return None

    def analysed(self, mixture: Tensor) -> Analysis:
        """mixture: (b, c, t). For separators with the capability `analyses`: the targets of hundreds of
        queries can be made part by part, in little memory, without computing the rest again."""
        raise AssertionError("this separator lacks the capability `analyses`")

    def likeness(self, sound: Tensor, queries: QueryEmbedding) -> Likeness:
        """sound: (b, c, t), alone or mixed; queries.pooled: (b, s, d). For separators with the capability
        `compares`: how alike the sound is to each query, and to each of its tokens."""
        raise AssertionError("this separator lacks the capability `compares`")

    def live(self, queries: QueryEmbedding, num_channels: int) -> Core:
        """For separators with the capability `streaming`: separates a recording of num_channels channels for
        s queries, pooled (s, d), and keeps its state from block to block."""
        raise AssertionError("this separator lacks the capability `streaming`")

    def blocks(self) -> list[nn.Module]:
        """Its repeated parts, without batch statistics, whose activations training may compute twice."""
        return []

    def report(self, index: int) -> dict[str, Any]:
        """Facts for reports about the separation of query `index`, as values for JSON; mostly none."""
        return {}

    def with_masks(self, hard: bool, noise: str) -> list[Self]:
        """The same weights with another use of the masks at test time.

        hard: masks rounded to 0 and 1. noise: "off", "all" (noise masks united with the queried
        mask), or "best": several separators, of which the caller keeps the best (one for each noise
        mask; of PITSep, by its mask and by the complement).
        Raises ValueError for what its masks cannot do.
        """
        if hard:
            raise ValueError("masks=hard: only models of the CLIPSep family have such masks")
        if noise != "off":
            raise ValueError(f"noise={noise}: only CLIPSep-NIT has noise masks")
        return [self]

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """queries.pooled: (b, s, d); rows of sources that are not queried are ignored."""
        ...

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture: (b, c, t); queries.pooled: (b, s, d): the mixture is analysed once for s queries.

        Generative separators also take a list of generators, one for each item of the batch.
        """
        ...


def as_module(separator: Separator) -> nn.Module:
    """The separator as the nn.Module that it is, for its weights and their device."""
    assert isinstance(separator, nn.Module)
    return separator


Generators = torch.Generator | Sequence[torch.Generator] | None  # of generative separators


def sample_noise(generators: Generators, shape: Sequence[int]) -> Tensor:
    """Normal noise (1, *shape), or (b, *shape) of a list of b generators; without any always the same."""
    if generators is None or isinstance(generators, torch.Generator):
        generators = [generators or torch.Generator().manual_seed(0)]
    return torch.stack(
        [torch.randn(tuple(shape), generator=one, device=one.device) for one in generators]
    )
