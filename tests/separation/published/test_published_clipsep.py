"""Checkpoints of the CLIPSep authors load directly and as folders, or one line says why not."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Run, record
from local_hub import local_hub, use
from parity.recorded import FOLDER as PARITY
from tiny import StubConfig, StubEncoder, kind_of, noise, rng, tiny_separator, weights_of
from torch import Tensor

from qsep.queries.interface import QueryEmbedding, QueryEncoder
from qsep.separation.api import load
from qsep.separation.published.converters.clipsep import published_modules
from qsep.separation.published.reader import convert_to_folder, load_published
from qsep.separation.published.registry import published_models
from qsep.separation.storage.checkpoint import load_checkpoint

LEVELS = 3
LABELS = {"violin": 1, "dog barking": 0, "rain": 2}
ARGS: dict[str, Any] = {
    "audio_rate": 8000,
    "audio_len": 511,
    "n_fft": 64,
    "win_len": 64,
    "hop_len": 32,
    "layers": LEVELS,
    "channels": 5,
    "n_mix": 2,
    "image_model": "clip",
    "fusion": "late",
    "train_mode": "image",
    "binary_mask": True,
    "weighted_loss": True,
    "log_freq": True,
    "reg_coef": 0,
    "reg_epsilon": 0.1,
    "reg2_coef": 0.2,
    "reg2_epsilon": 0.3,
    "pit_warmup_steps": 7,
    "n_labels": 3,
    "label_map_filename": "/home/somebody/data/labels.json",
    "seed": 1234,
    "out_dir": "/home/somebody/exp/vggsound/clipsep_nit",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "clipsep": {},
    "clipsep:early": {"fusion": "early"},
    "clipsep:middle": {"fusion": "middle"},
    "clipsep:labels": {"image_model": "label_only"},
    "clipsep:sop": {"image_model": "sop"},
    "clipsep_nit": {"image_model": "clipsepnit"},
    "pitsep": {"image_model": "pit"},
}
Release = Callable[..., Path]
HARD = {"separator": {"spectrogram": {"hard_mask": True}}}


@pytest.fixture(autouse=True)
def stub_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stub 512 wide where a checkpoint asks for CLIP; other encoders are the real ones."""
    from qsep.separation.components import build_encoder
    from qsep.separation.published import reader
    from qsep.separation.storage import checkpoint, config

    def stubbed(kind: str, settings: dict[str, Any]) -> QueryEncoder:
        if kind == "clip":
            return StubEncoder(StubConfig(dim=512))
        return build_encoder(kind, settings)

    for module in (checkpoint, config, reader):
        monkeypatch.setattr(module, "build_encoder", stubbed)


def original(name: str) -> Any:
    """A separator as the release would be converted to, with random weights."""
    settings: dict[str, Any] = {"channels": [64, 128, 256], "num_features": 5}
    settings["spectrogram"] = {
        "sample_rate": 8000,
        "window_samples": 64,
        "hop_samples": 32,
        "segment_frames": 16,
    }
    if name == "clipsep:labels":
        settings |= {"query_dim": 3, "table_dim": 512}
    elif name == "pitsep":
        settings |= {"num_sources": 2}
    else:
        settings |= {"query_dim": 512}
    if name == "clipsep_nit":
        settings["noise"] = {
            "weight": 0.2,
            "gamma": 0.3,
            "warmup_steps": 7,
            "batch_penalty": True,
            "margin_weight": 0,
            "margin": 0.1,
        }
    return tiny_separator("clipsep" if name == "clipsep:sop" else name, **settings)


def released(separator: Any, name: str) -> dict[str, Tensor]:
    """Its weights under the authors' keys, with those that they have and never use."""
    ours = separator.state_dict()
    fusion = VARIANTS[name].get("fusion", "late")
    weights = {}
    for theirs, module in published_modules(kind_of(name), fusion, LEVELS).items():
        if module is None:
            weights[f"module.{theirs}.weight"] = torch.ones(3)
            continue
        for key, value in ours.items():
            if key.rpartition(".")[0] == module:
                weights[f"module.{theirs}.{key.rpartition('.')[2]}"] = value
    return weights


@pytest.fixture(name="release")
def releaser(tmp_path: Path) -> Release:
    """Writes checkpoints/best_model.pt and train-args.json as released; returns the former."""

    def write(name: str = "clipsep_nit", **changes: Any) -> Path:
        folder = tmp_path / "clipsep_nit"
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        args = ARGS | VARIANTS[name] | changes
        (folder / "train-args.json").write_text(json.dumps(args, indent=2))
        (folder / "labels.json").write_text(json.dumps(LABELS))
        torch.save(released(original(name), name), folder / "checkpoints" / "best_model.pt")
        return folder / "checkpoints" / "best_model.pt"

    return write


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        load_published(path)
    return str(caught.value)


def random_queries(separator: Any, num_queries: int = 2) -> QueryEmbedding:
    return QueryEmbedding(noise(2, num_queries, separator.query_dim or 3, seed=4, scale=1.0))


@pytest.mark.parametrize("name", VARIANTS)
def test_it_separates_as_the_original(name: str, release: Release) -> None:
    separator, _, config = load_published(release(name))
    expected = original(name)
    assert separator.config == expected.config
    assert config["separator"]["kind"] == kind_of(name)
    mixture = noise(2, 1, 1601)
    with torch.inference_mode():
        target = separator.separate(mixture, random_queries(separator), rng(0)).target
        assert torch.equal(
            target, expected.separate(mixture, random_queries(expected), rng(0)).target
        )


def test_the_released_keys_and_shapes_load_and_separate_audio(tmp_path: Path) -> None:
    """CLIPSep-NIT as on the authors' drive: 83 keys, full size; its arguments that matter."""
    document = json.loads((PARITY / "clipsep.json").read_text())
    weights = {
        key: torch.full(shape, 0.01) if shape else torch.tensor(200_000)
        for key, shape in document["clipsep_nit"]["keys"]
    }
    torch.save(weights, tmp_path / "best_model.pt")
    args = {"image_model": "clipsepnit", "layers": 7, "channels": 32, "log_freq": True}
    (tmp_path / "train-args.json").write_text(json.dumps(args))
    model = load(tmp_path / "best_model.pt", "cpu")
    recording = np.random.default_rng(0).uniform(-0.5, 0.5, 2000).astype(np.float32)
    result = model.separate(recording, "a dog barking", sample_rate=16000)
    np.testing.assert_allclose(result.target + result.residual, recording, atol=1e-7)
    assert np.abs(result.target).max() > 0


def test_the_older_name_of_nit_means_nit(release: Release) -> None:
    separator: Any = load_published(release("clipsep_nit", image_model="clippit4"))[0]
    assert len(separator.noise_heads) == 2


def test_arguments_are_read_from_beside_the_checkpoint(release: Release, tmp_path: Path) -> None:
    path = release()
    (path.parents[1] / "train-args.json").rename(path.parent / "train-args.json")
    assert load_published(path)[2]["separator"]["kind"] == "clipsep_nit"


def test_labels_are_queries_in_the_order_of_the_label_map(release: Release) -> None:
    _, encoder, _ = load_published(release("clipsep:labels"))
    from qsep.queries.interface import TextQuery

    pooled = encoder.encode([TextQuery("Violin"), TextQuery("dog barking")]).pooled
    assert pooled.tolist() == [[0, 1, 0], [1, 0, 0]]
    with pytest.raises(ValueError, match="'a cat' is not one of this model's 3 labels"):
        encoder.encode([TextQuery("a cat")])


@pytest.mark.parametrize("name", ["clipsep:labels", "clipsep_nit"])
def test_converted_to_a_folder_it_is_the_same_model(
    name: str, release: Release, tmp_path: Path
) -> None:
    path = release(name)
    convert_to_folder(path, tmp_path / "ours")
    direct, converted = load_published(path), load_checkpoint(tmp_path / "ours")
    assert converted[0].config == direct[0].config
    assert converted[1].fingerprint == direct[1].fingerprint
    assert converted[2] == json.loads(json.dumps(direct[2]))
    expected = weights_of(direct[0])
    weights = weights_of(converted[0])
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
    assert "best_model.pt" in (tmp_path / "ours" / "README.md").read_text()


def test_a_file_downloaded_by_hand_is_loaded_by_its_name(
    qsep: Run, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its archive unpacks: the weights one folder below the arguments."""
    folder = release("clipsep_nit").parent.parent
    with local_hub() as hub:
        use(hub, tmp_path / "caches", monkeypatch)
        (need,) = published_models()["clipsep-nit"].needs
        hub.put(f"/{need.hub}/resolve/main/{need.files[0]}", b"CLIP" * 1000)
        done = qsep("models", "get", "clipsep-nit", "--from", folder)
        assert done.code == 0, done.err
        direct = load_published(folder / "checkpoints" / "best_model.pt")[0]
        separator = load("clipsep-nit", "cpu").separator
        expected = weights_of(direct)
        weights = weights_of(separator)
        assert all(torch.equal(weights[key], value) for key, value in expected.items())
        assert [item.path for item in hub.gets(f"/{need.hub}/resolve/main/{need.files[0]}")]


def test_the_command_line_converts_and_separates_with_either(
    qsep: Run, release: Release, tmp_path: Path
) -> None:
    path, recording = release("clipsep:labels"), record(tmp_path / "in.wav")
    ours = tmp_path / "ours"
    done = qsep("models", "convert", path, "-o", ours)
    assert (done.code, done.out) == (0, f"checkpoint: {ours}\n"), done.err
    assert "converted from: best_model.pt" in qsep("models", "info", ours).out
    for model, out in ((path, "direct"), (ours, "folder")):
        done = qsep("separate", recording, "-q", "rain", "-m", model, "-o", tmp_path / out)
        assert done.code == 0, done.err
    written = [(tmp_path / out / "in.rain.wav").read_bytes() for out in ("direct", "folder")]
    assert written[0] == written[1]


def test_settings_change_a_released_file_and_a_checkpoint_folder_alike(
    qsep: Run, release: Release, tmp_path: Path
) -> None:
    """As converted with them: hard masks, which the authors' demo has and their evaluation has not."""
    path, recording = release("clipsep:labels"), record(tmp_path / "in.wav")
    change = "separator.spectrogram.hard_mask=true"
    convert_to_folder(path, tmp_path / "soft")
    assert qsep("models", "convert", path, change, "-o", tmp_path / "hard").code == 0
    written = {}
    for out, model, *options in (
        ("file", path, "--set", change),
        ("folder", tmp_path / "soft", "--set", change),
        ("converted", tmp_path / "hard"),
        ("plain", path),
    ):
        done = qsep(
            "separate", recording, "-q", "rain", "-m", model, *options, "-o", tmp_path / out
        )
        assert done.code == 0, done.err
        written[out] = (tmp_path / out / "in.rain.wav").read_bytes()
    assert written["file"] == written["folder"] == written["converted"] != written["plain"]
    refused = qsep("separate", recording, "-q", "rain", "-m", path, "--set", "model.exact=true")
    assert (refused.code, "settings are separator.KEY=VALUE" in refused.error) == (2, True)
    assert load(path, "cpu").fingerprint != load(path, "cpu", settings=HARD).fingerprint


def test_existing_files_are_not_replaced(release: Release, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(ValueError, match="thesis exists; give a folder that does not"):
        convert_to_folder(release(), tmp_path / "thesis")
    assert list((tmp_path / "thesis").iterdir()) == []


def test_without_its_arguments_it_is_refused(release: Release) -> None:
    path = release()
    (path.parents[1] / "train-args.json").unlink()
    assert "no train-args.json beside it or one folder up" in refusal(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "{'image_model': 'clip'}"])
def test_arguments_of_something_else_are_refused(content: str, release: Release) -> None:
    path = release()
    (path.parents[1] / "train-args.json").write_text(content)
    assert "not the train-args.json of a CLIPSep run" in refusal(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_model": "bert"}, "'bert' cannot be converted: its queries are sentence vectors"),
        ({"image_model": "clip9"}, "'clip9' cannot be converted: expected one of clip, "),
        ({"log_freq": False}, "log_freq is off"),
        ({"win_len": 32}, "win_len differs from n_fft"),
        ({"channels": "many"}, "channels is 'many'; expected a whole number"),
        ({"image_model": "clip"}, "module.pit_nets.0.weight are not part of clip with late fusion"),
        ({"image_model": "clip", "fusion": "middle"}, "not part of clip with middle fusion"),
        ({"layers": 4}, "not part of clipsepnit"),
        (
            {"channels": 6},
            "weights do not fit the model: module.sound_net.unet_block.model.4.weight is",
        ),
    ],
)
def test_arguments_that_do_not_fit_the_weights_are_named(
    changes: dict[str, Any], reason: str, release: Release
) -> None:
    assert reason in refusal(release("clipsep_nit", **changes))


def test_a_missing_label_map_is_named(release: Release) -> None:
    path = release("clipsep:labels")
    (path.parents[1] / "labels.json").unlink()
    assert "needs the label map labels.json" in refusal(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda weights: weights.pop("module.synth_net.bias"),
            "the model: module.synth_net.bias is missing",
        ),
        (lambda weights: weights.update({"module.extra.weight": torch.ones(1)}), "module.extra"),
        (
            lambda weights: weights["module.synth_net.scale"].fill_(torch.nan),
            "module.synth_net.scale are not finite",
        ),
        (lambda weights: weights.update({"epoch": 3}), "no state dict"),
        (lambda weights: weights.update({3: torch.ones(1)}), "no state dict"),
        (lambda weights: weights.clear(), "not the weights of a system that qsep can convert"),
    ],
)
def test_incomplete_weights_are_refused(
    change: Callable[[dict[Any, Any]], Any], reason: str, release: Release
) -> None:
    path = release()
    weights = torch.load(path, weights_only=True)
    change(weights)
    torch.save(weights, path)
    assert reason in refusal(path)


class Trap:
    """What unpickling freely would run."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint at all",
        pickle.dumps({"module.sound_net.bn0.weight": Trap()}, protocol=2),
    ],
)
def test_a_file_that_is_damaged_or_holds_code_is_refused_and_nothing_in_it_run(
    content: bytes, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = release()
    path.write_bytes(content)
    assert "cannot be read as weights alone" in refusal(path)
    assert not Path("sprung").exists()


def test_a_truncated_file_is_refused(release: Release) -> None:
    path = release()
    path.write_bytes(path.read_bytes()[:-1000])
    assert "cannot be read as weights alone" in refusal(path)
