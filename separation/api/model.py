"""A loaded model: a separator together with its query encoder."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from qsep.queries.constraints import NO_CONSTRAINTS, Constraints
from qsep.queries.interface import (
    ClassQuery,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
    shortened,
)
from qsep.queries.reading.reading import Reading

from ..audio.arrays import Energy, as_rate, level_db, like
from ..audio.examples import decodable
from ..audio.reader import BLOCK_SAMPLES
from ..audio.source import AS_STORED, ReadOptions
from ..inference.aligned import MAX_ANALYSED, MAX_QUERIES
from ..inference.best_of_n import BestOfN
from ..inference.constraints import separate_constrained
from ..inference.memory import device_of
from ..inference.stream import Stream
from ..inference.unexplained import resolve_unknown
from ..interface import Separator
from ..published.installed import is_hub_name
from .inputs import Audio, QueryLike, as_queries, as_query, as_recording
from .result import Result

log = logging.getLogger("qsep")

MIN_SIMILARITY = 0.55  # cosine to the nearest known phrase; below it a query counts as unknown


@dataclass(frozen=True)
class Familiarity:
    """How close a query is to the classes of a model whose separator has a phrase book.

    kind: the class of the most similar phrase. similarity: cosine of the query's embedding to that phrase.
    known: whether the query is mapped to one of the classes.
    """

    kind: str
    similarity: float
    known: bool


class Model:
    """A separator with its query encoder, on one device; made by `load`."""

    def __init__(
        self,
        separator: Separator,
        encoder: QueryEncoder,
        name: str = "",
        fingerprint: str = "",
        source: Path | None = None,
    ) -> None:
        """fingerprint: identifies weights, encoder and runtime. source: the checkpoint folder or file."""
        self.separator = separator
        self.encoder = encoder
        self.name = name
        self.fingerprint = fingerprint
        self.source = source
        self.candidates = BestOfN()

    def best_of_n(self, candidates: int, judge: str = "embedding") -> Model:
        """A copy that draws several candidates of each target and keeps the best one.

        candidates: 1 or more; more than 1 needs a generative separator. judge: "embedding" (similarity to
        the query) or "consistency" (with the mixture). Raises ValueError for other values.
        """
        chosen = copy.copy(self)
        chosen.candidates = BestOfN(candidates, judge)
        chosen.fingerprint += f"-best-of-{candidates}-by-{judge}" if candidates > 1 else ""
        chosen.candidates.check(self.separator)
        return chosen

    def with_masks(self, hard: bool, noise: str) -> list[Model]:
        """Models with the masks of `Separator.with_masks`; the model itself where nothing changes.

        Raises ValueError for what the separator's masks cannot do.
        """
        separators = self.separator.with_masks(hard, noise)
        if separators == [self.separator]:
            return [self]
        options = f"{'hard' if hard else 'soft'} masks, noise masks {noise}"
        if noise == "best":
            options += ": an oracle"
        models = []
        for separator in separators:
            changed = copy.copy(self)
            changed.separator = separator
            changed.name = f"{self.name} ({options})"
            changed.fingerprint = f"{self.fingerprint}-{options}"
            models.append(changed)
        return models

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        revision: str | None = None,
        device: str = "auto",
        runtime: str = "torch",
        precision: str = "fp32",
    ) -> Model:
        """As `load`, with the method name of Hugging Face libraries; revision: a branch, tag or commit.

        The hub's cache and token are those of the environment variables HF_HOME and HF_TOKEN.
        """
        from ..published.finding import checkpoint_folder
        from .hub_model import HubModel

        address = f"{name}@{revision}" if revision else str(name)
        path = address if Path(address).is_file() else str(checkpoint_folder(address))
        model: Model = HubModel.from_pretrained(
            path, device=device, runtime=runtime, precision=precision
        )
        model.name = address if is_hub_name(address) else model.name
        return model

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the model's checkpoint into a folder, which keeps the other files in it.

        options: those of huggingface_hub's ModelHubMixin; push_to_hub=True and repo_id= also publish it.
        Raises ValueError if the model was not loaded from a checkpoint or the folder has
        other files of these names.
        """
        from .hub_model import HubModel

        return HubModel.of(self).save_pretrained(save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the model's checkpoint as ORG/NAME on the hub; return the address of the commit."""
        from .hub_model import HubModel

        return HubModel.of(self).push_to_hub(repo_id, **options)

    @property
    def device(self) -> torch.device:
        """The device of the separator's weights."""
        return device_of(self.separator)

    @property
    def max_queries(self) -> int:
        """How many queries are separated in one pass over a file."""
        return MAX_ANALYSED if self.separator.capabilities.analyses else MAX_QUERIES

    @property
    def can_continue(self) -> bool:
        """Whether a recording that was interrupted can be continued.

        Causal separators would need their state, and reports of candidates those of the earlier chunks.
        """
        return self.candidates.num == 1 and not self.separator.capabilities.streaming

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels of the sound classes that the separator was trained on; empty if it has none."""
        return self.separator.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """A short description of each of `classes`."""
        return self.encoder.class_names or self.classes

    def familiarity(self, query: QueryLike) -> Familiarity | None:
        """How close the query is to the model's classes; None if the separator has no phrase book."""
        book = self.separator.phrase_book
        if book is None:
            return None
        pooled = self.encoder.encode([as_query(query)]).pooled.to(self.device)
        kind, similarity = book.nearest(pooled)
        is_other = book(pooled)[0, -1] > 0.5
        known = float(similarity) >= MIN_SIMILARITY and not bool(is_other)
        return Familiarity(self.classes[int(kind)], float(similarity), known)

    def read(self, query: QueryLike) -> Reading | None:
        """The classes that a text query is mapped to; None for other queries and for other models."""
        query = as_query(query)
        return self.encoder.read(query) if isinstance(query, TextQuery) else None

    def warn_if_unfamiliar(self, query: QueryLike) -> None:
        """Log a warning if the query is unlike the sounds that the model was trained on."""
        self._warn(as_query(query), self.read(query))

    def _warn(self, query: Query, reading: Reading | None) -> None:
        if reading:
            if not reading.known:
                log.warning("%s", reading.line())
            return
        familiarity = self.familiarity(query)
        if familiarity and not familiarity.known:
            log.warning(
                "%r is unlike every kind of sound that %s knows, so expect little; the nearest is "
                "%r (qsep models info lists them)",
                shortened(query.name),
                self.name or "this model",
                familiarity.kind,
            )

    def embed(self, queries: Sequence[Query]) -> QueryEmbedding:
        """Encode the queries: pooled (len(queries), d), float32, on the CPU.

        Raises ValueError for kinds of query that the encoder does not read.
        """
        return self.encoder.encode([decodable(query) for query in queries])

    def prepare_queries(self, queries: Sequence[Query]) -> None:
        """Encode queries ahead of use and free the encoder's network, to save memory.

        For callers that will use no other queries. Does nothing if the encoder keeps no embeddings, or is
        still needed to judge candidates.
        """
        if self.encoder.remembers and self.candidates.num == 1:
            self.embed(queries)
            self.encoder.release()

    @overload  # a str is a Sequence of str too, which the first signature takes before the second
    def separate(  # type: ignore[overload-overlap]
        self,
        audio: Audio,
        query: QueryLike,
        sample_rate: int | None = None,
        constraints: Constraints = NO_CONSTRAINTS,
        read_options: ReadOptions = AS_STORED,
    ) -> Result: ...
    @overload
    def separate(
        self,
        audio: Audio,
        query: Sequence[QueryLike],
        sample_rate: int | None = None,
        constraints: Constraints = NO_CONSTRAINTS,
        read_options: ReadOptions = AS_STORED,
    ) -> list[Result]: ...
    def separate(
        self,
        audio: Audio,
        query: QueryLike | Sequence[QueryLike],
        sample_rate: int | None = None,
        constraints: Constraints = NO_CONSTRAINTS,
        read_options: ReadOptions = AS_STORED,
    ) -> Result | list[Result]:
        """Extract the sound that a query names from a recording.

        audio: a file, or an array or tensor (t,) or (c, t), t >= 1, full scale at 1. sample_rate: of an
        array, in Hz; by default the model's. query: text, or a query of `qsep.queries` of a kind that the
        model's encoder reads; a list of queries returns a list of results and analyses the mixture once.
        constraints: apply to all queries; with `exclusive` the targets do not overlap. read_options: how a
        file is read, if damaged, say.

        Returns the target and the residual in the type and shape of the input.
        Raises ValueError (AudioError for files) if an input cannot be used or the output is not finite.
        """
        queries = as_queries(query)
        readings = [self.read(item) for item in queries]
        for item, reading in zip(queries, readings, strict=True):
            self._warn(item, reading)
        for negative in constraints.negatives:
            self.warn_if_unfamiliar(negative)
        recording = as_recording(audio, sample_rate, read_options, self.separator.sample_rate)
        mixture, rate = recording.samples, recording.sample_rate
        blocks = np.array_split(mixture, range(BLOCK_SAMPLES, mixture.shape[-1], BLOCK_SAMPLES), -1)
        resolved = self.resolve(queries, readings, blocks, rate)
        pairs = self.separate_blocks(blocks, rate, resolved, constraints)
        targets = np.concatenate([block_targets for _, block_targets in pairs], axis=-1)
        if not np.isfinite(targets).all():
            raise ValueError(
                f"{self.name or 'the model'} made NaN or infinite samples of this recording: "
                "try precision fp32, or another model or device"
            )
        results, whole = [], Energy().add(mixture).value
        for item, reading, target in zip(queries, readings, targets, strict=True):
            residual = like(mixture - target, audio)
            level = level_db(Energy().add(target).value, whole)
            results.append(
                Result(
                    *(item, like(target, audio), residual, rate, level),
                    *(recording.stem, recording.subtype, reading),
                )
            )
        return results[0] if isinstance(query, str | Query) else results

    def resolve(
        self,
        queries: Sequence[Query],
        readings: Sequence[Reading | None],
        blocks: Iterable[NDArray[np.floating]],
        sample_rate: int,
    ) -> list[Query]:
        """The queries, with words for no class replaced by the classes of the sound here that resembles them.

        readings: `read` of each query. blocks: (c, t) of the recording or its beginning, at sample_rate in
        Hz; consumed only if such a query is among them.
        """
        if ClassQuery not in self.encoder.modalities:
            return list(queries)
        return resolve_unknown(self.separator, queries, readings, blocks, sample_rate)

    def stream(
        self,
        query: QueryLike | Sequence[QueryLike],
        sample_rate: int | None = None,
        num_channels: int = 1,
        constraints: Constraints = NO_CONSTRAINTS,
        chunk_seconds: float | None = None,
    ) -> Stream:
        """For a recording that arrives block by block: an object with `push(block)` and `finish()`.

        query: one, or a list for several targets. sample_rate in Hz (default: the model's rate) and
        num_channels: of the blocks. The targets come `latency_samples` later and together equal those of
        the whole recording, except for words for no class, which are not resolved by the recording: near a
        class they mean it, otherwise what no class explains.
        chunk_seconds: how much is separated at once, for models that look ahead: shorter means sooner, and
        more computation. Raises ValueError if an input cannot be used.
        """
        queries = as_queries(query)
        for item in (*queries, *constraints.negatives):
            reading = self.read(item)
            self._warn(item, reading)
            for words in reading.unknown_words if reading else ():
                log.warning("in a stream %r means what no class explains", words)
        rate = self.separator.sample_rate if sample_rate is None else as_rate(sample_rate)
        separator = self.choosing_separator(queries, constraints)
        embedding = self.embed([*queries, *constraints.negatives])
        one_query = isinstance(query, str | Query)
        return Stream(
            separator, embedding, rate, num_channels, constraints, chunk_seconds, one_query
        )

    def separate_blocks(
        self,
        blocks: Iterable[NDArray[np.floating]],
        sample_rate: int,
        queries: Sequence[Query],
        constraints: Constraints = NO_CONSTRAINTS,
        separator: Separator | None = None,
        chunk_seconds: float | None = None,
        num_known: int = 0,
    ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]:
        """Separate a recording block by block, in constant memory.

        blocks: (c, t), of any lengths, at sample_rate in Hz. Yields pairs of mixture (c, t') and targets
        (s, c, t'), one target for each query; the lengths t' sum to the recording's.
        separator: from `choosing_separator`, for callers that inspect its choices afterwards.
        chunk_seconds: as of `inference.stream.early_chunk_seconds`, for targets that come sooner.
        num_known: targets of so many first samples are not needed, and may be anything.
        """
        separator = separator or self.choosing_separator(queries, constraints)
        embedding = self.embed([*queries, *constraints.negatives])
        return separate_constrained(
            separator, blocks, sample_rate, embedding, constraints, chunk_seconds, num_known
        )

    def choosing_separator(self, queries: Sequence[Query], constraints: Constraints) -> Separator:
        """The separator; after `best_of_n` one that returns the best of several candidates."""
        return self.candidates.apply(
            self.separator, self.encoder, [*queries, *constraints.negatives]
        )

    def explained(self, separator: Separator, index: int) -> dict[str, Any]:
        """Which candidates the separator of `choosing_separator` kept for a query, as values for JSON."""
        return separator.report(index)
