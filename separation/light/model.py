"""A model of sound classes without PyTorch: queries by a phrase book, separation by an ONNX graph."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.queries.constraints import NO_CONSTRAINTS, Constraints
from qsep.queries.encoders.phrase_book import WORDS_FILE, Config, PhraseBook
from qsep.queries.files.json_files import json_content
from qsep.queries.interface import ClassQuery, Query, TextQuery
from qsep.queries.reading.reading import Familiarity, Reading

from ..inference.aligned import MAX_QUERIES
from ..inference.time_spans import within_spans
from ..storage.results import sha256_of
from ..storage.shipped import shipped_folder, shipped_models
from .graph_separator import GRAPH, WEIGHTS, GraphSeparator
from .sentences import LightSentences
from .stream import separate_blocks

log = logging.getLogger("qsep")


def light_folder(model: str) -> Path | None:
    """The checkpoint folder of a model that can be run without PyTorch, None for others and where ONNX
    Runtime is not installed."""
    folder = shipped_folder(model) if model in shipped_models() else Path(model)
    runs = (folder / GRAPH).is_file() and find_spec("onnxruntime") is not None
    return folder if runs else None


def beyond(queries: Sequence[Query], constraints: Constraints, candidates: int = 1) -> str:
    """The first option of a request that needs PyTorch, for messages; "" if there is none."""
    for query in (*queries, *constraints.negatives):
        if not isinstance(query, TextQuery | ClassQuery):
            return f"a query that is a{'n' if query.kind[0] in 'aei' else ''} {query.kind}"
    if constraints.negatives:
        return "--negative"
    if constraints.exclusive:
        return "--exclusive"
    return "--candidates" if candidates > 1 else ""


class LightModel:
    """Replaces `api.Model` for separating files by text or class queries, without PyTorch.

    `beyond` lists what it does not support.
    """

    device = "cpu"
    max_queries = MAX_QUERIES
    can_continue = True  # see `api.Model`

    def __init__(self, folder: Path) -> None:
        """Raises ValueError for a folder that is no checkpoint of this kind."""
        self.name, self.source = folder.name, folder
        try:
            config: dict[str, Any] = json_content(folder / "config.json")
            encoder, self.description = config["encoder"], config["separator"]
            book = folder / encoder["config"]["folder"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder}: no checkpoint with a phrase book ({error})") from error
        self.encoder = PhraseBook(Config(folder=str(book)))
        self.encoder.sentences = LightSentences(book / WORDS_FILE)  # type: ignore[assignment]
        self.readings: dict[Query, Reading | None] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the graph and its weights."""
        return f"{sha256_of(self.source / GRAPH)}-{sha256_of(self.source / WEIGHTS)}"

    @cached_property
    def separator(self) -> GraphSeparator:
        """Loaded at first use."""
        return GraphSeparator(self.source, self.description)

    def read(self, query: Query) -> Reading | None:
        """The classes that the words mean, None for other queries; each is read once."""
        if query not in self.readings:
            reading = self.encoder.read(query) if isinstance(query, TextQuery) else None
            self.readings[query] = reading
        return self.readings[query]

    def familiarity(self, query: Query) -> None:
        """None: words have a reading."""

    def unknown_words(self, queries: Sequence[Query], near: bool) -> str:
        """The first words unlike every class, or with `near` of no class but near one, which only PyTorch
        resolves; "" if there are none."""
        for query in queries:
            reading = self.read(query)
            atoms = reading.atoms.values() if reading else ()
            for atom in atoms:
                if atom.familiarity is Familiarity.UNKNOWN or (near and not atom.known):
                    return atom.text
        return ""

    def degrees(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """(s, d) in [0, 1]. ValueError for queries that are neither words nor classes."""
        rows = []
        for query in queries:
            reading = self.read(query)
            rows.append(self.encoder.degrees(query) if reading is None else reading.degrees())
        return np.stack(rows)

    def embed(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """As `degrees`."""
        return self.degrees(queries)

    def prepare_queries(self, queries: Sequence[Query]) -> None:
        """Read these, then free the sentence encoder."""
        self.degrees(queries)
        self.encoder.release()

    def warn_if_unfamiliar(self, query: Query) -> None:
        """Log a warning if the words are unlike the classes."""
        reading = self.read(query)
        if reading and not reading.known:
            log.warning("%s", reading.line())

    def resolve(
        self,
        queries: Sequence[Query],
        readings: Sequence[Reading | None],
        blocks: Iterable[NDArray[np.floating]],
        sample_rate: int,
    ) -> list[Query]:
        """The queries unchanged: see `unknown_words`."""
        return list(queries)

    def choosing_separator(self, queries: Sequence[Query], constraints: Constraints) -> Any:
        """None, since there is a single candidate."""
        return None

    def explained(self, separator: Any, index: int) -> dict[str, Any]:
        """Empty, since there is a single candidate."""
        return {}

    def separate_blocks(
        self,
        blocks: Iterable[NDArray[np.floating]],
        sample_rate: int,
        queries: Sequence[Query],
        constraints: Constraints = NO_CONSTRAINTS,
        separator: Any = None,
        num_known: int = 0,
    ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]:
        """From blocks (c, t) to pairs of mixture (c, t') and targets (s, c, t'), in constant memory.

        Of the constraints only spans are supported: see `beyond`. num_known: targets of so many first samples
        are not needed, and may be anything.
        """
        degrees = self.degrees(queries)
        pairs = separate_blocks(self.separator, blocks, sample_rate, degrees, num_known)
        if constraints.spans or constraints.not_spans:
            return within_spans(pairs, constraints, sample_rate)
        return pairs
