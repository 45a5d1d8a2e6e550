"""Checkpoints of CLAPSep (Ma et al. 2024): best_model.ckpt, as saved by Lightning or weights alone.

The decoder is under `decoder_model.`, the tuned copy of CLAP's audio encoder under `audio_branch.`,
either complete or only what was tuned. In that case the rest is that of the frozen CLAP, under
`clap_model.model.` in the same file or in LAION's release beside it. Settings that do not follow from
the weights are the published ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from qsep.queries.files.weights import read_state_dict

from .converted import Converted, renamed_keys
from .fourier import check_fourier

# Files with tuned weights only contain some biases of the frozen CLAP too, but none of its text network.
WHOLE_CLAP = "clap_model.model.text_branch."
CLAP, AUDIO, DECODER = "clap_model.model.", "audio_branch.", "decoder_model."
RELEASED_CLAP = "music_audioset_epoch_15_esc_90.14.pt"
LAION = "module."  # prefix there
TOKENIZER = "roberta-base"
BLOCK = (
    (r"^attn\.(qkv|proj)\.(\w+)$", r"attention.\1.\2"),
    (r"^attn\.relative_position_bias_table$", "attention.bias_table"),
    (r"^(norm[12])\.(\w+)$", r"\1.\2"),
    (r"^mlp\.fc1\.(\w+)$", r"widen.\1"),
    (r"^mlp\.fc2\.(\w+)$", r"narrow.\1"),
)
SKIP = (
    (r"^skip_conv\.(beta|gamma)\.(\w+)$", r"\1.\2"),
    (r"^feature_proj\.(\w+)$", r"features.\1"),
    (r"^norm\.(\w+)$", r"norm.\1"),
)
# Released prefix, prefix here, and renaming of the rest of the name, if any.
NAMES: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (r"^audio_branch\.bn0\.", "encoder.norm.", ()),
    (r"^audio_branch\.patch_embed\.proj\.", "encoder.patches.", ()),
    (r"^audio_branch\.patch_embed\.norm\.", "encoder.patch_norm.", ()),
    (r"^audio_branch\.layers\.(\d+)\.blocks\.(\d+)\.", r"encoder.stages.\1.blocks.\2.", BLOCK),
    (r"^audio_branch\.layers\.(\d+)\.downsample\.", r"encoder.stages.\1.merging.", ()),
    (r"^decoder_model\.inverse_patch_embed\.proj\.", "decoder.pixels.", ()),
    (r"^decoder_model\.inverse_patch_embed\.norm\.", "decoder.last_norm.", ()),
    (r"^decoder_model\.layers\.(\d+)\.blocks\.0\.", r"decoder.levels.\1.block.", BLOCK),
    (r"^decoder_model\.layers\.(\d+)\.downsample\.", r"decoder.levels.\1.expand.", ()),
    (r"^decoder_model\.skip\.(\d+)\.", r"decoder.skips.\1.", SKIP),
    (r"^decoder_model\.film\.", "decoder.bottom.", SKIP),
    (r"^decoder_model\.spec_norm\.", "decoder.bin_norm.", ()),
    (r"^decoder_model\.mask_net\.0\.", "decoder.mask.first.", ()),
    (r"^decoder_model\.mask_net\.1\.", "decoder.mask.norm.", ()),
    (r"^decoder_model\.mask_net\.2\.layers\.", "decoder.mask.transformer.layers.", ()),
    (r"^decoder_model\.mask_net\.3\.", "decoder.mask.last.", ()),
)
UNUSED = (  # computed here, or not needed for separation
    r"^i?stft\.",
    r"^audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head|norm)\.",
    r"\.(relative_position_index|attn_mask)$",
)


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """Whether these weights are of this system."""
    return f"{DECODER}film.skip_conv.gamma.weight" in weights


def convert(weights: Mapping[str, Tensor], path: Path) -> Converted:
    """Separator, encoder and weights of a released checkpoint. ValueError with one line if anything
    does not fit; no weights are dropped silently."""
    of_separator = {key: value for key, value in weights.items() if not key.startswith(CLAP)}
    check_fourier(of_separator.get("stft.conv_real.weight"), 1024, path)
    encoder, frozen = query_encoder(
        weights, path, needs_audio=f"{AUDIO}bn0.weight" not in of_separator
    )
    theirs = frozen | of_separator
    ours, released = {}, {}
    for key, value in theirs.items():
        if not any(re.search(pattern, key) for pattern in UNUSED):
            name = renamed(key, path)
            ours[name], released[name] = value, key
    try:
        settings = settings_of(theirs)
    except KeyError as error:
        raise ValueError(f"{path}: weights {error.args[0]} are missing") from error
    provenance = {"recipe": "CLAPSep", "seed": None, "step": None}
    names = renamed_keys(released)
    return Converted("clapsep", settings, "clap", encoder, ours, provenance, names)


def renamed(key: str, path: Path) -> str:
    """The name here of a released weight. ValueError if it is not part of CLAPSep."""
    for start, ours, rest in NAMES:
        if match := re.match(start, key):
            name = key[match.end() :]
            for pattern, replacement in rest:
                if re.match(pattern, name):
                    return match.expand(ours) + re.sub(pattern, replacement, name)
            if not rest:
                return match.expand(ours) + name
    raise ValueError(
        f"{path}: weights {key} are not part of CLAPSep as published (attention in its mask network, "
        "no phase)"
    )


def audio_encoder_weights(clap: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The audio encoder of LAION's CLAP by the names here ("encoder.…"), with which CLAPSep's training
    starts. ValueError if the file has none."""
    start = LAION + AUDIO
    theirs = {
        key.removeprefix(LAION): value for key, value in clap.items() if key.startswith(start)
    }
    if not theirs:
        raise ValueError(f"{path}: holds no CLAP as LAION released it (no {start}…)")
    return {
        renamed(key, path): value
        for key, value in theirs.items()
        if not any(re.search(pattern, key) for pattern in UNUSED)
    }


def settings_of(theirs: Mapping[str, Tensor]) -> dict[str, Any]:
    """The separator's settings, from the shapes of its weights. KeyError for missing weights."""
    stages = count(theirs, rf"{AUDIO}layers\.(\d+)\.")
    tables = [
        theirs[f"{AUDIO}layers.{stage}.blocks.0.attn.relative_position_bias_table"]
        for stage in range(stages)
    ]
    encoder = {
        "num_mels": len(theirs[f"{AUDIO}bn0.weight"]),
        "width": len(theirs[f"{AUDIO}patch_embed.proj.weight"]),
        "depths": [
            count(theirs, rf"{AUDIO}layers\.{stage}\.blocks\.(\d+)\.") for stage in range(stages)
        ],
        "num_heads": [table.shape[1] for table in tables],
        "window": (round(len(tables[0]) ** 0.5) + 1) // 2,
        "rank": len(theirs[f"{AUDIO}layers.0.blocks.0.attn.qkv.lora_A"]),
    }
    return {
        "query_dim": theirs[f"{DECODER}film.skip_conv.gamma.weight"].shape[1] // 2,
        "encoder": encoder,
        "mask_width": len(theirs[f"{DECODER}mask_net.0.weight"]),
        "num_mask_layers": count(theirs, rf"{DECODER}mask_net\.2\.layers\.(\d+)\."),
    }


def count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Number of different values of the pattern's first group among the names."""
    return len({match[1] for key in weights if (match := re.match(pattern, key))})


def query_encoder(
    weights: Mapping[str, Tensor], path: Path, needs_audio: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings of the frozen CLAP, in this file or in its own release beside it, and its audio
    encoder's weights if they are needed. ValueError if there is neither."""
    settings: dict[str, Any] = {}
    if (path.parent / TOKENIZER).is_dir():  # else from the hub or its cache
        settings["tokenizer"] = str(path.parent / TOKENIZER)
    beside = path.parent / RELEASED_CLAP
    if any(key.startswith(WHOLE_CLAP) for key in weights):
        source, prefix, clap_weights = path, CLAP, weights
    elif beside.is_file():
        source, prefix = beside, LAION
        clap_weights = read_state_dict(beside) if needs_audio else {}
    else:
        raise ValueError(f"{path}: has no query encoder; put {RELEASED_CLAP} beside it")
    audio_weights = {}
    if needs_audio:
        start = prefix + AUDIO
        audio_weights = {
            key.removeprefix(prefix): value
            for key, value in clap_weights.items()
            if key.startswith(start)
        }
    return settings | {"checkpoint": str(source)}, audio_weights
