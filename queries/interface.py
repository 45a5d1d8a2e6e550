"""Queries, their embeddings, and the contract of query encoders."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor

    from .encoders.minilm import MiniLM
    from .media import Media
    from .reading.book import Book
    from .reading.reading import Reading


MAX_SHOWN = 80  # characters of a query in messages


@dataclass(frozen=True)
class TextQuery:
    """A sound described in words, such as "a dog barking"; ValueError if empty or not UTF-8."""

    kind: ClassVar[str] = "text"
    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(
                "the query is empty; say which sound to separate, e.g. 'a dog barking'"
            )
        try:
            self.text.encode()
        except UnicodeEncodeError:  # command-line arguments may contain bytes that are not text
            raise ValueError(
                f"the query {shortened(self.text)!a} is not text in UTF-8: "
                "write it anew, or set the terminal to UTF-8"
            ) from None

    @property
    def name(self) -> str:
        """Used in file names and messages."""
        return self.text


@dataclass(frozen=True, init=False)
class ImageQuery:
    """The sound of what pictures show; the embeddings of several, as of a video's frames, are averaged.

    frames: files, or arrays (height, width, 3) of uint8. Queries of equal content compare equal.
    Raises ValueError for missing files and arrays of other shapes or types.
    """

    kind: ClassVar[str] = "image"
    frames: tuple[Media, ...]

    def __init__(self, *frames: Any) -> None:
        from .media import picture

        if not frames:
            raise ValueError("an image query needs a picture: a file or an array")
        object.__setattr__(self, "frames", tuple(picture(frame) for frame in frames))

    @property
    def name(self) -> str:
        """The files' names without extension."""
        return ", ".join(frame.name for frame in self.frames)


@dataclass(frozen=True, init=False)
class AudioQuery:
    """A sound like that of example recordings; the embeddings of several are averaged.

    examples: files, or floating-point arrays (t,) or (c, t), full scale at 1, at sample_rate in Hz.
    Queries of equal content compare equal. Raises ValueError for missing files and other arrays.
    """

    kind: ClassVar[str] = "audio"
    examples: tuple[Media, ...]

    def __init__(self, *examples: Any, sample_rate: int | None = None) -> None:
        from .media import recording

        if not examples:
            raise ValueError("an audio query needs a recording: a file or an array with its rate")
        read = tuple(recording(example, sample_rate) for example in examples)
        object.__setattr__(self, "examples", read)

    @property
    def name(self) -> str:
        """The files' names without extension."""
        return ", ".join(example.name for example in self.examples)


Plain = TextQuery | ImageQuery | AudioQuery


@dataclass(frozen=True, init=False)
class MixedQuery:
    """A weighted mean of the embeddings of several queries.

    parts: text, image or audio queries; strings become text queries. weights: one for each part, 0 or more,
    scaled to sum to 1; by default equal. Raises ValueError for other weights or parts.
    """

    kind: ClassVar[str] = "mixed"
    parts: tuple[Plain, ...]
    weights: tuple[float, ...]

    def __init__(self, *parts: str | Plain, weights: Sequence[float] | None = None) -> None:
        queries = tuple(TextQuery(part) if isinstance(part, str) else part for part in parts)
        chosen = tuple(weights) if weights is not None else (1.0,) * len(queries)
        if not queries or any(isinstance(query, MixedQuery) for query in queries):
            raise ValueError("a mixed query needs one part or more, none of them mixed itself")
        usable = len(chosen) == len(queries) and all(0 <= weight < math.inf for weight in chosen)
        if not usable or sum(chosen) <= 0:
            raise ValueError(
                f"weights {chosen} for {len(queries)} parts; expected one each, 0 or more, not all 0"
            )
        object.__setattr__(self, "parts", queries)
        object.__setattr__(self, "weights", tuple(weight / sum(chosen) for weight in chosen))

    def mix(self, parts: Tensor, unit_norm: bool) -> Tensor:
        """The mean (d,), float32, of the parts' embeddings (k, d). unit_norm: normalise the result."""
        mean = parts.double().T @ parts.double().new_tensor(self.weights)
        if unit_norm:
            mean = mean / mean.norm().clamp_min(1e-12)
        return mean.float()

    @property
    def name(self) -> str:
        """The parts' names."""
        return ", ".join(part.name for part in self.parts)


@dataclass(frozen=True, init=False)
class ClassQuery:
    """Sound classes by label, each with a degree in [0, 1]; for encoders with a list of classes.

    Unlike words, it is exact: a class by itself, a family (all members at 1), everything but a class.
    degrees: a mapping, or labels whose degree is 1. other: degree of all sounds that are none of the classes.
    complement: whether every degree d stands for 1 - d. Raises ValueError for degrees out of range.
    """

    kind: ClassVar[str] = "class"
    degrees: tuple[tuple[str, float], ...]
    other: float
    complement: bool

    def __init__(
        self,
        degrees: Mapping[str, float] | Sequence[str],
        other: float = 0.0,
        complement: bool = False,
    ) -> None:
        named = dict(degrees) if isinstance(degrees, Mapping) else dict.fromkeys(degrees, 1.0)
        for name, degree in {**named, "other": other}.items():
            if not 0 <= degree <= 1:
                raise ValueError(f"degree {degree} of class {name!r}; expected 0 to 1")
        object.__setattr__(self, "degrees", tuple(named.items()))
        object.__setattr__(self, "other", float(other))
        object.__setattr__(self, "complement", complement)

    @property
    def name(self) -> str:
        """The labels, with spaces for underscores."""
        names = [name.replace("_", " ") for name, degree in self.degrees if degree]
        joined = ", ".join(names + ["other"] * bool(self.other))
        return f"everything but {joined}" if self.complement else joined


Query = Plain | MixedQuery | ClassQuery


def shortened(text: str) -> str:
    """A text for messages, cut to MAX_SHOWN characters."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


@dataclass(frozen=True)
class QueryEmbedding:
    """Embeddings of queries, with leading dimensions (b,) or (b, s).

    pooled: (..., d), one vector for each query, of unit norm if the encoder has `unit_norm`.
    tokens: (..., k, d) or None, one vector for each token.
    token_mask: (..., k) bool or None, False for padding.
    negative: embeddings (..., m, d) of m negatives for each query, zeros for none; or None.
    activity: (..., t) in [0, 1] or None: 0 where the target is silent, at the separator's rate.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    token_mask: Tensor | None = None
    negative: QueryEmbedding | None = None
    activity: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> QueryEmbedding:
        """Apply a function to each tensor."""
        return QueryEmbedding(
            function(self.pooled),
            None if self.tokens is None else function(self.tokens),
            None if self.token_mask is None else function(self.token_mask),
            None if self.negative is None else self.negative.map(function),
            None if self.activity is None else function(self.activity),
        )

    def to(self, device: torch.device) -> QueryEmbedding:
        """The embedding on another device."""
        return self.map(lambda entry: entry.to(device))


class Tagger(Protocol):
    """Names what is heard, over AudioSet's 527 classes in the order of their indices. sample_rate: in Hz."""

    sample_rate: int

    def tagged(self, waveform: Tensor) -> Tensor:
        """Audio (b, t) at sample_rate, two seconds or more, in [-1, 1], to probabilities (b, 527)."""
        ...


class QueryEncoder(Protocol):
    """Turns queries into embeddings; frozen, deterministic, and identified by its fingerprint.

    This is the whole contract, with defaults where most encoders agree; encoders inherit from it explicitly.

    config: the frozen dataclass that it was built from. dim: width of its embeddings.
    modalities: the kinds of query that it reads; `cache.CachedEncoder` adds mixed queries.
    fingerprint: changes whenever its embeddings may change; the key of cached embeddings.
    unit_norm: whether all its embeddings are of unit norm. token_dim: width of its tokens, 0 for none.
    device: of its network; to be set before the first query.
    belongs_to_model: whether checkpoints of models trained with it contain it.
    classes: labels of the classes over which embeddings are degrees, else empty. class_names: descriptions of
    them, as "a dog barking". book: the phrases by which text is read as classes, if it is.
    remembers: whether it caches embeddings itself, so that a CachedEncoder around it is useless.
    probabilities: whether its embeddings are an audio tagger's probabilities of AudioSet's classes.
    grid: rows and columns of a picture's tokens, if they are the patches of its centre square; else None.
    """

    config: Any
    dim: int
    modalities: frozenset[type[Query]]
    fingerprint: str
    unit_norm: bool = False
    token_dim: int = 0
    device: torch.device | str = "cpu"
    belongs_to_model: bool = False
    classes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    book: Book | None = None
    remembers: bool = False
    probabilities: bool = False
    grid: tuple[int, int] | None = None

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """pooled: (len(queries), dim), float32, on the CPU. ValueError for kinds that it does not read."""
        ...

    def read(self, query: TextQuery) -> Reading | None:
        """The classes that the words are mapped to; None for encoders without a phrase book."""
        return None

    @property
    def tagger(self) -> Tagger | None:
        """The audio tagger whose output the embeddings are; None for other encoders."""
        return None

    @property
    def joint_encoder(self) -> QueryEncoder | None:
        """The encoder that compares text with audio: itself if it reads both; None if there is none."""
        return self if {AudioQuery, TextQuery} <= self.modalities else None

    @property
    def sound_encoder(self) -> SoundEncoder | None:
        """The encoder itself, uncached, if it also embeds sound differentiably; None for other encoders."""
        return None

    @property
    def sentence_encoder(self) -> MiniLM | None:
        """The text encoder behind the phrase book, for exports; None for encoders without a phrase book."""
        return None

    def carry(self, folder: Path) -> dict[str, Any]:
        """Write the encoder's own files, if it has any, into a checkpoint's folder.

        Returns the settings of an equal encoder that reads them from there.
        """
        return dataclasses.asdict(self.config)

    def release(self) -> None:
        """Free the memory of the network; the next query loads it again."""
        vars(self).pop("network", None)


def check_readable(encoder: QueryEncoder, queries: Sequence[Query]) -> None:
    """Raise ValueError for the first query of a kind that the encoder does not read."""
    for query in queries:
        if type(query) not in encoder.modalities:
            raise unreadable(encoder, query)


@runtime_checkable
class SoundEncoder(Protocol):
    """A query encoder that embeds audio and text in one space, differentiably with respect to the audio."""

    @property
    def sample_rate(self) -> int:
        """Sample rate of its audio input, in Hz."""
        ...

    def embed_sound(self, waveform: Tensor) -> Tensor:
        """Audio (n, t) at sample_rate, t >= 1, to unit vectors (n, dim), close to those of matching texts."""
        ...

    def similarity_scale(self) -> float:
        """The inverse temperature of cosine similarities in its training."""
        ...


def unreadable(encoder: QueryEncoder, query: Query) -> ValueError:
    """The error to raise for a query of a kind that the encoder does not read."""
    known = " and ".join(sorted(kind.kind for kind in encoder.modalities))
    return ValueError(
        f"the query encoder {encoder.fingerprint} reads {known}, not {query.kind}: "
        "use such a query, or a model whose encoder reads it"
    )


def readable(modalities: frozenset[type[Query]], has_book: bool) -> frozenset[type[Query]]:
    """Kinds of query that a model reads whose encoder reads `modalities`, with or without a phrase book."""
    return modalities | {AudioQuery} if has_book and modalities == {TextQuery} else modalities
