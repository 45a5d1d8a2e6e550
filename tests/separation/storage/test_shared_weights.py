"""storage.weights: what a checkpoint shares with a shipped model is read as if it were its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qsep.separation.api.hub_model import copy_checkpoint
from qsep.separation.storage.config import encoder_owner, shared_weights, stored_encoder
from qsep.separation.storage.shipped import CHECKPOINTS_DIR, shipped_models
from qsep.separation.storage.weights import (
    share,
    share_encoder,
    stored_weights,
    weights_fingerprint,
)

BASE = {"w": torch.arange(6.0).reshape(2, 3).half(), "count": torch.tensor(7)}
HEAD = {"head.w": torch.full((4,), 0.5)}
SETTINGS = {"format": 1, "separator": {"kind": "any"}}


def written(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    return folder


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("qsep.separation.storage.shipped.CHECKPOINTS_DIR", tmp_path / "shipped")
    return written(tmp_path / "shipped" / "base", BASE)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return written(tmp_path / "whole", HEAD | {f"in.{key}": value for key, value in BASE.items()})


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        value.dtype == second[key].dtype and torch.equal(value, second[key])
        for key, value in first.items()
    )


def test_shared_weights_lie_once_and_are_read_as_before(base: Path, whole: Path) -> None:
    before = load_file(whole / "model.safetensors")
    share(whole, "base", "in.")
    assert equal(load_file(whole / "model.safetensors"), HEAD)
    assert equal(stored_weights(whole), before)
    assert json.loads((whole / "config.json").read_text()).items() >= SETTINGS.items()


def test_what_differs_is_not_shared(base: Path, whole: Path) -> None:
    before = load_file(whole / "model.safetensors")
    for changed in ({"w": BASE["w"] + 1}, {"w": BASE["w"].float()}, {"v": torch.zeros(2)}):
        save_file(BASE | changed, base / "model.safetensors")
        with pytest.raises(ValueError, match=r"whole: in\.[wv] is not [wv] of base"):
            share(whole, "base", "in.")
    assert equal(load_file(whole / "model.safetensors"), before)
    assert not shared_weights(whole)


def test_another_version_of_the_shipped_model_is_refused(base: Path, whole: Path) -> None:
    share(whole, "base", "in.")
    fingerprint = weights_fingerprint(whole)
    save_file(BASE | {"w": BASE["w"] + 1}, base / "model.safetensors")
    with pytest.raises(ValueError, match=r"whole: shares weights with another version of base"):
        stored_weights(whole)
    config = json.loads((whole / "config.json").read_text())
    config["shared_weights"]["fingerprint"] = "0" * 16
    (whole / "config.json").write_text(json.dumps(config))
    assert weights_fingerprint(whole) != fingerprint
    del config["shared_weights"]["prefix"]
    (whole / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json: damaged \(shared_weights is"):
        stored_weights(whole)


@pytest.mark.parametrize("content", [b"the same", b"other"])
def test_only_an_encoder_that_is_the_same_is_shared(
    base: Path, whole: Path, content: bytes
) -> None:
    for folder, text in ((base, b"the same"), (whole, content)):
        (folder / "encoder").mkdir()
        (folder / "encoder" / "book.json").write_bytes(text)
    share(whole, "base", "in.")
    assert (whole / "encoder" / "book.json").is_file() == (content == b"other")


def test_a_shared_encoder_is_read_from_the_other_model(
    base: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "qsep.separation.storage.config.build_encoder", lambda kind, settings: settings
    )
    described: dict[str, Any] = {"encoder": {"kind": "any", "config": {"folder": "./encoder"}}}
    (base / "encoder").mkdir()
    shared = described | {"shared_weights": {"model": "base"}}
    encoder: Any = stored_encoder(whole, shared)
    assert encoder == {"folder": str(base / "encoder")}
    (whole / "encoder").mkdir()
    for config in (described, shared):
        encoder = stored_encoder(whole, config)
        assert encoder == {"folder": str(whole / "encoder")}


def test_the_encoders_files_alone_are_shared_if_it_is_the_same(base: Path, whole: Path) -> None:
    for folder in (base, whole):
        (folder / "encoder").mkdir()
        (folder / "encoder" / "book.json").write_text("{}")
        config = {"encoder": {"kind": "any", "fingerprint": "any-1"}}
        (folder / "config.json").write_text(json.dumps(config))
    share_encoder(whole, "base")
    content = json.loads((whole / "config.json").read_text())
    assert content == config | {"shared_encoder": "base"}
    assert not (whole / "encoder").exists()
    assert encoder_owner(whole, content) == base
    (whole / "encoder").mkdir()
    assert encoder_owner(whole, content) == whole
    (base / "config.json").write_text('{"encoder": {"kind": "any", "fingerprint": "any-2"}}')
    with pytest.raises(ValueError, match="its query encoder is not that of base"):
        share_encoder(whole, "base")


def test_no_shipped_model_has_a_weight_of_another_in_its_own_file() -> None:
    owners: dict[tuple[str, bytes], str] = {}
    for model in shipped_models():
        for value in load_file(CHECKPOINTS_DIR / model / "model.safetensors").values():
            if value.numel() >= 1000:
                content = str(value.dtype), value.numpy().tobytes()
                assert owners.setdefault(content, model) == model


def test_a_copy_for_elsewhere_has_all_of_its_weights(tmp_path: Path) -> None:
    source = CHECKPOINTS_DIR / "flow-small"
    copy_checkpoint(source, tmp_path / "copy")
    assert equal(load_file(tmp_path / "copy" / "model.safetensors"), stored_weights(source))
    assert not shared_weights(tmp_path / "copy")
    words = (tmp_path / "copy" / "encoder" / "words.txt").read_bytes()
    assert words == (CHECKPOINTS_DIR / "sounds150" / "encoder" / "words.txt").read_bytes()
    copy_checkpoint(source, tmp_path / "copy")  # over the earlier one
