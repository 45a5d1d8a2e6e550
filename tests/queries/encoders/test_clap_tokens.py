"""qsep.queries.encoders.clap_tokens against transformers and against `clap`, with a small checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sound_queries import audio, sound
from tiny_encoders import CLAP_WIDTH, save_clap

from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import SoundEncoder, TextQuery
from qsep.separation.components import build_encoder

EXACT = 2e-6  # float32, unit vectors


@pytest.fixture(name="folder", scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_clap(tmp_path_factory.mktemp("clap"))
    content = (folder / "config.json").read_text()
    assert '"max_position_embeddings": 40' in content
    return folder


@pytest.fixture(name="encoder")
def built(folder: Path) -> Any:
    settings = {"model": str(folder), "token_dim": 24, "num_tokens": 31}
    return build_encoder("clap_tokens", settings)


def test_pooled_and_token_states_are_transformers_own(folder: Path, encoder: Any) -> None:
    from transformers import AutoTokenizer, ClapModel

    text = "a dog barking"
    model = ClapModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        text, padding="max_length", max_length=31, return_tensors="pt"
    )
    with torch.no_grad():
        states = model.text_model(**tokens)
        projected = model.text_projection(states.pooler_output)[0]
    embedding = encoder.encode([TextQuery("rain"), TextQuery(text)])
    torch.testing.assert_close(embedding.tokens[1], states.last_hidden_state[0], atol=EXACT, rtol=0)
    torch.testing.assert_close(
        embedding.pooled[1], projected / projected.norm(), atol=EXACT, rtol=0
    )
    assert embedding.pooled.shape == (2, CLAP_WIDTH)


def test_the_cache_keeps_states_of_padding_too(encoder: Any, tmp_path: Path) -> None:
    cached = CachedEncoder(encoder, tmp_path / "embeddings.sqlite")
    first = cached.encode([TextQuery("rain")])
    again = CachedEncoder(encoder, tmp_path / "embeddings.sqlite").encode([TextQuery("rain")])
    assert first.tokens is not None
    assert again.tokens is not None
    assert first.tokens.shape == (1, 31, 24)
    assert torch.equal(first.tokens, again.tokens)


@pytest.mark.parametrize("seconds", [10, 7.3, 3.1])
def test_a_sound_is_embedded_as_clap_embeds_the_recording(
    seconds: float, folder: Path, encoder: Any
) -> None:
    samples = sound(seconds)
    expected = build_encoder("clap", {"model": str(folder)}).encode([audio(samples)]).pooled
    vectors = encoder.embed_sound(torch.from_numpy(np.stack([samples, samples])))
    torch.testing.assert_close(vectors, expected.expand(2, -1), atol=1e-5, rtol=0)


def test_gradients_reach_the_sound(encoder: Any) -> None:
    encoder.encode([TextQuery("rain")])  # loads the network
    assert isinstance(encoder, SoundEncoder)
    waveform = torch.from_numpy(sound(3.1))[None].requires_grad_()
    similarity = encoder.embed_sound(waveform)[0, 3]
    similarity.backward()
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()
    step = 1e-5 * waveform.grad / waveform.grad.norm() * waveform.detach().norm()
    with torch.no_grad():
        louder = encoder.embed_sound(waveform + step)[0, 3]
    # Faint bins bend the path, so the slope itself is met less exactly than the direction.
    rise = float(louder - similarity.detach())
    assert rise > 0.3 * float((step * waveform.grad).sum()) > 1e-5


def test_a_text_network_of_another_width_is_refused(folder: Path) -> None:
    encoder = build_encoder("clap_tokens", {"model": str(folder)})
    with pytest.raises(
        ValueError, match=r"its states are 24 wide, expected 768; set encoder\.token_dim"
    ):
        encoder.encode([TextQuery("rain")])
