"""qsep.queries.encoders.t5 with a tiny T5 that is saved here, against transformers' own padded way."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_encoders import T5_DIM as DIM
from tiny_encoders import save_tiny_t5

from qsep.queries.cache import CachedEncoder
from qsep.queries.encoders.t5 import T5, Config, build
from qsep.queries.interface import TextQuery

DOG, RAIN = TextQuery("a dog barks"), TextQuery("rain falls on a tin dog")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_t5(tmp_path_factory.mktemp("t5"))


def encoder_of(folder: Path, **changes: Any) -> T5:
    return build(Config(str(folder), DIM, **({"max_tokens": 9} | changes)))


def test_states_are_those_of_the_padded_text(folder: Path) -> None:
    encoder = encoder_of(folder)
    embedding = encoder.encode([DOG, RAIN])
    tokenizer, network = encoder.network
    text = tokenizer([DOG.text, RAIN.text], padding="max_length", max_length=9, return_tensors="pt")
    with torch.no_grad():
        expected = network(**text).last_hidden_state
    assert embedding.tokens is not None
    assert embedding.token_mask is not None
    assert embedding.token_mask.sum(dim=1).tolist() == [4, 7]  # with the end
    assert embedding.tokens.shape == (2, 7, DIM)
    real = text["attention_mask"].bool()
    assert torch.equal(embedding.token_mask, real[:, :7])
    # 1e-5: attention over more places sums in another order
    torch.testing.assert_close(
        embedding.tokens[embedding.token_mask], expected[real], atol=1e-5, rtol=0
    )
    assert not embedding.tokens[~embedding.token_mask].any()
    mean = torch.stack([expected[0, :4].mean(dim=0), expected[1, :7].mean(dim=0)])
    torch.testing.assert_close(embedding.pooled, mean, atol=1e-5, rtol=0)


def test_the_hidden_query_has_the_states_of_an_empty_padded_text(folder: Path) -> None:
    encoder = encoder_of(folder)
    _, network = encoder.network
    ids = torch.tensor([[1] + [0] * 8])
    with torch.no_grad():
        expected = network(input_ids=ids, attention_mask=(ids == 1).long()).last_hidden_state[0]
    torch.testing.assert_close(encoder.nothing(), expected)


def test_tokens_beyond_the_maximum_are_cut_off(folder: Path) -> None:
    long = encoder_of(folder, max_tokens=4).encode([RAIN])
    short = encoder_of(folder).encode([TextQuery("rain falls on")])
    assert long.tokens is not None
    assert short.tokens is not None
    torch.testing.assert_close(long.tokens, short.tokens)


def test_building_and_identifying_load_no_network(folder: Path) -> None:
    encoder = encoder_of(folder)
    assert encoder.fingerprint.startswith("t5-folder-")
    assert build(Config()).fingerprint == "t5-google/flan-t5-large-50"
    assert "network" not in vars(encoder)


def test_the_fingerprint_depends_on_the_content_not_on_the_folder(
    folder: Path, tmp_path: Path
) -> None:
    same, other = save_tiny_t5(tmp_path / "same"), save_tiny_t5(tmp_path / "other", seed=1)
    fingerprints = encoder_of(folder).fingerprint
    assert encoder_of(same).fingerprint == fingerprints
    assert encoder_of(other).fingerprint != fingerprints
    assert encoder_of(folder, max_tokens=8).fingerprint != fingerprints


def test_a_cache_keeps_tokens_and_masks(folder: Path, tmp_path: Path) -> None:
    encoder = encoder_of(folder)
    expected = encoder.encode([RAIN, DOG, RAIN])
    CachedEncoder(encoder, tmp_path / "cache").encode([DOG, RAIN])
    again = CachedEncoder(encoder_of(folder), tmp_path / "cache")
    embedding = again.encode([RAIN, DOG, RAIN])
    assert "network" not in vars(again.encoder)
    for part in ("pooled", "tokens", "token_mask"):
        assert torch.equal(getattr(embedding, part), getattr(expected, part)), part
    alone = again.encode([DOG])
    assert alone.tokens is not None
    assert alone.tokens.shape == (1, 4, DIM)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no model\.safetensors here; give the folder of a T5"):
        build(Config(str(tmp_path)))


def test_states_of_another_width_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"12 wide, expected 16; set encoder\.dim"):
        build(Config(str(folder), 16)).encode([DOG])


def test_an_unreachable_hub_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match=r"\Athe text encoder nobody/no-t5 cannot be loaded [^\n]+\Z"
    ):
        build(Config("nobody/no-t5", DIM)).encode([DOG])
