"""A cache of query embeddings on disk, so that known queries need no encoder network."""

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
    SoundEncoder,
    Tagger,
    TextQuery,
    unreadable,
)

if TYPE_CHECKING:
    from .encoders.minilm import MiniLM
    from .reading.reading import Reading

log = logging.getLogger("qsep")

CHECK_BYTES = 8  # of a row's checksum, after its vectors
MAX_BYTES = 2**28  # of embeddings in memory; the least recently used are dropped first


def default_cache_path() -> Path:
    """The cache file: in $QSEP_CACHE, or qsep in the user's cache folder. It is created at first use."""
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
    """A temporary folder that is removed at the end of the process."""
    folder = Path(tempfile.mkdtemp(prefix="qsep-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    log.warning("no home folder, so nothing is kept after this run: set QSEP_CACHE to a folder")
    return folder


def make_private(folder: Path) -> None:
    """Create a folder that other users cannot read, since queries are stored as plain text."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    # Earlier versions made it readable; the mode of a folder that QSEP_CACHE names is left as it is.
    state = folder.stat()
    ours = os.name != "nt" and state.st_uid == os.getuid() and "QSEP_CACHE" not in os.environ
    if ours and state.st_mode & 0o077:
        folder.chmod(0o700)


def make_private_file(path: Path) -> None:
    """Create a file, unless it exists, that other users cannot read, whatever its folder allows."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


class CachedEncoder(QueryEncoder):
    """An encoder with a cache of its embeddings, in memory and in an SQLite file.

    Rows are keyed by the encoder's fingerprint and the query; a row holds the pooled vector and, for encoders
    with tokens, those that are not padding. Mixed queries are computed from their parts. In memory are at
    most max_bytes of rows, keyed by digests of their queries, which may contain pictures.
    If the file cannot be read or written, a warning is logged and queries are encoded again.
    transient: kinds of query that are not kept, as examples of which each is used once.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        path: Path | None = None,
        max_bytes: int = MAX_BYTES,
        transient: frozenset[type] = frozenset(),
    ) -> None:
        self.encoder = encoder
        self.dim = encoder.dim
        self.config = encoder.config
        self.token_dim, self.unit_norm = encoder.token_dim, encoder.unit_norm
        self.belongs_to_model = encoder.belongs_to_model
        self.classes, self.class_names, self.book = (
            encoder.classes,
            encoder.class_names,
            encoder.book,
        )
        self.remembers = True
        self.probabilities, self.grid = encoder.probabilities, encoder.grid
        self.modalities = encoder.modalities
        self.fingerprint = encoder.fingerprint
        self.path, self.transient = path or default_cache_path(), transient
        self.known: dict[bytes, bytes] = {}  # least recently used first
        self.num_bytes, self.max_bytes = 0, max_bytes
        self.lock, self.memory_lock = threading.Lock(), threading.Lock()

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """pooled: (len(queries), dim), float32. tokens: (len(queries), k, token_dim) or None, with k of the
        longest of these queries and token_mask False for padding. ValueError for kinds it does not read."""
        parts = {digest(part): part for query in queries for part in parts_of(query)}
        for part in parts.values():
            if type(part) not in self.modalities:
                raise unreadable(self.encoder, part)
        rows = self.recall(parts)
        if unknown := {key: part for key, part in parts.items() if key not in rows}:
            rows |= self.stored(unknown)
        if missing := {key: part for key, part in unknown.items() if key not in rows}:
            order = sorted(missing, key=lambda key: repr(missing[key]))
            with self.lock:  # tokenizers are not thread-safe
                encoded = packed(self.encoder.encode([missing[key] for key in order]))
            new_rows = dict(zip(order, encoded, strict=True))
            rows |= new_rows
            kept = {missing[key]: row for key, row in new_rows.items()}
            self.write(
                {part: row for part, row in kept.items() if type(part) not in self.transient}
            )
        self.remember(
            {key: row for key, row in rows.items() if type(parts[key]) not in self.transient}
        )
        return unpacked([self.row(query, rows) for query in queries], self.dim, self.token_dim)

    def read(self, query: TextQuery) -> Reading | None:
        """As the encoder's; not cached."""
        return self.encoder.read(query)

    @property
    def tagger(self) -> Tagger | None:
        """The encoder's."""
        return self.encoder.tagger

    @property
    def sound_encoder(self) -> SoundEncoder | None:
        """The encoder's."""
        return self.encoder.sound_encoder

    @property
    def sentence_encoder(self) -> MiniLM | None:
        """The encoder's."""
        return self.encoder.sentence_encoder

    def carry(self, folder: Path) -> dict[str, Any]:
        """As the encoder's."""
        return self.encoder.carry(folder)

    def release(self) -> None:
        """Free the memory of the encoder's network."""
        self.encoder.release()

    def row(self, query: Query, rows: Mapping[bytes, bytes]) -> bytes:
        """A query's row, given those of its parts. ValueError for mixes of queries that have tokens."""
        if not isinstance(query, MixedQuery):
            return rows[digest(query)]
        if self.token_dim:
            raise ValueError("this model uses token embeddings, so queries cannot be mixed")
        parts = unpacked([rows[digest(part)] for part in query.parts], self.dim, 0).pooled
        return query.mix(parts, self.unit_norm).numpy().tobytes()

    def recall(self, keys: Mapping[bytes, Plain | ClassQuery]) -> dict[bytes, bytes]:
        """The rows of these keys that are in memory."""
        with self.memory_lock:
            return {key: self.known[key] for key in keys if key in self.known}

    def remember(self, rows: Mapping[bytes, bytes]) -> None:
        """Keep rows in memory, dropping the least recently used beyond max_bytes."""
        with self.memory_lock:
            for key, row in rows.items():
                self.num_bytes += len(row) - len(self.known.pop(key, b""))
                self.known[key] = row
            while self.num_bytes > self.max_bytes:
                self.num_bytes -= len(self.known.pop(next(iter(self.known))))

    def stored(self, queries: Mapping[bytes, Plain | ClassQuery]) -> dict[bytes, bytes]:
        """The rows of these queries that are on disk and undamaged, by their keys."""
        rows: dict[bytes, bytes] = {}
        try:
            # A size of 0: another process is creating it.
            if not self.path.is_file() or self.path.stat().st_size == 0:
                return {}
            with closing(sqlite3.connect(self.path, timeout=5)) as database:
                for key, query in queries.items():
                    row = database.execute(
                        "SELECT pooled FROM embeddings WHERE fingerprint = ? AND query = ?",
                        (self.fingerprint, repr(query)),
                    ).fetchone()
                    if row and (vectors := self.verified(query, row[0])) is not None:
                        rows[key] = vectors
        except (sqlite3.Error, OSError) as error:
            log.warning("%s: cannot read cached embeddings (%s); delete it", self.path, error)
        return rows

    def verified(self, query: Plain | ClassQuery, stored: object) -> bytes | None:
        """A stored row without its checksum; None if it is damaged."""
        if not isinstance(stored, bytes):
            return None
        vectors, check = stored[:-CHECK_BYTES], stored[-CHECK_BYTES:]
        intact = check == self.checksum(query, vectors)
        return vectors if intact and self.fits(len(vectors) - 4 * self.dim) else None

    def checksum(self, query: Plain | ClassQuery, vectors: bytes) -> bytes:
        """CHECK_BYTES over the encoder's fingerprint, the query and its vectors."""
        key = f"{self.fingerprint} {query!r}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(vectors, digest_size=CHECK_BYTES, key=digest_of(key)).digest()

    def fits(self, num_token_bytes: int) -> bool:
        """Whether the bytes after the pooled vector are a whole number of tokens."""
        if self.token_dim == 0:
            return num_token_bytes == 0
        return num_token_bytes > 0 and num_token_bytes % (4 * self.token_dim) == 0

    def write(self, rows: dict[Plain | ClassQuery, bytes]) -> None:
        """Store rows by their queries; logs a warning if the file cannot be written."""
        try:
            make_private(self.path.parent)
            make_private_file(self.path)
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
    """16 bytes that identify a query; equal content has equal digests."""
    return digest_of(repr(query).encode("utf-8", "surrogatepass"))


def digest_of(content: bytes) -> bytes:
    """BLAKE2b of 16 bytes."""
    return hashlib.blake2b(content, digest_size=16).digest()


def parts_of(query: Query) -> tuple[Plain | ClassQuery, ...]:
    """The parts of a mixed query, or the query itself."""
    return query.parts if isinstance(query, MixedQuery) else (query,)


def packed(embedding: QueryEmbedding) -> list[bytes]:
    """For each query its row: the pooled vector, then its tokens without padding, as float32."""
    rows = [row.numpy().tobytes() for row in embedding.pooled.contiguous()]
    if embedding.tokens is None:
        return rows
    for index, tokens in enumerate(embedding.tokens):
        real = tokens if embedding.token_mask is None else tokens[embedding.token_mask[index]]
        rows[index] += real.contiguous().numpy().tobytes()
    return rows


def unpacked(rows: Sequence[bytes], dim: int, token_dim: int) -> QueryEmbedding:
    """The embedding of rows made by `packed`, padded to the longest."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    numbers = [torch.frombuffer(bytearray(row), dtype=torch.float32) for row in rows]
    pooled = torch.stack([row[:dim] for row in numbers])
    if token_dim == 0:
        return QueryEmbedding(pooled)
    tokens = [row[dim:].reshape(-1, token_dim) for row in numbers]
    lengths = torch.tensor([len(states) for states in tokens])
    padded = pad_sequence(tokens, batch_first=True)
    return QueryEmbedding(pooled, padded, torch.arange(padded.shape[1]) < lengths[:, None])
