"""qsep.queries.encoders.clip against open_clip called by itself, with small networks in its formats."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from installed import import_open_clip, needs
from PIL import Image
from safetensors.torch import save_file
from tiny_encoders import CLIP_WIDTH, clip_model, pixels, save_clip_config
from torch import Tensor

from qsep.queries.encoders import clip
from qsep.queries.files import hub
from qsep.queries.interface import ImageQuery, TextQuery
from qsep.separation.components import build_encoder

pytestmark = needs("open_clip", "pip install 'qsep[clip]'")
EXACT = 1e-6  # float32, of numbers near 1; the same network fed in another batch
PICTURE = (
    1e-5  # the same, prepared in float32 there and float64 here; bilinear scaling changes 5e-3
)


@pytest.fixture(name="model", scope="module")
def built() -> Any:
    return clip_model()


@pytest.fixture(name="config", scope="module")
def saved_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip_config(tmp_path_factory.mktemp("clip"))


@pytest.fixture(name="weights", scope="module")
def saved_weights(model: Any, config: Path) -> Path:
    path = config.parent / "weights.pt"
    torch.save(model.state_dict(), path)
    return path


def encoder(config: Path, weights: Path, **settings: Any) -> Any:
    return build_encoder("clip", {"model": str(config), "weights": str(weights), **settings})


@cache
def tokenizer() -> Any:
    return import_open_clip().SimpleTokenizer()


@pytest.fixture(name="tiny", scope="module")
def loaded(config: Path, weights: Path) -> Any:
    """The encoder with its default prompt."""
    return encoder(config, weights)


def text_by_hand(model: Any, *texts: str) -> Tensor:
    with torch.no_grad():
        return model.encode_text(tokenizer()(list(texts)))


def picture_by_hand(model: Any, shown: Image.Image) -> Tensor:
    """Short side to 32 (bicubic), centre, CLIP's mean and deviation: clipsep's preparation, written out."""
    width, height = shown.size
    scale = 32 / min(width, height)
    size = (32, int(height * scale)) if width <= height else (int(width * scale), 32)
    values = np.asarray(shown.resize(size, Image.Resampling.BICUBIC), dtype=np.float64) / 255
    top, left = round((size[1] - 32) / 2), round((size[0] - 32) / 2)
    values = values[top : top + 32, left : left + 32]
    values = (values - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    with torch.no_grad():
        return model.encode_image(torch.from_numpy(values).float().permute(2, 0, 1)[None])


def save_as(model: Any, path: Path) -> Path:
    state = model.state_dict()
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    elif "training" in path.name:  # open_clip's own checkpoints
        state = {f"module.{key}": value for key, value in state.items()}
        torch.save({"epoch": 3, "name": "run", "state_dict": state}, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "training.pt"])
def test_text_is_encoded_as_open_clip_encodes_it(
    name: str, model: Any, config: Path, tmp_path: Path
) -> None:
    embedding = encoder(config, save_as(model, tmp_path / name)).encode(
        [TextQuery("dog barking"), TextQuery("a very loud rain")]
    )
    expected = text_by_hand(model, "a photo of dog barking", "a photo of a very loud rain")
    assert embedding.pooled.shape == (2, CLIP_WIDTH)
    assert embedding.pooled.dtype == torch.float32
    torch.testing.assert_close(embedding.pooled, expected, atol=EXACT, rtol=EXACT)
    assert (
        (embedding.pooled.norm(dim=1) - 1).abs() > 0.05
    ).all()  # not of unit norm, as CLIPSep wants


def test_the_ensemble_is_the_mean_of_the_papers_templates(
    model: Any, config: Path, weights: Path
) -> None:
    texts = (
        "a photo of dog.",
        "a photo of the small dog.",
        "a low resolution photo of a dog.",
        "a photo of many dog.",
    )
    rows = text_by_hand(model, *texts)
    expected = (rows[0] + 2 * rows[1] + rows[2] + rows[3]) / 5
    pooled = encoder(config, weights, prompts="ensemble").encode([TextQuery("dog")]).pooled[0]
    torch.testing.assert_close(pooled, expected, atol=EXACT, rtol=EXACT)


def test_custom_prompts_wrap_the_text_unchanged(model: Any, config: Path, weights: Path) -> None:
    query = TextQuery("{x} {} dog")
    pooled = encoder(config, weights, prompts="{}").encode([query]).pooled
    torch.testing.assert_close(pooled, text_by_hand(model, query.text), atol=EXACT, rtol=EXACT)
    pooled = encoder(config, weights, prompts=["{}", "the {}"]).encode([TextQuery("dog")]).pooled[0]
    expected = text_by_hand(model, "dog", "the dog").mean(dim=0)
    torch.testing.assert_close(pooled, expected, atol=EXACT, rtol=EXACT)


@pytest.mark.parametrize("size", [(45, 80), (64, 40), (32, 32), (20, 31)])
def test_a_picture_is_encoded_as_clipsep_prepares_it(
    size: tuple[int, int], model: Any, tiny: Any, tmp_path: Path
) -> None:
    shown = pixels(*size)
    Image.fromarray(shown).save(tmp_path / "frame.png")
    embedding = tiny.encode([ImageQuery(tmp_path / "frame.png"), ImageQuery(shown)])
    assert torch.equal(embedding.pooled[0], embedding.pooled[1])
    expected = picture_by_hand(model, Image.fromarray(shown))[0]
    torch.testing.assert_close(embedding.pooled[0], expected, atol=PICTURE, rtol=PICTURE)


def test_frames_are_averaged_after_the_encoder(model: Any, tiny: Any, tmp_path: Path) -> None:
    frames = [pixels(40, 50, seed) for seed in (1, 2, 3)]
    Image.fromarray(frames[1]).save(tmp_path / "second.png")
    query = ImageQuery(frames[0], tmp_path / "second.png", frames[2])
    pooled = tiny.encode([query]).pooled[0]
    rows = torch.cat([picture_by_hand(model, Image.fromarray(frame)) for frame in frames])
    torch.testing.assert_close(pooled, rows.mean(dim=0), atol=PICTURE, rtol=PICTURE)
    assert (rows[0] - rows[1]).abs().max() > 0.05


def test_normalised_embeddings_point_the_same_way(tiny: Any, config: Path, weights: Path) -> None:
    queries = [TextQuery("dog"), ImageQuery(pixels(40, 50), pixels(50, 40))]
    plain = tiny.encode(queries).pooled
    unit = encoder(config, weights, normalise=True)
    assert unit.unit_norm
    expected = plain / plain.norm(dim=1, keepdim=True)
    torch.testing.assert_close(unit.encode(queries).pooled, expected, atol=EXACT, rtol=EXACT)


def test_an_embedding_does_not_depend_on_the_other_queries(tiny: Any) -> None:
    queries = [TextQuery("dog"), ImageQuery(pixels(40, 50)), TextQuery("a much longer wording")]
    together = tiny.encode(queries).pooled
    for query, row in zip(queries, together, strict=True):
        assert torch.equal(tiny.encode([query]).pooled[0], row)


def test_the_default_is_clipseps_encoder() -> None:
    encoder = build_encoder("clip", {})
    assert (encoder.dim, encoder.unit_norm, encoder.prompts) == (512, False, ("a photo of {}",))
    assert encoder.config.model == "ViT-B-32-quickgelu"
    assert encoder.config.weights == "openai"


def test_the_width_is_that_of_the_network() -> None:
    assert build_encoder("clip", {"model": "ViT-L-14"}).dim == 768


BUILD = """
import sys
from qsep.separation.components import build_component
import qsep.queries.encoders
found = build_component(qsep.queries.encoders, "clip", {})
print(found.dim, "open_clip" in sys.modules)
"""


def test_building_it_imports_no_large_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "512 False\n"


def test_the_fingerprint_changes_with_every_setting_that_changes_embeddings(
    config: Path, weights: Path, model: Any, tmp_path: Path
) -> None:
    other_weights, other_config = tmp_path / "other.pt", tmp_path / config.name
    torch.save(clip_model(seed=1).state_dict(), other_weights)
    settings = json.loads(config.read_text())
    other_config.write_text(json.dumps(settings | {"quick_gelu": False}))
    built = [
        encoder(config, weights),
        encoder(config, weights, prompts="ensemble"),
        encoder(config, weights, prompts="{}"),
        encoder(config, weights, normalise=True),
        encoder(config, other_weights),
        encoder(other_config, weights),
        build_encoder("clip", {}),
        build_encoder("clip", {"weights": "laion400m_e32"}),
        build_encoder("clip", {"model": "ViT-B-32"}),
    ]
    assert len({one.fingerprint for one in built}) == len(built)
    copy = Path(shutil.copy(weights, tmp_path / "copy.pt"))
    assert encoder(config, copy).fingerprint == encoder(config, weights).fingerprint


@pytest.mark.parametrize("quick", [True, False])
def test_weights_by_name_get_the_activation_they_were_trained_with(
    quick: bool, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads(save_clip_config(tmp_path).read_text()) | {"quick_gelu": False}
    (tmp_path / "slow.json").write_text(json.dumps(settings))
    path = save_as(model, tmp_path / "open_clip_model.safetensors")
    queries = []

    def hub_file(repository: str, *names: str) -> Path:
        queries.append((repository, names[0]))
        return path

    monkeypatch.setattr(hub, "hub_file", hub_file)
    tag = {"hf_hub": "somebody/clip/", "quick_gelu": quick}
    monkeypatch.setattr(clip, "known_tag", lambda name, weights: tag)
    encoder = build_encoder("clip", {"model": str(tmp_path / "slow.json"), "weights": "some_tag"})
    row = encoder.encode([TextQuery("dog")]).pooled
    assert queries == [("somebody/clip", "open_clip_model.safetensors")]
    expected = text_by_hand(model, "a photo of dog")  # by QuickGELU
    close = torch.allclose(row, expected, atol=EXACT, rtol=EXACT)
    assert close == quick


def archive(path: Path) -> Path:
    """TorchScript with three facts beside the weights, in half precision, as OpenAI released CLIP."""
    model = clip_model().half()
    mask = model.attn_mask
    del model.context_length, model.vocab_size, model.attn_mask
    model.attn_mask = mask  # no buffer there
    for name, number in (("input_resolution", 32), ("context_length", 77), ("vocab_size", 49408)):
        model.register_buffer(name, torch.tensor(number))
    torch.jit.save(torch.jit.script(model), path)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_openais_own_archive_is_read_and_known_by_its_digest(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / clip.OPENAI_FILE)
    with pytest.raises(ValueError, match="TorchScript program, and not OpenAI's") as caught:
        encoder(config, path).encode([TextQuery("dog")])
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(clip, "OPENAI_SHA256", clip.file_sha256(path))
    built = encoder(config, path)
    by_name = build_encoder("clip", {"model": str(config)})
    assert built.fingerprint == by_name.fingerprint
    expected = text_by_hand(clip_model().half().float(), "a photo of dog")
    row = built.encode([TextQuery("dog")]).pooled
    torch.testing.assert_close(row, expected, atol=EXACT, rtol=EXACT)


def test_weights_in_the_cache_of_openais_package_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".cache" / "clip" / clip.OPENAI_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    monkeypatch.setenv("HOME", str(tmp_path))

    def unreachable(repository: str, *names: str) -> Path:
        raise ValueError(f"{repository} cannot be fetched (no network)")

    monkeypatch.setattr(hub, "hub_file", unreachable)
    encoder = build_encoder("clip", {})
    tag = {"hf_hub": "timm/vit/"}
    with pytest.raises(ValueError, match="cannot be fetched"):  # not OpenAI's, by its digest
        encoder.tagged_file("ViT-B-32", tag)
    monkeypatch.setattr(clip, "OPENAI_SHA256", clip.file_sha256(path))
    assert encoder.tagged_file("ViT-B-32", tag) == path
    with pytest.raises(ValueError, match="cannot be fetched"):
        encoder.tagged_file("ViT-L-14", tag)


def test_unavailable_weights_give_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(repository: str, *names: str) -> Path:
        raise ValueError(f"{repository} cannot be fetched (no network)")

    monkeypatch.setattr(hub, "hub_file", unreachable)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError) as caught:
        build_encoder("clip", {}).encode([TextQuery("dog")])
    assert str(caught.value) == (
        "CLIP's weights ViT-B-32-quickgelu 'openai' are not here: "
        "timm/vit_base_patch32_clip_224.openai cannot be fetched (no network); run 'hf download "
        "timm/vit_base_patch32_clip_224.openai' with a network, or name a file of them as the "
        "encoder's setting weights"
    )


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 cut short", pickle.dumps({"a": Bomb()}, protocol=2)],
    ids=["empty", "cut short", "code"],
)
def test_a_file_without_weights_gives_one_line(
    content: bytes, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as weights alone") as caught:
        encoder(config, tmp_path / "x.pt").encode([TextQuery("dog")])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_weights_load_strictly(model: Any, config: Path, tmp_path: Path) -> None:
    state = model.state_dict()
    faults = {
        "visual.proj is missing": {k: v for k, v in state.items() if k != "visual.proj"},
        "surplus is not part of it": state | {"surplus": torch.ones(3)},
        "visual.proj is": state | {"visual.proj": torch.ones(3, 4)},
        "text_projection are not finite": state
        | {"text_projection": state["text_projection"] / torch.zeros(1)},
    }
    for complaint, weights in faults.items():
        torch.save(weights, tmp_path / "x.pt")
        with pytest.raises(ValueError, match=complaint):
            encoder(config, tmp_path / "x.pt").encode([TextQuery("dog")])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"model": "ViT-B-33"}, "'ViT-B-33' is not in open_clip's list"),
        ({"model": "nowhere.json"}, "nowhere.json: no such file"),
        ({"weights": "./nowhere.pt"}, "nowhere.pt: no such file"),
        ({"prompts": "a photo"}, "'a photo' has no place for the query's text"),
        ({"prompts": []}, "has no place for the query's text"),
        ({"prompts": 3}, "setting prompts is 3"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        build_encoder("clip", settings)


def test_an_unknown_tag_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'opneai' .* lists openai, laion400m_e31"):
        build_encoder("clip", {"weights": "opneai"}).encode([TextQuery("dog")])


def test_a_description_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match="not a model configuration of open_clip"):
        build_encoder("clip", {"model": str(tmp_path / "x.json")})
