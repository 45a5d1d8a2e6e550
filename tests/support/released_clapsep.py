"""A small checkpoint of CLAPSep in its authors' format, whole or slim."""

from pathlib import Path
from typing import Any

import pytest
import torch
from laion_checkpoints import as_laion, laion_state
from released import Change, Release, stored_transforms
from tiny import tiny_separator
from tiny_encoders import save_tokenizer
from torch import Tensor

from qsep.separation.published.converters.clapsep import RELEASED_CLAP, renamed, settings_of

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
