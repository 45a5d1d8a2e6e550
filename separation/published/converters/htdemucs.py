"""Checkpoints of Hybrid Transformer Demucs' authors: a class, its arguments, its weights.

A file is a pickle {"klass", "args", "kwargs", "state"}. No code in it is run: it is read with
torch.load's weights_only reader, where two names are allowed besides tensors: the class, which becomes
an inert placeholder, and fractions.Fraction, in which the segment's length is stored.
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
UNREADABLE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, NotImplementedError),
    *(RuntimeError, EOFError, KeyError, ValueError, OSError),
)
# Arguments that change what the network computes, with the only values that can be converted.
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
# Arguments that differ between models: released name to name here and default.
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
    """Stands for the released class; it is compared, never instantiated."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise pickle.UnpicklingError("a released file holds a class, not an object of it")


def read_package(path: Path) -> dict[str, Any] | None:
    """The file's content, or None if it is of another kind or cannot be read."""
    if path.suffix == ".safetensors" or not zipfile.is_zipfile(path):
        return None
    allowed: list[Any] = [(Placeholder, CLASS), (Fraction, "fractions.Fraction")]
    try:
        if not names_the_class(path):
            return None
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE:
        return None  # `read_state_dict` then reports what is wrong
    if isinstance(content, dict) and content.get("klass") is Placeholder:
        return content
    return None


def names_the_class(path: Path) -> bool:
    """Whether a pickle in a zip file names the module of the released class; nothing is unpickled, so that
    files of all other kinds are not read twice."""
    module = CLASS.rpartition(".")[0].encode()
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return any(module in archive.read(name) for name in pickles)


def convert(package: Mapping[str, Any], path: Path) -> Converted:
    """Separator, encoder and weights of a released checkpoint. ValueError with one line if anything
    does not fit; no weights are dropped silently."""
    arguments, state = package.get("kwargs"), package.get("state")
    if package.get("args") or not isinstance(arguments, dict) or not isinstance(state, dict):
        raise ValueError(f"{path}: expected keyword arguments and a state of HTDemucs")
    if state.get("__quantized"):
        raise ValueError(
            f"{path}: its weights are quantised; use the file with unquantised weights"
        )
    for name, expected in EXPECTED.items():
        value = arguments.get(name, expected)
        if (list(value) if isinstance(value, (list, tuple)) else value) != expected:
            raise ValueError(f"{path}: {name} is {value!r}; only {expected!r} can be converted")
    try:
        settings = settings_of(arguments, state)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no arguments of HTDemucs ({error})") from error
    weights = {f"network.{key}": as_float(key, value, path) for key, value in state.items()}
    provenance = {"recipe": "Hybrid Transformer Demucs", "seed": None, "step": None}
    labels = {"labels": settings["stems"]}
    return Converted(
        "htdemucs",
        settings,
        "labels",
        labels,
        weights,
        provenance,
        lambda key: key.removeprefix("network."),
    )


def settings_of(arguments: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """The separator's settings. KeyError, TypeError or ValueError for wrong arguments."""
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
    """A weight in float32; some released weights are float16. ValueError if it is no tensor."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{path}: {key} of the state is no tensor")
    return value.float()
