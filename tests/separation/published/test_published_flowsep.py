"""FlowSep's released checkpoint loads directly and as a folder, or one line says why not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Run, record
from released import Release
from released_flowsep import (  # noqa: F401
    original_flowsep,
    published_keys,
    releaser,
    small_text_folder,
)
from tiny import noise, weights_of
from tiny_encoders import T5_DIM as DIM
from torch import Tensor

from qsep.queries.interface import TextQuery
from qsep.separation.components import build_encoder, build_separator
from qsep.separation.networks.mel.bigvgan import half_band
from qsep.separation.published.converters import flowsep
from qsep.separation.published.reader import convert_to_folder, load_published
from qsep.separation.storage.checkpoint import load_checkpoint


@pytest.mark.parametrize("kept", ["nothing", "vocoder."])
def test_parts_that_the_file_lacks_come_from_the_autoencoders_file_and_from_t5(
    release: Release, tmp_path: Path, kept: str
) -> None:
    """Whole and in parts it is the same model. kept: of the autoencoder, in the main file."""
    expected = weights_of(load_published(release())[0])

    def take_apart(weights: dict[str, Tensor]) -> None:
        start = flowsep.FIRST_STAGE
        first_stage = {key: weights[key] for key in weights if key.startswith(start)}
        vae = {key.removeprefix(start): value for key, value in first_stage.items()}
        for key in first_stage:
            if not key.startswith(start + kept):
                del weights[key]
        torch.save({"state_dict": vae}, tmp_path / "vae.ckpt")
        for key in [key for key in weights if key.startswith(flowsep.TEXT)]:
            del weights[key]

    state = weights_of(load_published(release(take_apart))[0])
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected if key != "null")
    torch.testing.assert_close(state["null"], expected["null"], atol=1e-5, rtol=0)


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        load_published(path)
    return str(caught.value)


def test_all_published_keys_and_shapes_have_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """At full size, as shapes without content."""
    monkeypatch.setattr(flowsep, "empty_text", lambda weights, num: torch.zeros(num, 1024))
    keys = published_keys()
    weights = {
        key: half_band().reshape(shape)
        if key.endswith(".filter")
        else torch.empty(shape, device="meta")
        for key, shape in keys.items()
    }
    assert flowsep.recognises(weights)
    converted = flowsep.convert(weights, Path("v2_100k.ckpt"))
    assert converted.encoder_settings == {
        "model": "google/flan-t5-large",
        "dim": 1024,
        "max_tokens": 50,
    }
    with torch.device("meta"):
        separator = build_separator(converted.kind, converted.settings)
        assert separator.config == build_separator("flowsep", {}).config  # our defaults
    expected = {key: value.shape for key, value in separator.state_dict().items()}
    assert {key: value.shape for key, value in converted.weights.items()} == expected
    used = {id(value) for value in converted.weights.values()}
    averages = [key for key in keys if key.startswith("model_ema.diffusion_model")]
    assert len(averages) == 1104
    assert all(id(weights[key]) in used for key in averages)
    assert not any(id(weights[key]) in used for key in keys if key.startswith("model.diffusion"))
    count = sum(weight.numel() for weight in separator.unet.parameters())
    assert count == 265_549_456
    assert sum(weight.numel() for weight in separator.codec.vae.parameters()) == 55_376_873
    assert sum(weight.numel() for weight in separator.codec.vocoder.parameters()) == 13_953_825


def test_it_separates_as_the_original_with_the_averaged_weights(
    release: Release, original: Any
) -> None:
    path = release()
    separator, encoder, config = load_published(path)
    assert separator.config == original.config
    assert config["separator"]["kind"] == "flowsep"
    ours, theirs = weights_of(separator), weights_of(original)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours.keys() - {"null"})
    embedding = encoder.encode([TextQuery("a dog barks")]).map(lambda part: part[None])
    models: tuple[Any, ...] = (separator, original)
    latent, mixture_latent = noise(8, 4, 16, scale=1.0), noise(1, 1, 8, 4, 16, seed=1, scale=1.0)
    with torch.no_grad():
        mine, reference = (
            model.generate(latent, mixture_latent, *model.context(embedding)) for model in models
        )
    assert torch.equal(mine, reference)


def test_without_averages_the_last_weights_are_taken(release: Release, original: Any) -> None:
    def forget(weights: dict[str, Tensor]) -> None:
        for key in [key for key in weights if key.startswith("model_ema.")]:
            del weights[key]

    separator: Any = load_published(release(forget))[0]
    assert torch.equal(separator.unet.conv_in.bias, original.unet.conv_in.bias + 1)


def test_the_hidden_query_is_the_embedding_of_an_empty_text_by_the_files_t5(
    release: Release,
) -> None:
    separator: Any
    encoder: Any
    separator, encoder, _ = load_published(release())
    assert separator.null.shape == (50, DIM)
    torch.testing.assert_close(separator.null, encoder.nothing(), atol=1e-5, rtol=0)


def test_converted_with_other_settings_it_has_them_and_the_same_weights(
    release: Release, tmp_path: Path
) -> None:
    path = release()
    changes: dict[str, dict[str, Any]] = {
        "separator": {"sampling": {"num_steps": 3, "guidance": 2.5}},
        "encoder": {"max_tokens": 7},
    }
    convert_to_folder(path, tmp_path / "ours", changes)
    separator, encoder, _ = load_checkpoint(tmp_path / "ours")
    sampling = separator.config.sampling
    assert (sampling.num_steps, sampling.guidance, sampling.solver) == (3, 2.5, "euler")
    assert encoder.config.max_tokens == 7
    expected = weights_of(load_published(path)[0])
    weights = weights_of(separator)
    assert all(torch.equal(weights[key], value) for key, value in expected.items())


@pytest.mark.slow
def test_the_command_line_converts_and_separates_with_either(
    qsep: Run, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    path, recording = release(), record(tmp_path / "in.wav", num_samples=2000)
    done = qsep(
        "models", "convert", path, "separator.sampling.num_steps=20", "-o", tmp_path / "ours"
    )
    assert (done.code, done.out) == (0, f"checkpoint: {tmp_path / 'ours'}\n"), done.err
    assert "flowsep, 16000 Hz" in qsep("models", "info", tmp_path / "ours").out
    for model, out in ((path, "direct"), (tmp_path / "ours", "folder")):
        done = qsep("separate", recording, "-q", "rain", "-m", model, "-o", tmp_path / out)
        assert done.code == 0, done.err
    written = [(tmp_path / out / "in.rain.wav").read_bytes() for out in ("direct", "folder")]
    assert written[0] == written[1]


def test_a_converted_folder_carries_a_text_encoder_that_lies_in_a_folder(
    release: Release, text_folder: Path, tmp_path: Path
) -> None:
    text_encoder = tmp_path / "t5"
    shutil.copytree(text_folder, text_encoder)
    convert_to_folder(release(), tmp_path / "ours", {"encoder": {"model": str(text_encoder)}})
    config = json.loads((tmp_path / "ours" / "config.json").read_text("utf-8"))
    assert config["encoder"]["config"]["model"] == "./encoder"
    shutil.rmtree(text_encoder)
    (tmp_path / "ours").rename(tmp_path / "moved")
    encoder = load_checkpoint(tmp_path / "moved")[1]
    expected = build_encoder("t5", {"model": str(text_folder), "dim": encoder.dim})
    query = [TextQuery("rain on a dog")]
    tokens, reference = encoder.encode(query).tokens, expected.encode(query).tokens
    assert tokens is not None
    assert torch.equal(tokens, reference)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("exact=true", "write overrides as table.key=value"),
        ("model.exact=true", "settings are separator.KEY=VALUE or encoder.KEY=VALUE"),
        ("separator.exakt=true", "unknown setting 'exakt'"),
    ],
)
def test_unknown_settings_are_named(
    setting: str, reason: str, qsep: Run, release: Release, tmp_path: Path
) -> None:
    done = qsep("models", "convert", release(), setting, "-o", tmp_path / "ours")
    assert done.code == 2
    assert reason in done.error
    assert not (tmp_path / "ours").exists()


FIRST = "first_stage_model.vocoder."


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda weights: weights.pop("model_ema.diffusion_modelout0weight"),
            "out0weight of FlowSep are missing",
        ),
        (lambda weights: weights.pop("scale_factor"), "scale_factor"),
        (lambda weights: weights.pop(f"{FIRST}conv_pre.weight"), "conv_pre.weight"),
        (lambda weights: weights.pop("cond_stage_models.0.model.shared.weight"), "shared.weight"),
        (
            lambda weights: weights.update({"model.extra": torch.ones(1)}),
            "model.extra are not part of FlowSep",
        ),
        (
            lambda weights: weights[f"{FIRST}resblocks.0.activations.0.upsample.filter"].mul_(2),
            "not the filter",
        ),
        (lambda weights: weights["scale_factor"].fill_(torch.nan), "scale_factor are not finite"),
    ],
)
def test_incomplete_or_unknown_weights_are_refused(
    change: Callable[[dict[str, Any]], Any], reason: str, release: Release, original: Any
) -> None:
    scale = original.codec.scale.clone()
    try:
        assert reason in refusal(release(change))
    finally:
        original.codec.scale.copy_(scale)
