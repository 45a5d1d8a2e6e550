"""Checkpoints of bi-modal weakly supervised separation (Mahmud et al. 2024): model_weights.pth.tar.

One file contains the U-Net, the projection of queries and, under `module.net_clap.model.`, the frozen
CLAP that encodes them. Settings that do not follow from the weights are those of the authors' training
scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .converted import Converted, released_names
from .fourier import check_fourier

PREFIX = "module."  # of distributed training
BLOCK = "net_sound.unet_block"
CLAP = "net_clap.model."
RELEASED_CLAP = "music_audioset_epoch_15_esc_90.14.pt"
TOKENIZER = "roberta-base"
RESIDUAL = {"res_layers.0.0": "conv", "res_layers.0.1": "norm"}
ATTENTION = {
    "norm1": "norm",
    "attn.qkv": "query_key_value",
    "attn.q": "query",
    "attn.kv": "key_value",
    "attn.proj": "out",
    "norm2": "mlp_norm",
    "mlp.fc1": "widen",
    "mlp.fc2": "narrow",
}


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """Whether these weights are of this system."""
    return f"{PREFIX}{BLOCK}.downconv.weight" in weights


def convert(weights: Mapping[str, Tensor], path: Path) -> Converted:
    """Separator, encoder and weights of a released checkpoint. ValueError with one line if anything
    does not fit; no weights are dropped silently."""
    theirs = {key.removeprefix(PREFIX): value for key, value in weights.items()}
    settings = settings_of(theirs, path)
    num_levels = len(settings["channels"])
    modules = published_modules(num_levels, settings["num_attentive"])
    ours = {}
    for key, value in theirs.items():
        if key.startswith(CLAP):
            continue
        module, _, name = key.rpartition(".")
        if module not in modules:
            raise ValueError(
                f"{path}: weights {PREFIX}{key} are not part of bi-modal separation with one residual "
                "layer and one block of attention a level, which is what can be converted"
            )
        if (target := modules[module]) is not None:
            ours[f"{target}.{name}"] = value
    window_samples = settings["spectrogram"]["window_samples"]
    check_fourier(theirs.get("stft.conv_real.weight"), window_samples, path)
    holds_clap = any(key.startswith(CLAP) for key in theirs)
    encoder = query_encoder(settings["token_dim"], holds_clap, path)
    provenance = {"recipe": "bi-modal weakly supervised separation", "seed": None, "step": None}
    released = released_names(modules, PREFIX)
    return Converted("bimodal", settings, "clap_tokens", encoder, ours, provenance, released)


def settings_of(theirs: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The separator's settings, from the shapes of its weights. ValueError for missing weights."""

    def shape(key: str) -> tuple[int, ...]:
        if key not in theirs:
            raise ValueError(f"{path}: weights {PREFIX}{key} are missing")
        return tuple(theirs[key].shape)

    channels: list[int] = []
    while (key := f"{block_of(len(channels))}.downconv.weight") in theirs:
        channels.append(shape(key)[0])
    attentive = [
        level
        for level in range(len(channels))
        if f"{block_of(level)}.ca_blocks.0.norm1.weight" in theirs
    ]
    num_attentive = len(attentive)
    if not attentive or attentive != list(range(len(channels)))[-num_attentive:]:
        raise ValueError(
            f"{path}: levels {attentive} attend to the query; expected the deepest ones"
        )
    num_features, query_dim = shape("net_clap.fc.weight")
    deepest = f"{block_of(len(channels) - 1)}.ca_blocks.0.ca_block.attn.kv.weight"
    settings: dict[str, Any] = {
        "query_dim": query_dim,
        "token_dim": shape(deepest)[1],
        "num_features": num_features,
        "channels": channels,
        "num_attentive": num_attentive,
        "spectrogram": {"sample_rate": 16000, "window_samples": 1022, "hop_samples": 256},
    }
    if "stft.conv_real.weight" in theirs:
        settings["spectrogram"]["window_samples"] = shape("stft.conv_real.weight")[2]
    return settings


def block_of(level: int) -> str:
    """Prefix of a level's weights; level 0 is the outermost."""
    return BLOCK + ".submodule" * level


def query_encoder(token_dim: int, holds_clap: bool, path: Path) -> dict[str, Any]:
    """Settings of the encoder in this file, or in its own release beside it. ValueError if there is
    neither."""
    settings: dict[str, Any] = {"token_dim": token_dim}
    if (path.parent / TOKENIZER).is_dir():  # else from the hub or its cache
        settings["tokenizer"] = str(path.parent / TOKENIZER)
    if holds_clap:
        return settings | {"checkpoint": str(path)}
    if (path.parent / RELEASED_CLAP).is_file():
        return settings | {"checkpoint": str(path.parent / RELEASED_CLAP)}
    raise ValueError(f"{path}: has no query encoder; put {RELEASED_CLAP} beside it")


def published_modules(num_levels: int, num_attentive: int) -> dict[str, str | None]:
    """Released names of modules (without "module.") and their names here; None for modules that are
    computed here or unused."""
    modules: dict[str, str | None] = {
        "stft.conv_real": None,
        "stft.conv_imag": None,
        "istft.conv_real": None,
        "istft.conv_imag": None,
        "istft": None,
        "net_sound.bn0": "unet.norm",
        "net_clap.fc": "project",
        "net_synthesizer": "masks",
    }
    for level in range(num_levels):
        block, num_plain = block_of(level), num_levels - num_attentive
        for way in ("down", "up"):
            ours = f"unet.{way}s.{level}"
            modules[f"{block}.{way}conv"] = f"{ours}.conv"
            modules[f"{block}.{way}norm"] = f"{ours}.norm"
            for theirs, name in RESIDUAL.items():
                modules[f"{block}.{way}resblock.{theirs}"] = f"{ours}.residual.{name}"
        if level == 0:
            del modules[f"{block}.upnorm"]
        if level < num_plain:
            continue
        modules[f"{block}.ca_blocks.0.norm1"] = None
        for theirs, ours in (("sa_block", "itself"), ("ca_block", "words")):
            for part, name in ATTENTION.items():
                target = f"unet.attentions.{level - num_plain}.{ours}.{name}"
                modules[f"{block}.ca_blocks.0.{theirs}.{part}"] = target
    return modules
