"""Embeddings kept on disk, so that a query is encoded once and its encoder need not load again."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from .interface import Query, QueryEmbedding, QueryEncoder

log = logging.getLogger("qsep")


def default_cache_path() -> Path:
    """$QSEP_CACHE, or qsep under the user's cache folder; the file is made at first use."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("QSEP_CACHE") or Path(cache_home) / "qsep") / "embeddings.sqlite"


class CachedEncoder:
    """An encoder whose pooled embeddings are remembered, in memory and in one SQLite file.

    Rows are keyed by the encoder's fingerprint and the query. A cache that cannot be read or
    written costs time, never a result.
    """

    def __init__(self, encoder: QueryEncoder, path: Path | None = None) -> None:
        self.encoder = encoder
        self.dim = encoder.dim
        self.modalities = encoder.modalities
        self.fingerprint = encoder.fingerprint
        self.path = path or default_cache_path()
        self.known: dict[Query, bytes] = {}

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """pooled: (len(queries), dim) float32."""
        import torch

        wanted = set(queries) - self.known.keys()
        if wanted:
            self.known |= self.read(wanted)
        missing = sorted(wanted - self.known.keys(), key=repr)
        if missing:
            rows = self.encoder.encode(missing).pooled.contiguous().numpy()
            fresh = {query: row.tobytes() for query, row in zip(missing, rows, strict=True)}
            self.write(fresh)
            self.known |= fresh
        joined = bytearray(b"".join(self.known[query] for query in queries))
        pooled = torch.frombuffer(joined, dtype=torch.float32).reshape(len(queries), self.dim)
        return QueryEmbedding(pooled)

    def read(self, queries: set[Query]) -> dict[Query, bytes]:
        found: dict[Query, bytes] = {}
        try:
            if not self.path.is_file() or self.path.stat().st_size == 0:  # 0: being made by another
                return {}
            with closing(sqlite3.connect(self.path, timeout=5)) as database:
                for query in queries:
                    row = database.execute(
                        "SELECT pooled FROM embeddings WHERE fingerprint = ? AND query = ?",
                        (self.fingerprint, repr(query)),
                    ).fetchone()
                    if row and len(row[0]) == 4 * self.dim:
                        found[query] = row[0]
        except (sqlite3.Error, OSError) as error:
            log.warning("%s: cannot read cached embeddings (%s); delete it", self.path, error)
        return found

    def write(self, rows: dict[Query, bytes]) -> None:
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
