"""Varied queries: what is replaced, mixed or dropped, how often, and what it depends on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import StubEncoder

from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import (
    AudioQuery,
    ClassQuery,
    MixedQuery,
    Query,
    QueryEmbedding,
    TextQuery,
)
from qsep.recipes.data.effects.config import QueryConfig
from qsep.recipes.data.effects.queries import dropped, read_paraphrases, varied
from qsep.recipes.data.wording import FRAMES
from qsep.recipes.training.build import build_query_encoder
from qsep.recipes.training.config import read_recipe

RATE = 8000
WORDINGS = {"rain": ["rainfall", "it is raining"]}


def variants(config: QueryConfig, query: Query | None, number: int = 300) -> list[Query | None]:
    sound = np.random.default_rng(0).standard_normal((1, 80)).astype(np.float32)
    rngs = map(np.random.default_rng, range(number))
    return [varied([query], sound, config, WORDINGS, RATE, rng)[0] for rng in rngs]


def texts(queries: Sequence[Query | None]) -> list[str]:
    assert all(isinstance(query, TextQuery) for query in queries)
    return [query.text for query in queries if isinstance(query, TextQuery)]


def test_a_text_is_replaced_by_a_paraphrase_as_often_as_asked() -> None:
    config = QueryConfig("wordings.toml", paraphrase_probability=0.4)
    drawn = texts(variants(config, TextQuery("rain")))
    assert set(drawn) == {"rain", "rainfall", "it is raining"}
    assert drawn.count("rain") == pytest.approx(180, abs=35)  # four standard deviations
    assert set(texts(variants(config, TextQuery("snow")))) == {"snow"}


def test_a_short_text_is_put_into_every_template() -> None:
    drawn = texts(variants(QueryConfig(template_probability=1.0), TextQuery("rain")))
    assert set(drawn) == {frame.format("rain") for frame in FRAMES}
    long = TextQuery("rain on a tin roof at night")
    assert set(variants(QueryConfig(template_probability=1.0), long)) == {long}


def test_text_is_mixed_with_its_sound_in_shares_within_the_range() -> None:
    config = QueryConfig(audio_probability=0.5, audio_share=(0.2, 0.6))
    drawn = variants(config, TextQuery("rain"))
    mixed = [query for query in drawn if isinstance(query, MixedQuery)]
    assert len(mixed) == pytest.approx(150, abs=35)
    shares = []
    for query in mixed:
        words, example = query.parts
        assert words == TextQuery("rain")
        assert isinstance(example, AudioQuery)
        assert sum(query.weights) == pytest.approx(1)
        shares.append(query.weights[1])
    assert 0.2 <= min(shares) < 0.25
    assert 0.55 < max(shares) <= 0.6


def test_an_absent_sound_is_queried_by_words_alone() -> None:
    config, rng = QueryConfig(audio_probability=1.0), np.random.default_rng(0)
    silence = np.zeros((1, 80), np.float32)
    query = TextQuery("rain")
    assert varied([query], silence, config, {}, RATE, rng) == [query]


@pytest.mark.parametrize("query", [None, ClassQuery(["rain"])])
def test_other_kinds_of_query_are_left_as_they_are(query: Query | None) -> None:
    config = QueryConfig("w.toml", 1.0, 1.0, 1.0)
    assert variants(config, query, 5) == [query] * 5


def embedding(num_items: int = 40) -> QueryEmbedding:
    rng = torch.Generator().manual_seed(0)
    pooled, tokens = (torch.rand(num_items, 3, *n, generator=rng) + 1 for n in ((5,), (4, 6)))
    return QueryEmbedding(pooled, tokens, torch.ones(num_items, 3, 4, dtype=torch.bool))


def test_dropped_queries_are_zero_and_the_others_unchanged() -> None:
    before, ids = embedding(), [f"7-{draw}" for draw in range(40)]
    after = dropped(before, ids, 0.3)
    assert before.tokens is not None
    assert after.tokens is not None
    gone = ~after.pooled.any(dim=-1)
    assert int(gone.sum()) == pytest.approx(36, abs=20)  # of 120, four standard deviations
    assert torch.equal(after.tokens.flatten(2).any(dim=-1), ~gone)
    assert torch.equal(after.pooled[~gone], before.pooled[~gone])
    assert torch.equal(after.tokens[~gone], before.tokens[~gone])


def test_what_is_dropped_depends_on_the_item_alone() -> None:
    ids = [f"7-{draw}" for draw in range(40)]
    together = dropped(embedding(), ids, 0.3).pooled
    apart = dropped(QueryEmbedding(embedding().pooled[25:]), ids[25:], 0.3).pooled
    assert torch.equal(together[25:], apart)


def test_transient_queries_are_encoded_each_time_and_not_kept(tmp_path: Path) -> None:
    stub = StubEncoder()
    cached = CachedEncoder(stub, tmp_path / "c.sqlite", transient=frozenset({TextQuery}))
    for _ in range(2):
        cached.encode([TextQuery("rain")])
    assert stub.calls == [["rain"]] * 2
    assert not cached.known
    again = CachedEncoder(StubEncoder(), tmp_path / "c.sqlite")
    again.encode([TextQuery("rain")])
    assert isinstance(again.encoder, StubEncoder)
    assert again.encoder.calls == [["rain"]]


def test_an_encoder_that_does_not_read_audio_is_refused() -> None:
    recipe, _ = read_recipe("smoke", ["mix.queries.audio_probability=0.5"])
    with pytest.raises(ValueError, match=r"needs an encoder of text and audio .* is 'minilm'"):
        build_query_encoder(recipe)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("rain", "not TOML"),
        ('rain = "rainfall"', "'rain': expected other wordings"),
        ("rain = []", "'rain': expected other wordings"),
        ('rain = [" "]', "'rain': expected other wordings"),
    ],
)
def test_a_bad_file_of_paraphrases_is_named(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "wordings.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"wordings.toml: {message}"):
        read_paraphrases(str(path))


def test_paraphrases_are_read_from_toml(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text('"a dog" = ["a barking dog"]\n')
    assert read_paraphrases(str(tmp_path / "w.toml")) == {"a dog": ["a barking dog"]}
    assert read_paraphrases("") == {}
    with pytest.raises(ValueError, match="paraphrase_probability needs a file of paraphrases"):
        QueryConfig(paraphrase_probability=0.5)
