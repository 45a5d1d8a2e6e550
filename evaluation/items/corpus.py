"""Corpora of labelled recordings, with mixtures listed in manifests that come with the package.

A mixture is queried under one of CONDITIONS: plain, in the manifest's words; wordings, in words held out
of training; examples, by another recording of the label; absent, for a label that is not in the mixture;
absent-wordings, for a sound that the corpus does not have. The last two expect silence.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from qsep.queries.interface import AudioQuery

from ..interface import NO_PUBLICATION, Item, ItemQuery, Publication
from .manifest import MixtureRow, check_recordings, parse_manifest
from .rendering import SAMPLE_RATE, render_mixture

CONDITIONS = ("plain", "wordings", "examples", "absent", "absent-wordings")
MANIFESTS_DIR = Path(__file__).parents[1] / "protocols" / "manifests"
CUSTOM_MANIFEST = "custom manifest"
EVERY_MANIFEST = "all"


@dataclass(frozen=True)
class Corpus:
    """A corpus. name: of its protocol; manifests: their names. Files in MANIFESTS_DIR hold the rest.

    wording_stride: consecutive items of a label take wordings so many apart in its list of held-out
    wordings, which goes from easy to hard; coprime to their number, so that all are used. wordings_path:
    None for NAME-wordings.toml in MANIFESTS_DIR.
    """

    name: str
    manifests: tuple[str, ...]
    wording_stride: int
    wordings_path: Path | None = None

    def manifest_path(self, manifest: str) -> Path:
        """The file of one of the corpus's manifests."""
        return MANIFESTS_DIR / f"{self.name}-{manifest}.csv"

    @property
    def kinds_path(self) -> Path:
        """A CSV with columns kind, plain, families, holds; not every corpus has one."""
        return MANIFESTS_DIR / f"{self.name}-kinds.csv"

    @cached_property
    def wordings(self) -> dict[str, Any]:
        """Held-out wordings of each label and each family; absent.phrases: sounds that are neither.

        Raises ValueError if the file is missing or not TOML.
        """
        path = self.wordings_path or MANIFESTS_DIR / f"{self.name}-wordings.toml"
        if not path.is_file():
            raise ValueError(f"{path}: no such file; the condition needs held-out wordings")
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from None

    @cached_property
    def families(self) -> Mapping[str, tuple[str, ...]]:
        """The families of each label; empty if the corpus has no list of kinds."""
        return self._of_kinds("families")

    @cached_property
    def holds(self) -> Mapping[str, tuple[str, ...]]:
        """For each label the labels that its sound contains, as a drum kit contains a snare drum."""
        return self._of_kinds("holds")

    def _of_kinds(self, column: str) -> dict[str, tuple[str, ...]]:
        if not self.kinds_path.is_file():
            return {}
        with self.kinds_path.open(newline="", encoding="utf-8") as file:
            lists = {row["kind"]: row[column].split(",") for row in csv.DictReader(file)}
        return {kind: tuple(filter(None, names)) for kind, names in lists.items()}

    def clips(self) -> list[dict[str, str]]:
        """Every recording, a dict of file, label, split, dataset, group, licence, author, url."""
        with gzip.open(MANIFESTS_DIR / f"{self.name}-clips.csv.gz", "rb") as file:
            return list(csv.DictReader(io.StringIO(file.read().decode("utf-8"), newline="")))


@dataclass(frozen=True)
class CorpusItems:
    """An ItemSet with one item for each row of a manifest.

    settings: for each row the name of its manifest, or "". examples: for each row the file of a recording to
    query by, relative to `data`, or empty.
    """

    name: str
    manifest_sha256: str
    condition: str
    data: Path
    rows: tuple[MixtureRow, ...]
    item_queries: tuple[ItemQuery, ...]
    settings: tuple[str, ...]
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    publication: Publication = NO_PUBLICATION

    @property
    def ids(self) -> list[str]:
        """The ids of the rows."""
        return [row.id for row in self.rows]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest's hash, the condition and the queries."""
        content = json.dumps(
            [self.manifest_sha256, self.condition, self.item_queries, *self.examples]
        )
        return hashlib.sha256(content.encode()).hexdigest()

    def render(self, index: int) -> Item:
        """Item number `index` at SAMPLE_RATE; an absent condition silences the target."""
        query, label, others = self.item_queries[index]
        row = self.rows[index]
        mixture, target, rest = render_mixture(row, self.data)
        if self.condition.startswith("absent"):
            target, rest = np.zeros_like(mixture), mixture
        return Item(
            *(row.id, query, label, mixture, target, rest, SAMPLE_RATE, others),
            setting=self.settings[index],
            example=AudioQuery(self.data / self.examples[index]) if self.examples else None,
        )


def load_corpus(corpus: Corpus, data: Path, manifest: Path | None, condition: str) -> CorpusItems:
    """The items of a corpus under a condition.

    manifest: a file, or the name of one of the corpus's; None or "all" for all of these. A mixture's query
    does not depend on which other manifests are read. Raises ValueError for an unknown condition or a bad
    manifest, FileNotFoundError for missing files.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"no condition is called {condition!r}; there are {', '.join(CONDITIONS)}")
    if manifest is None or str(manifest) == EVERY_MANIFEST:
        names = corpus.manifests
        if condition == "examples":  # a single recording is no example of a family
            names = tuple(name for name in names if "families" not in name)
        paths = {name: corpus.manifest_path(name) for name in names}
    elif str(manifest) in corpus.manifests:
        paths = {"": corpus.manifest_path(str(manifest))}
    else:
        paths = {"": manifest}
    loaded = {name: _load_manifest(corpus, data, path, condition) for name, path in paths.items()}
    rows = tuple(chain.from_iterable(items.rows for items in loaded.values()))
    check_recordings(rows, data)
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    hashes = "\n".join(items.manifest_sha256 for items in loaded.values())
    return CorpusItems(
        corpus.name,
        hashlib.sha256(hashes.encode()).hexdigest(),
        condition,
        data,
        rows,
        tuple(chain.from_iterable(items.item_queries for items in loaded.values())),
        tuple(name for name, items in loaded.items() for _ in items.rows),
        corpus.families,
        tuple(chain.from_iterable(items.examples for items in loaded.values())),
    )


def _load_manifest(corpus: Corpus, data: Path, path: Path, condition: str) -> CorpusItems:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such manifest; {corpus.name} has {', '.join(corpus.manifests)}"
        )
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    rows = parse_manifest(content, str(path))
    return items_of(corpus, _manifest_name(corpus, sha256), sha256, data, rows, condition)


def items_of(
    corpus: Corpus,
    name: str,
    sha256: str,
    data: Path,
    rows: tuple[MixtureRow, ...],
    condition: str,
) -> CorpusItems:
    """The rows of one manifest as items under one of CONDITIONS. sha256: of the manifest."""
    return CorpusItems(
        name,
        sha256,
        condition,
        data,
        rows,
        _item_queries(corpus, rows, condition),
        ("",) * len(rows),
        corpus.families,
        _examples(rows) if condition == "examples" else (),
    )


def _manifest_name(corpus: Corpus, sha256: str) -> str:
    """The name of the corpus's manifest with this content, else CUSTOM_MANIFEST."""
    for name in corpus.manifests:
        if hashlib.sha256(corpus.manifest_path(name).read_bytes()).hexdigest() == sha256:
            return f"{corpus.name}-{name}"
    return CUSTOM_MANIFEST


def _item_queries(
    corpus: Corpus, rows: Sequence[MixtureRow], condition: str
) -> tuple[ItemQuery, ...]:
    """The query of each row; depends on the rows and the corpus's wordings alone."""
    if condition in ("plain", "wordings", "examples"):
        held_out = condition == "wordings"
        queries = _held_out(corpus, rows) if held_out else [row.query for row in rows]
        return tuple(map(ItemQuery, queries, [r.label for r in rows], [r.labels for r in rows]))
    present = [(row.label, *row.labels) for row in rows]
    if condition == "absent":
        pairs = [_absent_label(corpus, row, rows) for row in rows]
    else:
        phrases = corpus.wordings.get("absent", {}).get("phrases", ())
        if not phrases:
            raise ValueError(f"{corpus.name} has no phrases for sounds outside its labels")
        pairs = [(phrases[i % len(phrases)],) * 2 for i in range(len(rows))]
    return tuple(ItemQuery(*pair, others) for pair, others in zip(pairs, present, strict=True))


def _held_out(corpus: Corpus, rows: Sequence[MixtureRow]) -> list[str]:
    """A held-out wording for each row's label, a different one each time a label recurs."""
    wordings = corpus.wordings.get("wordings", {}) | corpus.wordings.get("families", {})
    unknown = {row.label for row in rows} - wordings.keys()
    if unknown:
        raise ValueError(f"{corpus.name} has no wordings for {', '.join(sorted(unknown))}")
    seen: Counter[str] = Counter()
    queries = []
    for row in rows:
        choices = wordings[row.label]
        queries.append(choices[corpus.wording_stride * seen[row.label] % len(choices)])
        seen[row.label] += 1
    return queries


def _examples(rows: Sequence[MixtureRow]) -> tuple[str, ...]:
    """For each row a recording of its target's label that is not in its mixture."""
    files: dict[str, set[str]] = {}
    for row in rows:
        if row.names_family:
            raise ValueError(
                f"{row.id} asks for a family; no single recording is an example of one"
            )
        for cut, label in zip(row.cuts, (row.label, *row.labels), strict=True):
            files.setdefault(label, set()).add(cut.path)
    chosen = []
    for row in rows:
        candidates = sorted(files[row.label] - {cut.path for cut in row.cuts})
        if not candidates:
            raise ValueError(f"the manifest has no recording of {row.label} outside {row.id}")
        chosen.append(candidates[drawn_number(row.id) % len(candidates)])
    return tuple(chosen)


def _absent_label(corpus: Corpus, row: MixtureRow, rows: Sequence[MixtureRow]) -> tuple[str, str]:
    """(query, label) of another row whose sound cannot be in this mixture.

    Excluded are the families of the sounds present, what contains them and what they contain. A row that
    asks for a family does not say which members are present, so all are taken to be.
    """
    queries = {other.label: other.query for other in rows}
    present = {row.label, *row.labels}
    present |= {kind for kind, families in corpus.families.items() if row.label in families}
    related = {family for label in present for family in corpus.families.get(label, ())}
    related |= {part for label in present for part in corpus.holds.get(label, ())}
    related |= {whole for whole, parts in corpus.holds.items() if present & set(parts)}
    candidates = sorted(queries.keys() - present - related)
    if not candidates:
        raise ValueError(f"{row.id} contains every label of the manifest; none is absent")
    label = candidates[drawn_number(row.id) % len(candidates)]
    return queries[label], label


def drawn_number(item_id: str) -> int:
    """64 bits of a hash of the id: NumPy does not guarantee the same random stream across versions."""
    return int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:8])
