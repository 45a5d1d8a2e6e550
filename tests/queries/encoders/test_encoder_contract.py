"""What every query encoder promises: each file in queries/encoders, found by scanning the folder."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import (
    T5_DIM,
    clip_model,
    pixels,
    save_clap,
    save_clip_config,
    save_tiny_panns,
    save_tiny_t5,
)

import qsep.queries.encoders
from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import (
    AudioQuery,
    ClassQuery,
    ImageQuery,
    MixedQuery,
    Query,
    TextQuery,
)
from qsep.queries.networks.yamnet import GRAPH, package_file
from qsep.separation.components import build_encoder, component_names

RATE = 32000
KINDS = (TextQuery, ImageQuery, AudioQuery, ClassQuery, MixedQuery)
LABELS = ["dog", "rain", "tin"]


def clip_settings(folder: Path) -> dict[str, Any]:
    torch.save(clip_model().state_dict(), folder / "weights.pt")
    return {"model": str(save_clip_config(folder)), "weights": str(folder / "weights.pt")}


def resnet_settings(folder: Path) -> dict[str, Any]:
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.save(models.resnet18().state_dict(), folder / "resnet18.pth")
    return {"weights": str(folder / "resnet18.pth")}


def yamnet_settings(folder: Path) -> dict[str, Any]:
    try:
        package_file(GRAPH)
    except ValueError as error:
        pytest.skip(str(error))
    return {}


# A file in queries/encoders needs an entry here: settings of a small encoder whose files lie in a folder.
SETTINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "clap": lambda folder: {"model": str(save_clap(folder))},
    "clap_tokens": lambda folder: {
        "model": str(save_clap(folder)),
        "token_dim": 24,
        "num_tokens": 31,  # the small network has 40 positions
    },
    "clip": clip_settings,
    "clip_patches": clip_settings,
    "joint": lambda folder: {},
    "labels": lambda folder: {"labels": LABELS},
    "minilm": lambda folder: {},
    "panns": lambda folder: {"checkpoint": str(save_tiny_panns(folder) / "Cnn14.pth")},
    "phrase_book": lambda folder: {"classes": LABELS},
    "resnet": resnet_settings,
    "spectrogram": lambda folder: {"sample_rate": 12000, "window_samples": 64},
    "t5": lambda folder: {"model": str(save_tiny_t5(folder)), "dim": T5_DIM},
    "yamnet": yamnet_settings,
}


@cache
def recording(seed: int) -> AudioQuery:
    """A second of noise that fades in."""
    samples = np.random.default_rng(seed).standard_normal(RATE) * np.linspace(0, 0.3, RATE)
    return AudioQuery(samples.astype(np.float32), sample_rate=RATE)


# Two queries of each kind that differ.
QUERIES: dict[type, tuple[Query, Query]] = {
    TextQuery: (TextQuery("dog"), TextQuery("rain")),
    ImageQuery: (ImageQuery(pixels(40, 52, 1)), ImageQuery(pixels(36, 44, 2))),
    AudioQuery: (recording(1), recording(2)),
    ClassQuery: (ClassQuery(["dog"]), ClassQuery({"rain": 0.5})),
    MixedQuery: (MixedQuery("dog", "rain"), MixedQuery("dog", "tin")),
}


@pytest.fixture(name="encoder", scope="module", params=component_names(qsep.queries.encoders))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    kind = request.param
    if kind not in SETTINGS:
        pytest.fail(f"queries/encoders/{kind}.py: give this file settings of a small one")
    return build_encoder(kind, SETTINGS[kind](tmp_path_factory.mktemp(kind)))


def queries_of(encoder: Any, kind: type) -> list[Query]:
    """Two that the encoder reads: a tagger reads the names of its own classes."""
    if kind is TextQuery and type(encoder).__name__ == "Panns":
        return [TextQuery("Sound 3, quiet"), TextQuery("Sound 5, quiet")]
    return list(QUERIES[kind])


def test_it_declares_what_the_protocol_requires(encoder: Any) -> None:
    assert encoder.dim > 0
    assert encoder.fingerprint
    assert encoder.modalities
    assert encoder.modalities <= set(KINDS)


def test_its_classes_have_a_description_and_a_degree_each(encoder: Any) -> None:
    assert len(encoder.class_names) == len(encoder.classes)
    if encoder.classes:
        assert encoder.dim == len(encoder.classes) + 1  # the last is of all other sounds
        label = encoder.classes[1]
        expected = [0, 1] + [0] * (encoder.dim - 2)
        assert encoder.encode([ClassQuery([label])]).pooled.tolist() == [expected]


def test_a_cache_forwards_its_declarations(encoder: Any, tmp_path: Path) -> None:
    cached = CachedEncoder(encoder, tmp_path / "cache.sqlite")
    names = (
        "classes",
        "class_names",
        "book",
        "sound_encoder",
        "sentence_encoder",
        "tagger",
        "grid",
    )
    for name in names:
        assert getattr(cached, name) is getattr(encoder, name), name


def test_its_sound_encoder_embeds_audio_beside_text(encoder: Any) -> None:
    sounds = encoder.sound_encoder
    if sounds is None:
        return
    noise = np.random.default_rng(4).standard_normal((2, RATE)).astype(np.float32)
    vectors = sounds.embed_sound(torch.from_numpy(0.1 * noise))
    assert vectors.shape == (2, encoder.dim)
    # 1e-5: float32 norms
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_query_is_encoded_or_refused_in_one_line(
    encoder: Any, kind: type[Query]
) -> None:
    if kind not in encoder.modalities:
        # of a mix, an encoder may also name the kind of its parts
        named = "(mixed|text)" if kind is MixedQuery else kind.kind
        with pytest.raises(
            ValueError, match=f"the query encoder .* reads .*, not {named}: "
        ) as refused:
            encoder.encode(list(QUERIES[kind]))
        assert "\n" not in str(refused.value)
        return
    pooled = encoder.encode(queries_of(encoder, kind)).pooled
    assert pooled.shape == (2, encoder.dim)
    assert pooled.dtype == torch.float32
    assert pooled.device.type == "cpu"
    assert pooled.isfinite().all()
    assert not torch.equal(pooled[0], pooled[1])


def test_an_embedding_does_not_depend_on_the_other_queries(encoder: Any) -> None:
    queries = [
        query for kind in sorted(encoder.modalities, key=str) for query in queries_of(encoder, kind)
    ]
    together = encoder.encode(queries)
    alone = [encoder.encode([query]) for query in queries]
    # 1e-5: float32 sums over batches of other sizes
    torch.testing.assert_close(
        together.pooled, torch.cat([one.pooled for one in alone]), atol=1e-5, rtol=1e-5
    )


def test_embeddings_have_unit_norm_where_declared(encoder: Any) -> None:
    queries = [
        query for kind in sorted(encoder.modalities, key=str) for query in queries_of(encoder, kind)
    ]
    norms = encoder.encode(queries).pooled.norm(dim=-1)
    if encoder.unit_norm:
        torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-5, rtol=0)  # float32 sums


def test_tokens_have_the_declared_width(encoder: Any) -> None:
    kind = min(encoder.modalities, key=str)
    embedding = encoder.encode(queries_of(encoder, kind))
    if encoder.token_dim == 0:
        assert embedding.tokens is None
        return
    assert embedding.tokens.shape[0] == embedding.token_mask.shape[0] == 2
    assert embedding.tokens.shape[-1] == encoder.token_dim


def test_a_released_network_is_loaded_again(encoder: Any) -> None:
    queries = queries_of(encoder, min(encoder.modalities, key=str))
    before = encoder.encode(queries).pooled
    encoder.release()
    assert torch.equal(encoder.encode(queries).pooled, before)


def test_an_encoder_carried_in_a_checkpoint_is_the_same(encoder: Any, tmp_path: Path) -> None:
    kind = type(encoder).__module__.rpartition(".")[2]
    queries = queries_of(encoder, min(encoder.modalities, key=str))
    carried = build_encoder(kind, encoder.carry(tmp_path))
    # 2e-2: weights may be stored in half precision
    torch.testing.assert_close(
        carried.encode(queries).pooled, encoder.encode(queries).pooled, atol=2e-2, rtol=2e-2
    )
