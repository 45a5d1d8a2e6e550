"""Checkpoints of Hybrid Transformer Demucs' authors (MIT): a class, its arguments, its weights.

A file is a pickle {"klass", "args", "kwargs", "state"}. Nothing of it is executed: PyTorch's own reader of
weights alone takes it, with two names allowed besides tensors: the class, for which a placeholder stands
that can do nothing, and fractions.Fraction, by which the segment's length is written.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .converted import Converted

CLASS = "demucs.htdemucs.HTDemucs"
# Their arguments that change what the network computes, and the only values of them that are read here.
EXPECTED: dict[str, Any] = {
    "cac": True,
    "rewrite": True,
    "multi_freqs": [],
    "emb_scale": 10,
    "context": 1,
    "context_enc": 0,
    "t_emb": "sin",
    "t_norm_in": True,
    "t_norm_in_group": False,
    "t_group_norm": False,
    "t_norm_first": True,
    "t_norm_out": True,
    "t_max_period": 10000.0,
    "t_weight_pos_embed": 1.0,
    "t_layer_scale": True,
    "t_gelu": True,
    "t_cross_first": False,
    "t_sparse_self_attn": False,
    "t_sparse_cross_attn": False,
    "channels_time": None,
    "wiener_iters": 0,
}
# Theirs and ours, of those that may differ from model to model, with their default.
SETTINGS: dict[str, tuple[str, Any]] = {
    "channels": ("channels", 48),
    "depth": ("depth", 4),
    "growth": ("growth", 2),
    "nfft": ("window_samples", 4096),
    "kernel_size": ("kernel", 8),
    "stride": ("stride", 4),
    "dconv_depth": ("dconv_depth", 2),
    "dconv_comp": ("dconv_compress", 8),
    "bottom_channels": ("bottom_channels", 0),
    "t_layers": ("num_layers", 5),
    "t_heads": ("num_heads", 8),
    "t_hidden_scale": ("feed_forward_factor", 4),
    "freq_emb": ("frequency_weight", 0.2),
}


class Placeholder:
    """Stands for their class; it is compared, never called."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise pickle.UnpicklingError("a released file holds a class, not an object of it")


def read_package(path: Path) -> dict[str, Any] | None:
    """The file's content if it is one of theirs, else None, also where it cannot be read at all."""
    if path.suffix == ".safetensors" or not zipfile.is_zipfile(path):
        return None
    allowed: list[Any] = [(Placeholder, CLASS), (Fraction, "fractions.Fraction")]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError):
        return None  # `read_state_dict` says what is wrong
    if isinstance(content, dict) and content.get("klass") is Placeholder:
        return content
    return None


def convert(package: Mapping[str, Any], path: Path) -> Converted:
    """Raises ValueError with one line for whatever does not fit; nothing is dropped unawares."""
    arguments, state = package.get("kwargs"), package.get("state")
    if package.get("args") or not isinstance(arguments, dict) or not isinstance(state, dict):
        raise ValueError(f"{path}: expected keyword arguments and a state of HTDemucs")
    if state.get("__quantized"):
        raise ValueError(f"{path}: its weights are quantised; take the file that is not")
    for name, expected in EXPECTED.items():
        given = arguments.get(name, expected)
        if (list(given) if isinstance(given, (list, tuple)) else given) != expected:
            raise ValueError(f"{path}: {name} is {given!r}; only {expected!r} can be converted")
    try:
        settings = settings_of(arguments, state)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no arguments of HTDemucs ({error})") from error
    weights = {f"network.{key}": as_float(key, value, path) for key, value in state.items()}
    provenance = {"recipe": "Hybrid Transformer Demucs", "seed": None, "step": None}
    labels = {"labels": settings["stems"]}
    return Converted("htdemucs", settings, "labels", labels, weights, provenance)


def settings_of(arguments: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    network = {ours: arguments.get(theirs, default) for theirs, (ours, default) in SETTINGS.items()}
    network["decoder_branches"] = any(key.startswith("decoder.0.dconv.") for key in state)
    return {
        "stems": [str(name) for name in arguments["sources"]],
        "sample_rate": int(arguments.get("samplerate", 44100)),
        "num_channels": int(arguments.get("audio_channels", 2)),
        "segment_seconds": float(arguments.get("segment", 10)),
        "network": network,
    }


def as_float(key: str, value: object, path: Path) -> Tensor:
    """Released weights are in float16 at times."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{path}: {key} of the state is no tensor")
    return value.float()
