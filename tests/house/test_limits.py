"""Numbers, names and sizes out of range are refused in one line, or processed in parts."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny import StubConfig, StubEncoder, tiny_separator

from qsep.queries import cache
from qsep.queries.cache import CachedEncoder
from qsep.queries.constraints import Constraints, Span
from qsep.queries.files.weights import check_weights, read_state_dict
from qsep.queries.interface import TextQuery, shortened
from qsep.recipes.data.mixtures.augment import AugmentConfig
from qsep.recipes.data.mixtures.mix_and_separate import MixAndSeparate, MixConfig, RecordedSounds
from qsep.recipes.data.wording import book_of_labels
from qsep.separation.api import Model, separate_file
from qsep.separation.inference.aligned import MAX_QUERIES
from qsep.separation.inference.chunks import geometry
from qsep.separation.storage.csv_cells import inert, plain

STUB = StubEncoder(StubConfig(dim=384))


def model() -> Model:
    return Model(tiny_separator(query_dim=384), STUB, "tiny")


def test_a_negative_given_as_a_string_is_one_negative() -> None:
    assert Constraints(negatives="rain").negatives == (TextQuery("rain"),)
    assert Constraints(negatives=TextQuery("rain")).negatives == (TextQuery("rain"),)  # type: ignore[arg-type]
    assert Constraints(negatives=["rain", "wind"]).negatives == (
        TextQuery("rain"),
        TextQuery("wind"),
    )


@pytest.mark.parametrize("spans", ["1-2", (1.0, 2.0), Span(1, 2), ["1-2"], [(1, 2)], (Span(1, 2),)])
def test_a_span_given_alone_is_one_span(spans: Any) -> None:
    assert Constraints(spans=spans).spans == (Span(1, 2),)
    assert Constraints(not_spans=spans).not_spans == (Span(1, 2),)


def test_a_query_that_is_not_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the query 'caf.udce9 noise' is not text in UTF-8"):
        TextQuery("caf\udce9 noise")


def test_long_texts_are_shortened_in_messages() -> None:
    assert shortened("a" * 80) == "a" * 80
    assert shortened("a" * 10_000) == "a" * 79 + "…"


@pytest.mark.parametrize("value", [1e18, -2e6])
def test_arrays_with_an_absurd_peak_are_refused(value: float) -> None:
    audio = np.zeros(3000, np.float32)
    audio[7] = value
    with pytest.raises(ValueError, match=r"the audio's peak is .*; full scale is 1"):
        model().separate(audio, "rain")


def test_a_result_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = model()
    original = tiny.separator.separate

    def separate(*arguments: Any, **options: Any) -> Any:
        separated = original(*arguments, **options)
        separated.target[..., 5] = torch.nan
        return separated

    monkeypatch.setattr(tiny.separator, "separate", separate)
    with pytest.raises(ValueError, match="tiny made NaN or infinite samples"):
        tiny.separate(np.ones(3000, np.float32) / 2, "rain")


def test_integer_weights_in_place_of_floats_are_refused() -> None:
    layer = torch.nn.Linear(3, 2)
    weights = {key: value.view(torch.int32) for key, value in layer.state_dict().items()}
    with pytest.raises(ValueError, match=r"weight is torch\.int32, expected torch\.float32"):
        check_weights(layer, weights, "m")


def test_many_queries_are_separated_in_groups_and_equal_single_ones(tmp_path: Path) -> None:
    soundfile.write(
        tmp_path / "a.wav", np.random.default_rng(3).uniform(-0.5, 0.5, (9001, 2)), 8000
    )
    queries = [TextQuery(f"sound {number}") for number in range(2 * MAX_QUERIES + 1)]
    progress: list[float] = []
    rows = separate_file(
        model(),
        tmp_path / "a.wav",
        queries,
        tmp_path / "all",
        True,
        lambda done, _: progress.append(done),
    )
    assert [row["query"] for row in rows] == [query.name for query in queries]
    assert progress == sorted(progress)
    assert progress[-1] == pytest.approx(9001 / 8000)
    last = queries[-1]
    (alone,) = separate_file(model(), tmp_path / "a.wav", [last], tmp_path / "one", True)
    for name in alone["files"]:
        single = soundfile.read(name)[0]
        # Bands are summed in another order for one query than for several: some 1e-7, and 16 bits.
        np.testing.assert_allclose(
            soundfile.read(tmp_path / "all" / Path(name).name)[0], single, atol=4e-5
        )


def test_more_targets_at_once_take_shorter_chunks() -> None:
    separator = tiny_separator(query_dim=384)
    steps = [geometry(separator, num_targets=number).step for number in (1, 4, 16, 1024)]
    assert steps[0] == steps[1] == pytest.approx(30 * 8000, rel=0.01)
    assert steps[2] == pytest.approx(7.5 * 8000, rel=0.01)
    assert steps[3] >= 1.9 * 8000


@pytest.mark.parametrize("damage", ["NULL", "zeroblob(1544)", "'text'", "x'00'", "bit"])
def test_a_damaged_row_of_the_cache_is_ignored(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "private" / "cache.sqlite"
    expected = CachedEncoder(STUB, path).encode([TextQuery("rain")]).pooled
    with sqlite3.connect(path) as database:
        if damage == "bit":
            (row,) = database.execute("SELECT pooled FROM embeddings").fetchone()
            flipped = bytes([row[0], row[1], row[2] ^ 1, *row[3:]])
            database.execute("UPDATE embeddings SET pooled = ?", (flipped,))
        else:
            database.execute(f"UPDATE embeddings SET pooled = {damage}")
    assert CachedEncoder(STUB, path).encode([TextQuery("rain")]).pooled.equal(expected)
    assert path.parent.stat().st_mode & 0o077 == 0


def test_without_a_home_nothing_is_kept_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("QSEP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    cache.folder_of_process.cache_clear()
    path = cache.default_cache_path()
    assert path.parent.is_dir()
    assert cache.default_cache_path() == path


def test_custom_labels_have_no_phrases_for_other_sounds() -> None:
    book = book_of_labels(("hum", "hiss", "beep"))
    rng = np.random.default_rng(4)
    sounds = RecordedSounds(
        {label: [rng.uniform(-0.5, 0.5, 3000).astype(np.float32)] for label in book.labels},
        AugmentConfig(0.0, filter_probability=0.0, reverb_probability=0.0),
    )
    config = MixConfig(
        segment_samples=2048,
        num_sources_weights=(0.5, 0.5),
        num_queries=4,
        max_absent=2,
        other_probability=0.9,
    )
    data = MixAndSeparate(sounds, book, config, 8000, 1)
    for draw in range(30):
        sources, queries, _ = data[draw]
        assert len(queries) == len(sources)
        queried = [query for query in queries if query is not None]
        assert len(set(queried)) == len(queried)
        assert {query.name for query in queried} <= set(book.labels)


def test_a_pickle_that_holds_code_is_refused_in_our_words(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (canary,))

    torch.save({"state_dict": Bomb()}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="holds code, which is never run") as caught:
        read_state_dict(tmp_path / "model.pt")
    assert "weights_only" not in str(caught.value)
    assert not canary.exists()


def test_no_cell_of_a_report_is_a_formula() -> None:
    assert inert(["=1+1", "@a", "+b", "-c", "dog", -1.5, 3]) == [
        *("'=1+1", "'@a", "'+b", "'-c"),
        *("dog", -1.5, 3),
    ]


def test_cells_of_items_read_back_as_they_were() -> None:
    texts = ["=1+1", "'=1", "''-c", "'quoted'", "a=b", "-3 dB", "dog"]
    assert [plain(cell) for cell in inert(texts)] == texts
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in inert(texts))
