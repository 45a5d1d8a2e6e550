"""Checkpoints of CLAPSep load as released, whole or slim, or one line says why not."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Run
from released import Change, Release, check_refusal, check_the_command_line, stored_transforms
from test_laion import as_laion, laion_state
from tiny import noise, tiny_separator
from tiny_encoders import save_tokenizer
from torch import Tensor

from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.recipes.training.initial_weights.clap_audio import write_audio_encoder
from qsep.separation.components import from_settings
from qsep.separation.networks.clapsep.htsat import HTSATConfig
from qsep.separation.published.converters.clapsep import RELEASED_CLAP, renamed, settings_of
from qsep.separation.published.reader import convert_to_folder, load_published
from qsep.separation.storage.checkpoint import load_checkpoint
from qsep.separation.storage.weights import read_weights

RANK, MASK_WIDTH = 2, 16


@pytest.fixture(name="clap", scope="module")
def small_clap() -> dict[str, Tensor]:
    """All of LAION's keys."""
    return laion_state("plain")


def audio_encoder_of(clap: dict[str, Tensor]) -> dict[str, Tensor]:
    """The audio network as CLAPSep keeps it: with changes of low rank, their matrices not zero."""
    generator = torch.Generator().manual_seed(4)
    audio_weights = {
        key: value.clone() for key, value in clap.items() if key.startswith("audio_branch.")
    }
    for key, value in list(audio_weights.items()):
        if key.endswith(("attn.qkv.weight", "attn.proj.weight")):
            start, (num_out, num_in) = key.removesuffix("weight"), value.shape
            audio_weights[f"{start}lora_A"] = 0.1 * torch.randn(RANK, num_in, generator=generator)
            audio_weights[f"{start}lora_B"] = 0.1 * torch.randn(num_out, RANK, generator=generator)
    return audio_weights


def settings(clap: dict[str, Tensor]) -> dict[str, Any]:
    decoder = {
        "decoder_model.film.skip_conv.gamma.weight": torch.ones(1, 1024),
        "decoder_model.mask_net.0.weight": torch.ones(MASK_WIDTH, 1),
        "decoder_model.mask_net.2.layers.0.norm1.weight": torch.ones(1),
    }
    return settings_of(audio_encoder_of(clap) | decoder)


def original(clap: dict[str, Tensor]) -> Any:
    """A separator as the release would be converted to; its decoder's weights are random."""
    published = {
        "encoder": settings(clap)["encoder"],
        "spectrogram": {
            "sample_rate": 32000,
            "window_samples": 1024,
            "hop_samples": 320,
            "segment_frames": 1001,
        },
    }
    published["encoder"] |= {"sample_rate": 48000, "window_samples": 1024, "hop_samples": 480}
    published["encoder"] |= {"min_hz": 50.0, "max_hz": 14000.0}
    separator = tiny_separator(
        "clapsep", **published, query_dim=512, mask_width=MASK_WIDTH, num_mask_heads=8
    )
    weights = separator.state_dict()
    weights |= {
        renamed(key, Path()): value for key, value in audio_encoder_of(clap).items() if used(key)
    }
    separator.load_state_dict(weights)
    return separator


def used(key: str) -> bool:
    unused = ("extractor", "tscam_conv", "head", "relative_position_index", "attn_mask")
    return not any(part in key for part in unused) and not key.startswith("audio_branch.norm.")


def decoder_of(separator: Any) -> dict[str, Tensor]:
    """The decoder's weights under the authors' keys."""
    names = (
        ("decoder.pixels.", "inverse_patch_embed.proj."),
        ("decoder.last_norm.", "inverse_patch_embed.norm."),
        ("decoder.bin_norm.", "spec_norm."),
        ("decoder.bottom.", "film."),
        ("decoder.skips.", "skip."),
        ("decoder.levels.", "layers."),
        (".block.", ".blocks.0."),
        (".expand.", ".downsample."),
        ("attention.bias_table", "attn.relative_position_bias_table"),
        ("attention.", "attn."),
        ("widen.", "mlp.fc1."),
        ("narrow.", "mlp.fc2."),
        ("features.", "feature_proj."),
        ("gamma.", "skip_conv.gamma."),
        ("beta.", "skip_conv.beta."),
        ("decoder.mask.first.", "mask_net.0."),
        ("decoder.mask.norm.", "mask_net.1."),
        ("decoder.mask.transformer.", "mask_net.2."),
        ("decoder.mask.last.", "mask_net.3."),
    )
    collected = {}
    for key, value in separator.state_dict().items():
        if key.startswith("decoder."):
            for ours, theirs in names:
                key = key.replace(ours, theirs, 1)
            collected[f"decoder_model.{key}"] = value.clone()
    return collected


def transforms() -> dict[str, Tensor]:
    """Those that CLAPSep keeps."""
    stored = stored_transforms(1024)
    return {key: stored[key] for key in ("stft.conv_real.weight", "istft.ola_window")}


@pytest.fixture(name="release")
def releaser(tmp_path: Path, clap: dict[str, Tensor]) -> Release:
    return release_into(tmp_path, clap)


def release_into(folder: Path, clap: dict[str, Tensor]) -> Release:
    """Writes a Lightning checkpoint, and the tokenizer; slim: what was tuned alone, and LAION's file."""

    def write(slim: bool = False, change: Change | None = None) -> Path:
        audio_weights = audio_encoder_of(clap)
        weights = transforms() | decoder_of(original(clap))
        if slim:
            tuned = ("lora_A", "lora_B", "attn.qkv.bias", "attn.proj.bias")
            weights |= {key: value for key, value in audio_weights.items() if key.endswith(tuned)}
            # Chosen by parts of their names, so that the frozen network's come along.
            frozen = {key: value for key, value in clap.items() if key.endswith(tuned)}
            weights |= {f"clap_model.model.{key}": value for key, value in frozen.items()}
            as_laion(clap, folder / RELEASED_CLAP)
        else:
            weights |= audio_weights | {
                f"clap_model.model.{key}": value for key, value in clap.items()
            }
        if change:
            change(weights)
        save_tokenizer(folder / "roberta-base")
        torch.save({"epoch": 9, "state_dict": weights}, folder / "best_model.ckpt")
        return folder / "best_model.ckpt"

    return write


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
