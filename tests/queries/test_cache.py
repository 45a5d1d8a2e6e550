"""qsep.queries.cache: embeddings on disk."""

import gc
import logging
import sqlite3
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import StubConfig, StubEncoder

from qsep.queries.cache import CachedEncoder, default_cache_path
from qsep.queries.interface import ImageQuery, Query, QueryEmbedding, TextQuery

DOG, RAIN, BELL = (
    TextQuery("a dog"),
    TextQuery("rain, 'heavy'"),
    TextQuery("Glocke \N{BELL} läutet"),
)


def cached(path: Path, fingerprint: str = "stub") -> tuple[StubEncoder, CachedEncoder]:
    encoder = StubEncoder(fingerprint=fingerprint)
    return encoder, CachedEncoder(encoder, path)


def test_embeddings_are_the_encoders_in_the_order_of_the_queries(tmp_path: Path) -> None:
    queries = [RAIN, DOG, RAIN, BELL]
    expected = StubEncoder().encode(queries).pooled
    _, first = cached(tmp_path / "deep" / "cache.sqlite")
    assert torch.equal(first.encode(queries).pooled, expected)
    assert torch.equal(first.encode(queries[1:]).pooled, expected[1:])
    _, second = cached(tmp_path / "deep" / "cache.sqlite")
    assert torch.equal(second.encode(queries).pooled, expected)


def test_a_cached_query_is_not_encoded_again(tmp_path: Path) -> None:
    encoder, first = cached(tmp_path / "cache.sqlite")
    first.encode([DOG, RAIN])
    first.encode([RAIN, BELL, BELL])
    assert [sorted(texts) for texts in encoder.calls] == [[DOG.text, RAIN.text], [BELL.text]]
    encoder, second = cached(tmp_path / "cache.sqlite")
    second.encode([BELL, DOG, RAIN])
    assert encoder.calls == []


class Heavy(StubEncoder):
    """Loads a network at its first query, as encoders do."""

    num_loads = 0

    @cached_property
    def network(self) -> str:
        self.num_loads += 1
        return "heavy"

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        assert self.network == "heavy"
        return super().encode(queries)


def test_a_released_network_is_loaded_again_only_for_a_new_query(tmp_path: Path) -> None:
    encoder = Heavy()
    queries = CachedEncoder(encoder, tmp_path / "cache.sqlite")
    queries.release()  # nothing is loaded yet
    queries.encode([DOG])
    queries.release()
    assert "network" not in vars(encoder)
    queries.encode([DOG])
    assert encoder.num_loads == 1
    queries.encode([RAIN])
    assert encoder.num_loads == 2


def test_another_fingerprint_gets_its_own_embeddings(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cached(path)[1].encode([DOG])
    encoder, other = cached(path, "another")
    expected = StubEncoder(fingerprint="another").encode([DOG]).pooled
    assert torch.equal(other.encode([DOG]).pooled, expected)
    assert encoder.calls == [[DOG.text]]
    encoder, again = cached(path)
    assert torch.equal(again.encode([DOG]).pooled, StubEncoder().encode([DOG]).pooled)
    assert encoder.calls == []


def test_returned_embeddings_may_be_modified(tmp_path: Path) -> None:
    _, cache = cached(tmp_path / "cache.sqlite")
    cache.encode([DOG]).pooled.zero_()
    assert torch.equal(cache.encode([DOG]).pooled, StubEncoder().encode([DOG]).pooled)


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 500])
def test_a_damaged_file_gives_a_warning_and_correct_embeddings(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(content)
    encoder, cache = cached(path)
    with caplog.at_level(logging.WARNING, "qsep"):
        assert torch.equal(cache.encode([DOG]).pooled, StubEncoder().encode([DOG]).pooled)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert all(str(path) in text and "delete it" in text for text in caplog.messages)
    cache.encode([DOG])
    assert encoder.calls == [[DOG.text]]  # remembered in memory all the same


def test_a_row_of_another_width_is_encoded_again(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    CachedEncoder(StubEncoder(StubConfig(dim=4)), path).encode([DOG])
    _, cache = cached(path)
    assert torch.equal(cache.encode([DOG]).pooled, StubEncoder().encode([DOG]).pooled)


def test_a_file_being_created_by_another_process_gives_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache.sqlite").touch()
    cached(tmp_path / "cache.sqlite")[1].encode([DOG])
    assert caplog.messages == []


def test_an_unwritable_folder_gives_a_warning_and_correct_embeddings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    _, cache = cached(tmp_path / "file" / "cache.sqlite")
    assert torch.equal(cache.encode([DOG]).pooled, StubEncoder().encode([DOG]).pooled)
    assert "QSEP_CACHE" in caplog.messages[-1]


WRITE = """
import sqlite3, sys
from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import QueryEncoder, TextQuery

class Nothing(QueryEncoder):
    config, dim, modalities, fingerprint = None, 3, frozenset(), "stub"

cache = CachedEncoder(Nothing(), __import__("pathlib").Path(sys.argv[1]))
for index in range(25):
    cache.write({TextQuery(f"{sys.argv[2]} {index}"): bytes(12)})
"""


def test_concurrent_writers_lose_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, path, name], stderr=subprocess.PIPE, text=True
        )
        for name in ("a", "b", "c")
    ]
    assert [writer.communicate(timeout=120)[1] for writer in writers] == ["", "", ""]
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM embeddings").fetchone() == (75,)


def test_the_environment_determines_the_cache_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QSEP_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert default_cache_path() == Path("/a/embeddings.sqlite")
    monkeypatch.delenv("QSEP_CACHE")
    assert default_cache_path() == Path("/b/qsep/embeddings.sqlite")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_path() == Path.home() / ".cache/qsep/embeddings.sqlite"


def test_pictures_are_not_kept_in_memory(tmp_path: Path) -> None:
    class Seeing(StubEncoder):
        modalities = frozenset({ImageQuery})

        def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
            return super().encode([TextQuery(repr(query)) for query in queries])

    cache = CachedEncoder(Seeing(), tmp_path / "cache.sqlite")
    pictures = [np.full((4, 5, 3), value, np.uint8) for value in (1, 2)]
    query = ImageQuery(*pictures)
    first = cache.encode([query]).pooled
    kept = [weakref.ref(frame.source) for frame in query.frames]
    del query
    gc.collect()
    assert [reference() for reference in kept] == [None, None]
    assert torch.equal(cache.encode([ImageQuery(*pictures)]).pooled, first)
    assert not torch.equal(cache.encode([ImageQuery(pictures[0])]).pooled, first)


def test_memory_is_bounded_and_drops_the_least_recently_used(tmp_path: Path) -> None:
    row = 4 * StubEncoder().dim
    encoder = StubEncoder()
    cache = CachedEncoder(encoder, tmp_path / "no" / "cache.sqlite", max_bytes=2 * row)
    (tmp_path / "no").touch()  # nothing can be kept on disk
    for query in (DOG, RAIN, DOG, BELL):
        expected = StubEncoder().encode([query]).pooled
        assert torch.equal(cache.encode([query]).pooled, expected)
        assert cache.num_bytes == sum(map(len, cache.known.values())) <= 2 * row
    cache.encode([DOG])
    assert encoder.calls == [[DOG.text], [RAIN.text], [BELL.text]]
    cache.encode([RAIN])
    assert encoder.calls[3:] == [[RAIN.text]]
    together = cache.encode([DOG, RAIN, BELL, DOG]).pooled  # more at once than it keeps
    assert torch.equal(together, StubEncoder().encode([DOG, RAIN, BELL, DOG]).pooled)
    assert cache.num_bytes == 2 * row


def test_threads_encode_one_at_a_time(tmp_path: Path) -> None:
    inside: list[None] = []
    most: list[int] = []

    class Slow(StubEncoder):
        def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
            inside.append(None)
            time.sleep(0.02)
            most.append(len(inside))
            inside.pop()
            return super().encode(queries)

    encoder = CachedEncoder(Slow(), tmp_path / "cache.sqlite")
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda query: encoder.encode([query]), (DOG, RAIN, BELL)))
    assert most == [1, 1, 1]
