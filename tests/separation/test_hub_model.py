"""Checkpoint folders on the hub: publishing, loading by ORG/NAME, save_pretrained and from_pretrained."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants as settings
import numpy as np
import pytest
import torch
import yaml
from command import Run, content, names, record
from local_hub import COMMIT, Fault, LocalHub, local_hub, use
from tiny import noise

from qsep.separation.api import Model, load
from qsep.separation.api.hub_model import HubModel, push
from qsep.separation.storage.model_card import (
    named,
    title_of,
    use_section,
    with_header,
    without_header,
)


@pytest.fixture(name="hub")
def hub_for_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with local_hub() as hub:
        use(hub, tmp_path / "caches", monkeypatch)
        yield hub


def header(card: bytes) -> dict[str, Any]:
    return dict(yaml.safe_load(card.decode().split("---\n")[1]))


def test_only_the_checkpoint_is_published(
    qsep: Run, hub: LocalHub, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "trained"
    folder.mkdir()
    for name, data in content(tiny_model).items():
        (folder / name).write_bytes(data)
    (folder / "training.pt").write_bytes(b"state of a training")
    (folder / "notes.txt").write_text("private")
    done = qsep("models", "push", folder, "me/street")
    assert done.code == 0, done.err
    assert f"/commit/{COMMIT}" in done.out
    assert "-m me/street" in done.out
    start = f"/me/street/resolve/{COMMIT}/"
    sent = {path.removeprefix(start) for path in hub.files if path.startswith(start)}
    assert sent == {"README.md", "config.json", "model.safetensors"}
    weights = (tiny_model / "model.safetensors").read_bytes()
    assert hub.files[f"{start}model.safetensors"] == weights
    facts = header(hub.files[f"{start}README.md"])
    assert (facts["library_name"], facts["pipeline_tag"]) == ("qsep", "audio-to-audio")
    assert (folder / "README.md").read_text() == "# A tiny model\n"  # the user's own stays


def test_a_published_model_separates_by_its_name_on_the_hub(
    qsep: Run, hub: LocalHub, tiny_model: Path, tmp_path: Path
) -> None:
    push(tiny_model, "me/street")
    recording = record(tmp_path / "a.wav")
    for model, out in (
        ("me/street", "hub"),
        (tiny_model, "folder"),
        (f"me/street@{COMMIT}", "pin"),
    ):
        done = qsep("separate", recording, "-q", "rain", "-m", model, "-o", tmp_path / out)
        assert done.code == 0, done.err
    written = [content(tmp_path / out) for out in ("hub", "folder", "pin")]
    assert written[0] == written[1] == written[2]


def test_the_hub_is_asked_for_a_branch_but_not_for_a_cached_commit(
    hub: LocalHub, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(tiny_model, "me/street")
    assert load("me/street", "cpu").name == "me/street"
    hub.seen.clear()
    load("me/street", "cpu")
    assert [item.path for item in hub.seen] == ["/api/models/me/street/revision/main"]
    hub.seen.clear()
    load(f"me/street@{COMMIT}", "cpu")
    assert hub.seen == []
    monkeypatch.setattr(settings, "HF_HUB_OFFLINE", True)
    assert load("me/street", "cpu").name == "me/street"
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE forbids"):
        load("me/other", "cpu")


def test_without_a_network_the_newest_cached_version_is_used(
    hub: LocalHub, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(tiny_model, "me/street")
    load("me/street", "cpu")
    monkeypatch.setattr(settings, "ENDPOINT", "http://127.0.0.1:9")
    assert load("me/street", "cpu").name == "me/street"
    with pytest.raises(ValueError, match=r"\Ame/other \(no such folder here\): cannot be fetched"):
        load("me/other", "cpu")


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "hf auth login"), (404, "check the name"), (429, "wait"), (500, "later")],
)
def test_refusals_are_one_line(hub: LocalHub, status: int, remedy: str) -> None:
    hub.faults["/api/models/me/street/revision/main"] = Fault(status=status)
    with pytest.raises(ValueError, match=rf"\Ame/street [^\n]*answers {status}; [^\n]*{remedy}"):
        load("me/street", "cpu")


def test_a_repository_without_our_checkpoint_says_so(hub: LocalHub) -> None:
    hub.put_model("me/other", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(ValueError, match=r"me/other: no checkpoint of qsep .*qsep models list"):
        load("me/other", "cpu")


@pytest.mark.parametrize("status", [401, 403, 500])
def test_the_error_says_why_a_model_cannot_be_published(
    qsep: Run, hub: LocalHub, tiny_model: Path, status: int
) -> None:
    hub.faults["/api/repos/create"] = Fault(status=status)
    failed = qsep("models", "push", tiny_model, "me/street")
    assert failed.code == 2
    assert failed.error.startswith(f"not published: me/street: the server answers {status}; ")
    assert "ORG/NAME" in qsep("models", "push", tiny_model, "street").error
    assert "not a checkpoint folder" in qsep("models", "push", tiny_model.parent, "me/a").error


def test_saved_and_loaded_again_it_separates_alike(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    model = load(tiny_model, "cpu")
    model.save_pretrained(tmp_path / "mine")
    assert names(tmp_path / "mine") == {*names(tiny_model), "notes.txt"}
    assert (
        content(tmp_path / "mine")["model.safetensors"]
        == (content(tiny_model)["model.safetensors"])
    )
    again = Model.from_pretrained(tmp_path / "mine", device="cpu")
    assert isinstance(again, HubModel)
    embedding = torch.nn.functional.normalize(noise(1, 1, 384), dim=-1)
    from qsep.queries.interface import QueryEmbedding

    mixture = noise(1, 1, 3000)
    with torch.inference_mode():
        target = [
            item.separator.separate(mixture, QueryEmbedding(embedding)).target.numpy()
            for item in (model, again)
        ]
    np.testing.assert_array_equal(target[0], target[1])


def test_files_of_another_model_are_not_replaced(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    model = load(tiny_model, "cpu")
    with pytest.raises(ValueError, match=r"config\.json exists, and no earlier"):
        model.save_pretrained(tmp_path / "other")
    assert content(tmp_path / "other") == {"config.json": b'{"model_type": "bert"}'}
    model.save_pretrained(tmp_path / "mine")
    model.save_pretrained(tmp_path / "mine")  # its own it may


def test_a_pushed_model_can_be_loaded_again(
    hub: LocalHub, tiny_model: Path, tmp_path: Path
) -> None:
    model = load(tiny_model, "cpu")
    assert model.save_pretrained(tmp_path / "a", push_to_hub=True, repo_id="me/a")
    assert model.push_to_hub("me/b")
    for name in ("me/a", "me/b"):
        again = Model.from_pretrained(name, device="cpu")
        assert again.name == name
        assert again.fingerprint == model.fingerprint


def test_a_model_made_of_parts_says_how_to_save_it(tiny_model: Path, tmp_path: Path) -> None:
    loaded = load(tiny_model, "cpu")
    with pytest.raises(ValueError, match="not loaded from a checkpoint"):
        Model(loaded.separator, loaded.encoder).save_pretrained(tmp_path / "x")


def test_a_card_tells_the_hub_its_licence_its_tags_and_its_scores() -> None:
    results = [
        {"dataset": "sounds21-dev-2", "metric": "si-sdr-improvement", "value": 10.42, "unit": "dB"}
    ]
    card = with_header("# Street\n\nBody\n", "Apache-2.0", ["band_unet"], results)
    facts = header(card.encode())
    assert facts["license"] == "apache-2.0"
    assert facts["tags"] == ["audio", "sound-separation", "band_unet"]
    assert facts["metrics"] == ["si-sdr-improvement"]
    (index,) = facts["model-index"]
    assert index["name"] == "Street"
    assert index["results"][0]["metrics"][0]["value"] == 10.42
    assert without_header(card) == "# Street\n\nBody\n"
    assert with_header(card, "mit") == card
    assert title_of(card) == "Street"


def test_a_licence_in_words_is_another() -> None:
    facts = header(with_header("# A\n", "ask them").encode())
    assert (facts["license"], facts["license_name"]) == ("other", "ask them")


def test_the_lines_of_use_take_the_models_name() -> None:
    shown = named(use_section("rain"), "me/street")
    assert "-m me/street\n" in shown
    assert 'qsep.load("me/street")' in shown
    assert "FOLDER" not in shown
    assert json.dumps(shown)
