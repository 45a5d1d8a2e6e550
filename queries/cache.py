"""Embeddings kept on disk, so that a query is encoded once and its encoder need not load again."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .interface import (
    ClassQuery,
    MixedQuery,
    Plain,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
    unreadable,
)

if TYPE_CHECKING:
    from .networks.cnn14 import Cnn14
    from .reading.reading import Reading

log = logging.getLogger("qsep")

CHECK_BYTES = 8  # of a row's checksum, after its vectors
MAX_BYTES = 2**28  # of embeddings in memory; those asked for longest ago are forgotten first


def default_cache_path() -> Path:
    """$QSEP_CACHE, or qsep under the user's cache folder; the file is made at first use."""
    if chosen := os.environ.get("QSEP_CACHE"):
        return Path(chosen) / "embeddings.sqlite"
    if cache_home := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache_home) / "qsep" / "embeddings.sqlite"
    try:
        return Path.home() / ".cache" / "qsep" / "embeddings.sqlite"
    except RuntimeError:  # a user without an entry in the password file, as in containers
        return folder_of_process() / "embeddings.sqlite"


@cache
def folder_of_process() -> Path:
    """Removed at the end of the process."""
    folder = Path(tempfile.mkdtemp(prefix="qsep-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    log.warning("no home folder, so nothing is kept after this run: set QSEP_CACHE to a folder")
    return folder


def make_private(folder: Path) -> None:
    """Make a folder that nobody else can read: queries are kept as they were asked."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


class CachedEncoder(QueryEncoder):
    """An encoder whose embeddings are remembered, in memory and in one SQLite file.

    Rows are keyed by the encoder's fingerprint and the query; one holds the pooled vector and then, of
    encoders with a token_dim, the states of the real tokens. A mixed query has no row: it is made of
    its parts'. In memory are max_bytes of rows at most, by digests of their queries, which may hold
    pictures. A cache that cannot be read or written costs time, never a result.
    """

    def __init__(
        self, encoder: QueryEncoder, path: Path | None = None, max_bytes: int = MAX_BYTES
    ) -> None:
        self.encoder = encoder
        self.dim = encoder.dim
        self.config = encoder.config
        self.token_dim, self.unit_norm = encoder.token_dim, encoder.unit_norm
        self.belongs_to_model = encoder.belongs_to_model
        self.remembers = True
        self.probabilities = encoder.probabilities
        self.modalities = encoder.modalities
        self.fingerprint = encoder.fingerprint
        self.path = path or default_cache_path()
        self.known: dict[bytes, bytes] = {}  # in the order of their last use
        self.num_bytes, self.max_bytes = 0, max_bytes
        self.lock, self.memory_lock = threading.Lock(), threading.Lock()

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """pooled: (len(queries), dim) float32; tokens (len(queries), k, token_dim), as many as the longest
        of these queries has, zeros and a False mask after the others' own."""
        asked = {digest(part): part for query in queries for part in parts_of(query)}
        for part in asked.values():
            if type(part) not in self.modalities:
                raise unreadable(self.encoder, part)
        rows = self.recall(asked)
        if unknown := {key: part for key, part in asked.items() if key not in rows}:
            rows |= self.stored(unknown)
        if missing := {key: part for key, part in unknown.items() if key not in rows}:
            order = sorted(missing, key=lambda key: repr(missing[key]))
            with self.lock:  # tokenizers are not made for several threads
                made = packed(self.encoder.encode([missing[key] for key in order]))
            fresh = dict(zip(order, made, strict=True))
            self.write({missing[key]: row for key, row in fresh.items()})
            rows |= fresh
        self.remember(rows)
        return unpacked([self.row(query, rows) for query in queries], self.dim, self.token_dim)

    def read(self, query: TextQuery) -> Reading | None:
        return self.encoder.read(query)

    @property
    def tagger(self) -> Cnn14 | None:
        """The encoder's."""
        return self.encoder.tagger

    def carry(self, folder: Path) -> dict[str, Any]:
        return self.encoder.carry(folder)

    def release(self) -> None:
        """Free the encoder's network, which may be larger than a separator's."""
        self.encoder.release()

    def row(self, query: Query, rows: Mapping[bytes, bytes]) -> bytes:
        if not isinstance(query, MixedQuery):
            return rows[digest(query)]
        if self.token_dim:
            raise ValueError("this model reads queries word by word, so they cannot be mixed")
        parts = unpacked([rows[digest(part)] for part in query.parts], self.dim, 0).pooled
        return query.mix(parts, self.unit_norm).numpy().tobytes()

    def recall(self, keys: Mapping[bytes, Plain | ClassQuery]) -> dict[bytes, bytes]:
        with self.memory_lock:
            return {key: self.known[key] for key in keys if key in self.known}

    def remember(self, rows: Mapping[bytes, bytes]) -> None:
        with self.memory_lock:
            for key, row in rows.items():
                self.num_bytes += len(row) - len(self.known.pop(key, b""))
                self.known[key] = row
            while self.num_bytes > self.max_bytes:
                self.num_bytes -= len(self.known.pop(next(iter(self.known))))

    def stored(self, queries: Mapping[bytes, Plain | ClassQuery]) -> dict[bytes, bytes]:
        """The rows that are on disk, by the keys of their queries."""
        found: dict[bytes, bytes] = {}
        try:
            if not self.path.is_file() or self.path.stat().st_size == 0:  # 0: being made by another
                return {}
            with closing(sqlite3.connect(self.path, timeout=5)) as database:
                for key, query in queries.items():
                    row = database.execute(
                        "SELECT pooled FROM embeddings WHERE fingerprint = ? AND query = ?",
                        (self.fingerprint, repr(query)),
                    ).fetchone()
                    if row and (vectors := self.verified(query, row[0])) is not None:
                        found[key] = vectors
        except (sqlite3.Error, OSError) as error:
            log.warning("%s: cannot read cached embeddings (%s); delete it", self.path, error)
        return found

    def verified(self, query: Plain | ClassQuery, stored: object) -> bytes | None:
        """What was written for this query; None for a row that is damaged, which is as none."""
        if not isinstance(stored, bytes):
            return None
        vectors, check = stored[:-CHECK_BYTES], stored[-CHECK_BYTES:]
        right = check == self.checksum(query, vectors)
        return vectors if right and self.fits(len(vectors) - 4 * self.dim) else None

    def checksum(self, query: Plain | ClassQuery, vectors: bytes) -> bytes:
        key = f"{self.fingerprint} {query!r}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(vectors, digest_size=CHECK_BYTES, key=digest_of(key)).digest()

    def fits(self, num_token_bytes: int) -> bool:
        if self.token_dim == 0:
            return num_token_bytes == 0
        return num_token_bytes > 0 and num_token_bytes % (4 * self.token_dim) == 0

    def write(self, rows: dict[Plain | ClassQuery, bytes]) -> None:
        try:
            make_private(self.path.parent)
            with closing(sqlite3.connect(self.path, timeout=5)) as database, database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS embeddings (fingerprint TEXT, query TEXT, "
                    "pooled BLOB, PRIMARY KEY (fingerprint, query))"
                )
                database.executemany(
                    "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
                    [
                        (self.fingerprint, repr(query), row + self.checksum(query, row))
                        for query, row in rows.items()
                    ],
                )
        except (sqlite3.Error, OSError) as error:
            log.warning(
                "%s: cannot keep embeddings (%s); delete it, or set QSEP_CACHE to another folder",
                self.path,
                error,
            )


def digest(query: Plain | ClassQuery) -> bytes:
    """Stands for the query, which may hold pictures; equal content has equal digests."""
    return digest_of(repr(query).encode("utf-8", "surrogatepass"))


def digest_of(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def parts_of(query: Query) -> tuple[Plain | ClassQuery, ...]:
    return query.parts if isinstance(query, MixedQuery) else (query,)


def packed(embedding: QueryEmbedding) -> list[bytes]:
    """float32 rows: a query's pooled vector, then its real tokens."""
    rows = [row.numpy().tobytes() for row in embedding.pooled.contiguous()]
    if embedding.tokens is None:
        return rows
    for index, tokens in enumerate(embedding.tokens):
        real = tokens if embedding.token_mask is None else tokens[embedding.token_mask[index]]
        rows[index] += real.contiguous().numpy().tobytes()
    return rows


def unpacked(rows: Sequence[bytes], dim: int, token_dim: int) -> QueryEmbedding:
    """What `packed` took apart; k is that of the longest."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    numbers = [torch.frombuffer(bytearray(row), dtype=torch.float32) for row in rows]
    pooled = torch.stack([row[:dim] for row in numbers])
    if token_dim == 0:
        return QueryEmbedding(pooled)
    tokens = [row[dim:].reshape(-1, token_dim) for row in numbers]
    lengths = torch.tensor([len(own) for own in tokens])
    padded = pad_sequence(tokens, batch_first=True)
    return QueryEmbedding(pooled, padded, torch.arange(padded.shape[1]) < lengths[:, None])
