"""Vectors of a picture's patches against open_clip taken apart by hand, and eyes with random weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from installed import needs
from tiny_encoders import CLIP_CONFIG, CLIP_WIDTH, clip_model, pixels, save_clip_config
from torch import Tensor

from qsep.queries.cache import CachedEncoder
from qsep.queries.encoders.clip_patches import patch_grid
from qsep.queries.interface import ImageQuery, MixedQuery, TextQuery
from qsep.queries.media import read_picture
from qsep.separation.components import build_encoder

pytestmark = needs("open_clip", "pip install 'qsep[clip]'")
EXACT = 1e-5  # float32, sums in another order
SMALL = {"model": "qsep-small", "weights": "random"}


@pytest.fixture(name="folder", scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.save(clip_model().state_dict(), folder / "weights.pt")
    save_clip_config(folder)
    return folder


@pytest.fixture(name="encoder", scope="module")
def built(folder: Path) -> Any:
    settings = {"model": str(folder / "tiny-clip.json"), "weights": str(folder / "weights.pt")}
    return build_encoder("clip_patches", settings)


def patches_by_hand(model: Any, image: Tensor) -> Tensor:
    """open_clip's intermediate states of the last layer, (rows, columns, d) after norm and projection."""
    visual = model.visual
    with torch.no_grad():
        states = visual.forward_intermediates(image[None], indices=1)["image_intermediates"][-1]
        return visual.ln_post(states[0].permute(1, 2, 0)) @ visual.proj


def test_tokens_are_the_last_layers_patches_row_by_row(encoder: Any) -> None:
    frames = [pixels(40, 52, 1), pixels(32, 32, 2)]
    embedding = encoder.encode([ImageQuery(*frames)])
    _, _, transform = encoder.network
    images = [transform(read_picture(media)) for media in ImageQuery(*frames).frames]
    expected = torch.cat([patches_by_hand(clip_model(), image).flatten(0, 1) for image in images])
    assert embedding.tokens.shape == (1, 2 * 4, CLIP_WIDTH)
    assert embedding.token_mask.all()
    torch.testing.assert_close(embedding.tokens[0], expected, atol=EXACT, rtol=EXACT)


def test_pooled_vectors_are_those_of_clip(encoder: Any, folder: Path) -> None:
    queries = [ImageQuery(pixels(40, 52, 1), pixels(33, 37, 2)), TextQuery("rain")]
    settings = {"model": str(folder / "tiny-clip.json"), "weights": str(folder / "weights.pt")}
    expected = build_encoder("clip", settings).encode(queries).pooled
    embedding = encoder.encode(queries)
    torch.testing.assert_close(embedding.pooled, expected, atol=EXACT, rtol=EXACT)
    assert embedding.token_mask.sum(dim=1).tolist() == [8, 1]
    assert torch.equal(embedding.tokens[1, 0], embedding.pooled[1])  # of a text


def test_the_cache_keeps_patches(encoder: Any, tmp_path: Path) -> None:
    shown, words = ImageQuery(pixels(40, 52, 1)), TextQuery("rain")
    expected = encoder.encode([shown, words])
    CachedEncoder(encoder, tmp_path / "cache.sqlite").encode([shown, words])
    stored = CachedEncoder(encoder, tmp_path / "cache.sqlite").encode([shown, words])
    assert stored.tokens is not None
    assert torch.equal(stored.tokens, expected.tokens * expected.token_mask[..., None])
    with pytest.raises(ValueError, match="queries cannot be mixed"):
        CachedEncoder(encoder, tmp_path / "cache.sqlite").encode([MixedQuery(shown, words)])


def test_the_grid_is_that_of_the_architecture(tmp_path: Path) -> None:
    assert build_encoder("clip_patches", SMALL).grid == (12, 12)
    assert build_encoder("clip_patches", {}).grid == (14, 14)
    vision = {"image_size": [32, 64], "patch_size": 16, "layers": 2, "width": 64}
    path = tmp_path / "oblong.json"
    path.write_text(json.dumps(CLIP_CONFIG | {"vision_cfg": vision}))
    assert patch_grid(path) == (2, 4)


@pytest.mark.parametrize("model", ["RN50", "coca_ViT-B-32", "ViT-B-16-SigLIP"])
def test_models_without_patches_in_their_space_are_refused(model: str) -> None:
    with pytest.raises(ValueError, match=f"{model}: its pictures have no patches in the space"):
        build_encoder("clip_patches", {"model": model})


def test_random_weights_are_always_the_same_and_leave_the_seed_alone() -> None:
    query = ImageQuery(pixels(96, 96, 1))
    tokens, drawn = [], []
    for seed in (5, 6):
        torch.manual_seed(seed)
        tokens.append(build_encoder("clip_patches", SMALL).encode([query]).tokens)
        drawn.append(torch.rand(3))
        torch.manual_seed(seed)
        assert torch.equal(drawn[-1], torch.rand(3))
    assert torch.equal(*tokens)
    assert not torch.equal(*drawn)


def test_random_weights_go_with_the_model(tmp_path: Path) -> None:
    encoder = build_encoder("clip_patches", SMALL)
    assert encoder.belongs_to_model
    settings = encoder.carry(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clip.safetensors",
        "qsep-small.json",
    ]
    carried = build_encoder("clip_patches", settings)
    query = ImageQuery(pixels(96, 96, 3))
    assert torch.equal(carried.encode([query]).tokens, encoder.encode([query]).tokens)
    assert carried.fingerprint != encoder.fingerprint  # now by the digest of the weights
    assert not carried.belongs_to_model
