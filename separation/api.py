"""What a user calls: load a model, separate a recording, save what came out."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import (
    ClassQuery,
    Constraints,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
    shortened,
)
from qsep.queries.reading.reading import Reading

from . import DEFAULT_MODEL
from .audio.arrays import as_array, as_channels, as_rate, energy, level_db, like
from .audio.examples import decodable
from .audio.file_names import result_names
from .audio.flac import as_flac, check_flac, flac_subtype
from .audio.reader import AudioReader
from .audio.sample_format import split
from .audio.writer import AudioWriter
from .inference.best_of_n import BestOfN, explained
from .inference.chunks import BLOCK_SAMPLES
from .inference.constraints import separate_constrained
from .inference.examples import with_examples
from .inference.progress import heard_by, say
from .inference.unexplained import resolved
from .interface import Separator
from .published.installed import get_model, hub_folder, is_hub_name
from .published.reader import load_published
from .published.registry import no_such_model, published_models
from .runtime.accelerate import accelerate, check_runtime
from .storage.checkpoint import file_fingerprint, load_checkpoint, weights_fingerprint

log = logging.getLogger("qsep")

CHECKPOINTS_DIR = Path(__file__).parent / "checkpoints"
UNLIKE_ANY = 0.55  # cosine to the nearest known phrase under which a query is called unknown
HEARD_SECONDS = 120.0  # of a recording, to find its known sounds where a query's words are unknown
QUERIES_AT_ONCE = 2  # in one pass over a file: each takes 0.1 GB more of sounds21
MAX_PEAK = 1e6  # of an array, full scale at 1: what is louder is no sound, and its squares overflow
ABSENT_DB = -20.0  # a target this far under the mixture is probably not there
NO_CONSTRAINTS = Constraints()

Audio = str | Path | NDArray[np.floating] | Tensor
QueryLike = str | Query


@dataclass(frozen=True)
class Result:
    """What one query took out of a recording, and the rest; target + residual = the recording.

    target, residual: as the input was, array or tensor, (t,) or (c, t); an array for a file.
    level_db: energy of the target relative to the recording, -inf where it is silent.
    reading: what the words were taken for, by models that read them as classes; else None.
    """

    query: Query
    target: Any
    residual: Any
    sample_rate: int
    level_db: float
    stem: str = "audio"
    subtype: str = "FLOAT"
    reading: Reading | None = None

    def save(self, folder: str | Path, residual: bool = True) -> list[Path]:
        """Write STEM.QUERY.wav and STEM.QUERY.residual.wav into folder; returns their paths."""
        parts = [np.atleast_2d(as_array(part)) for part in (self.target, self.residual)]
        target, rest = split(parts[0] + parts[1], parts[0], self.subtype)
        names = result_names(self.stem, self.query.name, residual)
        paths = [Path(folder) / name for name in names]
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path, part in zip(paths, (target, rest), strict=False):
            with AudioWriter(path, self.sample_rate, len(part), self.subtype) as writer:
                writer.write(part)
        return paths


@dataclass(frozen=True)
class Familiarity:
    """How a query looks to a model with a phrase book. kind: the nearest kind of sound it knows;
    similarity: cosine to that kind's nearest phrase; known: whether the query is read as a kind."""

    kind: str
    similarity: float
    known: bool


class Model:
    """A separator with its query encoder, on one device; see `load`."""

    def __init__(
        self,
        separator: Separator,
        encoder: QueryEncoder,
        name: str = "",
        fingerprint: str = "",
        source: Path | None = None,
    ) -> None:
        """source: the checkpoint folder or released file that it was read from."""
        self.separator = separator
        self.encoder = encoder
        self.name = name
        self.fingerprint = fingerprint
        self.source = source
        self.candidates = BestOfN()

    def best_of_n(self, candidates: int, judge: str = "embedding") -> Model:
        """This model, of a generative separator, that draws so many candidates of each target and keeps the
        best, as judged by their "embedding" or their "consistency" with the mixture."""
        chosen = copy.copy(self)
        chosen.candidates = BestOfN(candidates, judge)
        chosen.fingerprint += f"-best-of-{candidates}-by-{judge}" if candidates > 1 else ""
        chosen.candidates.check(self.separator)
        return chosen

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        revision: str | None = None,
        device: str = "auto",
        runtime: str = "torch",
        precision: str = "fp32",
    ) -> Model:
        """As `load`, in the words of transformers. The hub's cache and token are those of HF_HOME and
        HF_TOKEN."""
        from .published.hub_model import HubModel

        model = f"{name}@{revision}" if revision else str(name)
        place = model if Path(model).is_file() else str(checkpoint_folder(model))
        found: Model = HubModel.from_pretrained(
            place, device=device, runtime=runtime, precision=precision
        )
        found.name = model if is_hub_name(model) else found.name
        return found

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the model's checkpoint into the folder, beside what else is there; with push_to_hub=True
        and repo_id= also to the hub. Options are those of huggingface_hub's ModelHubMixin."""
        from .published.hub_model import HubModel

        return HubModel.of(self).save_pretrained(save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the model's checkpoint as ORG/NAME on the hub; returns the address of the commit."""
        from .published.hub_model import HubModel

        return HubModel.of(self).push_to_hub(repo_id, **options)

    @property
    def device(self) -> torch.device:
        return next(self.separator.parameters()).device  # type: ignore[attr-defined]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of sound that the model was trained on; empty where it was not so trained."""
        return self.separator.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, one name each."""
        return self.encoder.class_names or self.classes

    def familiarity(self, query: QueryLike) -> Familiarity | None:
        """How near the query is to what the model knows; None for models without a phrase book."""
        book = self.separator.phrase_book
        if book is None:
            return None
        pooled = self.encoder.encode([as_query(query)]).pooled.to(self.device)
        kind, similarity = book.nearest(pooled)
        something_else = book(pooled)[0, -1] > 0.5
        known = float(similarity) >= UNLIKE_ANY and not bool(something_else)
        return Familiarity(self.classes[int(kind)], float(similarity), known)

    def read(self, query: QueryLike) -> Reading | None:
        """What the words mean to the model, in classes; None for other queries than words and for models
        that do not read words as classes."""
        asked = as_query(query)
        return self.encoder.read(asked) if isinstance(asked, TextQuery) else None

    def warn_if_unfamiliar(self, query: QueryLike) -> None:
        if reading := self.read(query):
            if not reading.known:
                log.warning("%s", reading.line())
            return
        found = self.familiarity(query)
        if found and not found.known:
            log.warning(
                "%r is unlike every kind of sound that %s knows, so expect little; the nearest is "
                "%r (qsep models info lists them)",
                shortened(as_query(query).name),
                self.name or "this model",
                found.kind,
            )

    def embed(self, queries: Sequence[Query]) -> QueryEmbedding:
        return self.encoder.encode([decodable(query) for query in queries])

    def learn_queries(self, queries: Sequence[Query]) -> None:
        """Read these once for all, and let what read them go, unless it may yet judge candidates: for
        callers who will ask nothing else. Encoders that remember nothing read at use."""
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
    ) -> Result: ...
    @overload
    def separate(
        self,
        audio: Audio,
        query: Sequence[QueryLike],
        sample_rate: int | None = None,
        constraints: Constraints = NO_CONSTRAINTS,
    ) -> list[Result]: ...
    def separate(
        self,
        audio: Audio,
        query: QueryLike | Sequence[QueryLike],
        sample_rate: int | None = None,
        constraints: Constraints = NO_CONSTRAINTS,
    ) -> Result | list[Result]:
        """Take what the query names out of a recording; several queries share one analysis of it.

        audio: a file, or an array or tensor (t,) or (c, t), t >= 1, at sample_rate in Hz (default:
        the model's rate). query: words, or a query of qsep.queries.interface of a kind that the model's
        encoder reads. A list of queries gives a list of results. constraints: hold for all of them; if
        exclusive, the recording less all targets is what none of them took.
        Raises ValueError (AudioError for files) with one line that says what is wrong.
        """
        asked = [query] if isinstance(query, str | Query) else list(query)
        if not asked:
            raise ValueError("no query given; say which sound to separate, e.g. 'a dog barking'")
        queries = [as_query(item) for item in asked]
        for item in (*queries, *constraints.negatives):
            self.warn_if_unfamiliar(item)
        if isinstance(audio, str | Path):
            if sample_rate is not None:
                raise ValueError("sample_rate is the file's own; give it for arrays only")
            with AudioReader(audio) as reader:
                rate, subtype, stem = reader.sample_rate, reader.subtype, Path(audio).stem
                mixture = reader.read()
        else:
            rate = self.separator.sample_rate if sample_rate is None else as_rate(sample_rate)
            subtype, stem, mixture = "FLOAT", "audio", as_channels(audio)
            if (peak := float(np.abs(mixture).max())) > MAX_PEAK:
                raise ValueError(f"the audio's peak is {peak:.3g}; full scale is 1: scale it first")
        blocks = np.array_split(mixture, range(BLOCK_SAMPLES, mixture.shape[-1], BLOCK_SAMPLES), -1)
        answered = self.resolve(queries, blocks, rate)
        pairs = self.stream(blocks, rate, answered, constraints)
        target = np.concatenate([targets for _, targets in pairs], axis=-1)
        if not np.isfinite(target).all():
            raise ValueError(
                f"{self.name or 'the model'} made NaN or infinite samples of this recording: "
                "try precision fp32, or another model or device"
            )
        results = []
        for index, item in enumerate(queries):
            residual = mixture - target[index]
            taken, rest = (like(part, audio) for part in (target[index], residual))
            level = level_db(energy(target[index]), energy(mixture))
            reading = self.read(item)
            results.append(Result(item, taken, rest, rate, level, stem, subtype, reading))
        return results[0] if isinstance(query, str | Query) else results

    def resolve(
        self, queries: Sequence[Query], blocks: Iterable[NDArray[np.floating]], sample_rate: int
    ) -> list[Query]:
        """The queries as a recording answers them: words unlike every class of the model become what the
        known classes leave of it. blocks: of the recording, at sample_rate in Hz."""
        if ClassQuery not in self.encoder.modalities:
            return list(queries)
        return resolved(self.separator, self.encoder, queries, blocks, sample_rate)

    def stream(
        self,
        blocks: Iterable[NDArray[np.floating]],
        sample_rate: int,
        queries: Sequence[Query],
        constraints: Constraints = NO_CONSTRAINTS,
        separator: Separator | None = None,
    ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]:
        """Blocks (c, t) in; pairs of mixture (c, t') and targets (s, c, t') out, in constant memory.

        separator: of `drawer`, by a caller who wants to know its choices afterwards."""
        separator = separator or self.choosing_separator(queries, constraints)
        embedding = self.embed([*queries, *constraints.negatives])
        return separate_constrained(separator, blocks, sample_rate, embedding, constraints)

    def choosing_separator(self, queries: Sequence[Query], constraints: Constraints) -> Separator:
        """The separator, or what draws several candidates from it."""
        return self.candidates.apply(
            self.separator, self.encoder, [*queries, *constraints.negatives]
        )

    def _in_turns(
        self,
        path: Path,
        queries: Sequence[Query],
        folder: Path,
        residual: bool,
        progress: Any,
        constraints: Constraints,
        commit: Callable[[Path, Path], object],
        file_format: str,
    ) -> list[dict[str, Any]]:
        """`separate_file` for a few queries after the other."""
        rows: list[dict[str, Any]] = []
        turns = range(0, len(queries), QUERIES_AT_ONCE)
        for index, first in enumerate(turns):
            some = queries[first : first + QUERIES_AT_ONCE]
            heard = in_turn(progress, index, len(turns))
            rows += self.separate_file(
                path, some, folder, residual, heard, constraints, commit, file_format
            )
        return rows

    def separate_file(
        self,
        path: Path,
        queries: Sequence[Query],
        folder: Path,
        residual: bool = False,
        progress: Any = None,
        constraints: Constraints = NO_CONSTRAINTS,
        commit: Callable[[Path, Path], object] = os.replace,
        file_format: str = "wav",
    ) -> list[dict[str, Any]]:
        """From file to files in constant memory; nothing is left behind if anything fails.

        Writes as `Result.save` does, in the file's own rate, channels, length and sample format; if
        exclusive, one STEM.residual.wav, which with all targets sums to the recording.
        progress: called with (seconds done, seconds claimed by the header or None). commit: what gives
        finished files their names, as `storage.results.Results.commit`, which lists them. file_format: wav
        or flac, in which floats and 32 bits become 24 bits.
        Returns for each query its files, its level in dB under the recording, the duration, what
        constraints there were, and which candidates were kept.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if len(queries) > QUERIES_AT_ONCE and not constraints.exclusive:
            # Memory grows with them, so they take turns; those of one residual need one another.
            return self._in_turns(
                path, queries, folder, residual, progress, constraints, commit, file_format
            )
        with AudioReader(path) as reader, contextlib.ExitStack() as stack:
            rate, channels, subtype = reader.sample_rate, reader.num_channels, reader.subtype
            if file_format == "flac":
                check_flac(path, rate, channels)
                subtype, commit = flac_subtype(subtype), as_flac(commit)
            common = constraints.exclusive
            form = (residual, common, file_format)
            outputs = [
                [folder / name for name in result_names(path.stem, query.name, *form)]
                for query in queries
            ]
            writers = {
                target: stack.enter_context(AudioWriter(target, rate, channels, subtype, commit))
                for target in dict.fromkeys(target for paths in outputs for target in paths)
            }
            claimed = reader.claimed_samples / rate if reader.claimed_samples else None
            target_energy, mixture_energy = np.zeros(len(queries)), 0.0
            num_done = 0
            answered = self.resolve(queries, beginning(path), rate)
            separator = self.choosing_separator(answered, constraints)
            blocks = reader.blocks(BLOCK_SAMPLES)
            if progress:
                stack.enter_context(heard_by(lambda seconds: progress(seconds, claimed)))
            for mixture, targets in self.stream(blocks, rate, answered, constraints, separator):
                mixture_energy += energy(mixture)
                rest = mixture
                for index, paths in enumerate(outputs):
                    target, left = split(rest, targets[index], subtype)
                    target_energy[index] += energy(target)
                    writers[paths[0]].write(target)
                    if common:
                        rest = left  # is split further, so that all parts sum to the mixture
                    if residual and (not common or index == len(outputs) - 1):
                        writers[paths[1]].write(left)
                num_done += mixture.shape[-1]
                say(num_done / rate)
        return [
            {
                "input": str(path),
                "query": query.name,
                "files": [str(p) for p in paths],
                "seconds": num_done / rate,
                "level_db": round(max(level_db(found, mixture_energy), -200.0), 2),
            }
            | constraints.plain()
            | ({"reading": reading.plain()} if (reading := self.read(query)) else {})
            | explained(separator, index)
            for index, (query, paths, found) in enumerate(
                zip(queries, outputs, target_energy, strict=True)
            )
        ]


def beginning(path: Path) -> Iterator[NDArray[np.floating]]:
    """Blocks (c, t) of a recording's first HEARD_SECONDS; nothing is read before the first is taken."""
    with AudioReader(path) as reader:
        num_left = round(HEARD_SECONDS * reader.sample_rate)
        for block in reader.blocks(BLOCK_SAMPLES):
            yield block[:, :num_left]
            num_left -= block.shape[-1]
            if num_left <= 0:
                return


def in_turn(progress: Any, index: int, num: int) -> Any:
    """For the index-th of `num` passes over a recording: told how far all of them are."""
    if progress is None:
        return None
    return lambda done, claimed: progress((index * (claimed or 0.0) + done) / num, claimed)


def load(
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    runtime: str = "torch",
    precision: str = "fp32",
) -> Model:
    """A model ready to separate: by the name of a shipped or published one (`models` lists them; what is
    not here is downloaded and converted once), by the folder of a checkpoint, by its name on the Hugging
    Face hub (ORG/NAME or ORG/NAME@REVISION), or by a file that others released (`best_model.pt` of
    CLIPSep).

    device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
    runtime: what computes the separator's networks, "torch", or on the CPU "openvino" or "onnx", for
    which they are exported at first use. precision: "fp32", or "bf16" where the CPU has instructions
    for it. The networks are rewritten for use, so their weights must not change afterwards.
    Raises ValueError with one line that says what is wrong and what to do.
    """
    check_runtime(runtime, precision, device)
    if model not in shipped_models() and Path(model).is_file():
        path = Path(model)
        separator, encoder, config = load_published(path)
        weights, as_stored = file_fingerprint(path), ""  # a converter stands between
    else:
        path = checkpoint_folder(model)
        separator, encoder, config = load_checkpoint(path, mapped=runtime != "torch")
        weights = as_stored = weights_fingerprint(path)
    chosen = choose_device(device if runtime == "torch" else "cpu")
    separator.to(chosen)  # type: ignore[attr-defined]
    fingerprint = f"{weights}-{config['encoder']['fingerprint']}"
    if chosen.type == "cpu" or precision != "fp32":  # measured on CPUs alone
        accelerate(separator, runtime, precision, as_stored)
    if (runtime, precision) != ("torch", "fp32"):
        fingerprint += f"-{runtime}-{precision}"
    words = encoder if encoder.remembers else CachedEncoder(encoder)
    name = str(model) if is_hub_name(str(model)) and not Path(model).exists() else path.name
    return Model(separator, with_examples(separator, words), name, fingerprint, path)


def shipped_models() -> list[str]:
    """Names of the checkpoints that come with the package."""
    return sorted(path.parent.name for path in CHECKPOINTS_DIR.glob("*/config.json"))


def models() -> list[str]:
    """Names that `load` takes: models that come with the package, then published ones, which it fetches."""
    published = [model.name for model in published_models().values() if model.separates]
    return [*shipped_models(), *published]


def checkpoint_folder(model: str | Path) -> Path:
    """The folder that a name or a path means; a published model is fetched and converted if need be."""
    if model in shipped_models():  # also where a folder has that name: it is to be had as ./NAME
        return CHECKPOINTS_DIR / str(model)
    if Path(model).is_dir():
        return Path(model)
    name = str(model)
    if name in published_models():
        return separator_folder(name)
    if is_hub_name(name):
        return hub_folder(name)
    raise no_such_model(name, shipped_models())


def separator_folder(name: str) -> Path:
    published = published_models()[name]
    if published.kind != "separator":
        raise ValueError(
            f"{name} is an encoder of queries ({published.system}), no separator; "
            f"'qsep models info {name}' says how it is used"
        )
    return get_model(name)


def choose_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({reason}); try --device cpu") from error


def as_query(query: QueryLike) -> Query:
    return TextQuery(query) if isinstance(query, str) else query
