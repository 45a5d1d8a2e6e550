"""Embeddings kept on disk, so that a query is encoded once and its encoder need not load again."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from .interface import MixedQuery, Plain, Query, QueryEmbedding, QueryEncoder, unreadable

log = logging.getLogger("qsep")


def default_cache_path() -> Path:
    """$QSEP_CACHE, or qsep under the user's cache folder; the file is made at first use."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("QSEP_CACHE") or Path(cache_home) / "qsep") / "embeddings.sqlite"


class CachedEncoder:
    """An encoder whose embeddings are remembered, in memory and in one SQLite file.

    Rows are keyed by the encoder's fingerprint and the query; one holds the pooled vector and then, of
    encoders with a token_dim, the states of the real tokens. A mixed query has no row: it is made of
    its parts'. A cache that cannot be read or written costs time, never a result.
    """

    def __init__(self, encoder: QueryEncoder, path: Path | None = None) -> None:
        self.encoder = encoder
        self.dim = encoder.dim
        self.token_dim: int = getattr(encoder, "token_dim", 0)
        self.unit_norm: bool = getattr(encoder, "unit_norm", False)
        self.modalities = encoder.modalities
        self.fingerprint = encoder.fingerprint
        self.path = path or default_cache_path()
        self.known: dict[Plain, bytes] = {}
        self.lock = threading.Lock()

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """pooled: (len(queries), dim) float32; tokens (len(queries), k, token_dim), as many as the longest
        of these queries has, zeros and a False mask after the others' own."""
        asked = {part for query in queries for part in parts_of(query)}
        for part in asked:
            if type(part) not in self.modalities:
                raise unreadable(self.encoder, part)
        wanted = asked - self.known.keys()
        if wanted:
            self.known |= self.read(wanted)
        missing = sorted(wanted - self.known.keys(), key=repr)
        if missing:
            with self.lock:  # tokenizers are not made for several threads
                rows = packed(self.encoder.encode(missing))
            fresh = dict(zip(missing, rows, strict=True))
            self.write(fresh)
            self.known |= fresh
        return unpacked([self.row(query) for query in queries], self.dim, self.token_dim)

    def row(self, query: Query) -> bytes:
        if not isinstance(query, MixedQuery):
            return self.known[query]
        if self.token_dim:
            raise ValueError("this model reads queries word by word, so they cannot be mixed")
        parts = np.stack([np.frombuffer(self.known[part], np.float32) for part in query.parts])
        mean = np.array(query.weights) @ parts
        if self.unit_norm:
            mean /= max(float(np.linalg.norm(mean)), 1e-12)
        return mean.astype(np.float32).tobytes()

    def read(self, queries: set[Plain]) -> dict[Plain, bytes]:
        found: dict[Plain, bytes] = {}
        try:
            if not self.path.is_file() or self.path.stat().st_size == 0:  # 0: being made by another
                return {}
            with closing(sqlite3.connect(self.path, timeout=5)) as database:
                for query in queries:
                    row = database.execute(
                        "SELECT pooled FROM embeddings WHERE fingerprint = ? AND query = ?",
                        (self.fingerprint, repr(query)),
                    ).fetchone()
                    if row and self.fits(len(row[0]) - 4 * self.dim):
                        found[query] = row[0]
        except (sqlite3.Error, OSError) as error:
            log.warning("%s: cannot read cached embeddings (%s); delete it", self.path, error)
        return found

    def fits(self, num_token_bytes: int) -> bool:
        if self.token_dim == 0:
            return num_token_bytes == 0
        return num_token_bytes > 0 and num_token_bytes % (4 * self.token_dim) == 0

    def write(self, rows: dict[Plain, bytes]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=5)) as database, database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS embeddings (fingerprint TEXT, query TEXT, "
                    "pooled BLOB, PRIMARY KEY (fingerprint, query))"
                )
                database.executemany(
                    "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
                    [(self.fingerprint, repr(query), row) for query, row in rows.items()],
                )
        except (sqlite3.Error, OSError) as error:
            log.warning(
                "%s: cannot keep embeddings (%s); delete it, or set QSEP_CACHE to another folder",
                self.path,
                error,
            )


def parts_of(query: Query) -> tuple[Plain, ...]:
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
