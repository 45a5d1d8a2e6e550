"""Checkpoints of CLAPSep load as released, whole or slim, or one line says why not."""

import shutil
from pathlib import Path

import pytest
import torch
from command import Run
from laion_checkpoints import as_laion
from released import Change, Release, check_refusal, check_the_command_line
from released_clapsep import original, release_into, settings, small_clap  # noqa: F401
from tiny import noise
from torch import Tensor

from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.recipes.training.initial_weights.clap_audio import write_audio_encoder
from qsep.separation.components import from_settings
from qsep.separation.networks.clapsep.htsat import HTSATConfig
from qsep.separation.published.converters.clapsep import RELEASED_CLAP
from qsep.separation.published.reader import convert_to_folder, load_published
from qsep.separation.storage.checkpoint import load_checkpoint
from qsep.separation.storage.weights import read_weights


@pytest.fixture(name="release")
def releaser(tmp_path: Path, clap: dict[str, Tensor]) -> Release:
    return release_into(tmp_path, clap)


@pytest.mark.parametrize("slim", [False, True])
def test_it_separates_by_text_as_the_original(
    slim: bool, release: Release, clap: dict[str, Tensor]
) -> None:
    separator, encoder, config = load_published(release(slim))
    expected = original(clap)
    assert config["separator"]["kind"] == "clapsep"
    assert encoder.dim == 512
    assert separator.config.encoder == expected.config.encoder
    pooled = encoder.encode([TextQuery("dog barking"), TextQuery("a band")]).pooled[None]
    embedding = QueryEmbedding(pooled, negative=QueryEmbedding(pooled.flip(1)[:, :, None]))
    mixture = noise(1, 1, 5001)
    with torch.inference_mode():
        target = separator.separate(mixture, embedding).target
        assert torch.equal(target, expected.separate(mixture, embedding).target)
        alone = separator.separate(mixture, QueryEmbedding(pooled)).target
    assert (target - alone).abs().max() > 1e-6  # what is unwanted is read


def test_the_command_line_converts_and_separates_with_either(
    qsep: Run, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    check_the_command_line(qsep, release(), tmp_path)


def test_a_converted_folder_needs_nothing_else(release: Release, tmp_path: Path) -> None:
    path = release(slim=True)
    convert_to_folder(path, tmp_path / "ours")
    for name in ("best_model.ckpt", RELEASED_CLAP):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "roberta-base")
    _, encoder, _ = load_checkpoint(tmp_path / "ours")
    assert encoder.encode([TextQuery("a dog")]).pooled.norm() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda w: w.pop("decoder_model.film.norm.bias"),
            "decoder_model.film.norm.bias is missing",
        ),
        (lambda w: w.pop("audio_branch.bn0.bias"), "audio_branch.bn0.bias is missing"),
        (lambda w: w.update({"extra.weight": torch.ones(1)}), "extra.weight are not part of"),
        (
            lambda w: w.update({"decoder_model.phase_net.0.weight": torch.ones(1)}),
            "decoder_model.phase_net.0.weight are not part of CLAPSep as published",
        ),
        (lambda w: w["decoder_model.spec_norm.bias"].fill_(torch.inf), "not finite"),
        (lambda w: w["stft.conv_real.weight"].mul_(1.1), "Hann window 1024 samples long"),
        (
            lambda w: [w.pop(key) for key in list(w) if key.startswith("clap_model.")],
            f"put {RELEASED_CLAP} beside it",
        ),
    ],
)
def test_incompatible_files_are_named_in_one_line(
    change: Change, reason: str, release: Release
) -> None:
    check_refusal(release(change=change), reason)


def test_training_starts_from_the_audio_encoder_of_laions_clap(
    clap: dict[str, Tensor], tmp_path: Path
) -> None:
    config = from_settings(HTSATConfig, settings(clap)["encoder"])
    write_audio_encoder(as_laion(clap, tmp_path / "clap.pt"), tmp_path / "ears", config)
    weights = read_weights(tmp_path / "ears" / "model.safetensors")
    key = "encoder.stages.0.blocks.0.attention.qkv"
    expected = clap["audio_branch.layers.0.blocks.0.attn.qkv.weight"]
    assert torch.equal(weights[f"{key}.weight"], expected)
    assert not weights[f"{key}.lora_B"].any()
    assert weights[f"{key}.lora_A"].any()
    with pytest.raises(ValueError, match="weights do not fit the model"):
        write_audio_encoder(tmp_path / "clap.pt", tmp_path / "other", HTSATConfig())
