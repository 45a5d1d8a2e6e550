"""Checkpoints: a folder with config.json, model.safetensors and README.md (the model card).

Files of a query encoder that belongs to the model are in its subfolder `encoder`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from qsep.queries.files.int8_kernels import rounded_to_int8
from qsep.queries.files.weights import Unfilled, check_weights
from qsep.queries.interface import QueryEncoder

from ..components import build_encoder, build_separator, merged
from ..interface import Separator
from .config import ENCODER_FOLDER, FORMAT_VERSION, WEIGHTS, read_config, stored_encoder
from .results import replace_folder
from .temporary import explained, temporary_folder
from .weights import save_weights, stored_weights

CHECKPOINT = "checkpoint"  # the command in the folder's listing; see `results`


def describe(
    kind: str,
    model: Any,
    encoder_kind: str,
    encoder: Any,
    provenance: dict[str, Any],
    part: str = "separator",
) -> dict[str, Any]:
    """The content of config.json.

    kind: the model's component name. provenance: how it was made. part: "separator" or one of OTHER_PARTS.
    encoder: None for models without queries.
    """
    description = {
        "format": FORMAT_VERSION,
        part: {"kind": kind, "config": dataclasses.asdict(model.config)},
        "sample_rate": model.sample_rate,
        "provenance": provenance,
    }
    if encoder is None:
        return description
    return description | {
        "encoder": {
            "kind": encoder_kind,
            "config": dataclasses.asdict(encoder.config),
            "fingerprint": encoder.fingerprint,
        }
    }


def carry_encoder(description: dict[str, Any], encoder: Any, scratch: Path) -> Path:
    """Let the encoder write its files into a folder below `scratch`, for `save_checkpoint`.

    Changes the description's encoder to one that reads these files. Returns the folder.
    """
    folder = scratch / ENCODER_FOLDER
    folder.mkdir()
    carried = build_encoder(description["encoder"]["kind"], encoder.carry(folder))
    description["encoder"] |= {
        "config": relative(dataclasses.asdict(carried.config), scratch),
        "fingerprint": carried.fingerprint,  # of the new files
    }
    return folder


def relative(settings: dict[str, Any], parent: Path) -> dict[str, Any]:
    """Settings with paths below `parent` written as ./…, as `load_checkpoint` expects them."""
    start = f"{parent}{os.sep}"
    return {
        key: f"./{value.removeprefix(start)}" if str(value).startswith(start) else value
        for key, value in settings.items()
    }


def save_checkpoint(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    card: str,
    dtype: torch.dtype = torch.float32,
    encoder_files: Path | None = None,
) -> None:
    """Write a checkpoint folder atomically, replacing an earlier checkpoint.

    config: from `describe`. dtype: of stored matrices and kernels, int8 as in queries/files/int8_kernels.py;
    vectors (biases, norms and their statistics) keep their type, since they may have large values.
    encoder_files: a folder on the same disk that is moved into the checkpoint unless it is empty.
    Raises ValueError for weights that are not finite and for a folder that is not an earlier checkpoint
    (see `results`), OSError if the disk cannot be written.
    """
    with temporary_folder(folder.parent) as staging:
        stored = with_kernels(dtype, weights)
        for key, value in stored.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise ValueError(f"{folder}: not saved: weights {key} are not finite as {dtype}")
        with explained(folder, SafetensorError):
            save_weights(staging / WEIGHTS, stored)
            (staging / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
            (staging / "README.md").write_text(card, "utf-8")
        if encoder_files and any(encoder_files.iterdir()):
            os.replace(encoder_files, staging / ENCODER_FOLDER)
        replace_folder(staging, folder, CHECKPOINT)


def with_kernels(dtype: torch.dtype, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is stored for the weights of a model whose kernels are to have this type, on the CPU."""
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        stored |= stored_as(dtype, name, value.contiguous().cpu())
    return stored


def stored_as(dtype: torch.dtype, name: str, weights: Tensor) -> dict[str, Tensor]:
    """What is stored for weights whose kernels are to have this type, by name."""
    if not is_kernel(weights):
        return {name: weights}
    if dtype == torch.int8:
        return rounded_to_int8(name, weights)
    return {name: weights.to(dtype)}


def is_kernel(weights: Tensor) -> bool:
    """Whether the weights are a floating-point matrix or convolution kernel."""
    return weights.is_floating_point() and weights.ndim >= 2


def load_checkpoint(
    folder: Path, mapped: bool = False, changes: Mapping[str, dict[str, Any]] | None = None
) -> tuple[Separator, QueryEncoder, dict[str, Any]]:
    """Load a separator in evaluation mode, float32, its query encoder, and the content of config.json.

    mapped: leave the weights in the file until they are used, for separators computed by another runtime.
    Their memory alignment then differs, which may change rounding. changes: settings of "separator" and
    "encoder" that replace the stored ones.
    Raises ValueError for anything missing, damaged, not finite or not fitting the configuration.
    """
    config = read_config(folder)
    for part, settings in (changes or {}).items():
        config[part]["config"] = merged(config[part]["config"], settings)
    try:
        encoder = stored_encoder(folder, config)
        with Unfilled():
            separator = build_separator(config["separator"]["kind"], config["separator"]["config"])
    except (ValueError, TypeError) as error:  # TypeError: a setting of another type
        changed = " with the settings that were given" if changes else ""
        raise ValueError(f"{folder / 'config.json'}{changed}: {error}") from error
    if changes and changes.get("encoder"):
        config["encoder"]["fingerprint"] = encoder.fingerprint
    if encoder.fingerprint != config["encoder"]["fingerprint"]:
        raise ValueError(
            f"{folder}: made for queries by {config['encoder']['fingerprint']}, "
            f"but this encoder is {encoder.fingerprint}; use the version of qsep that made it"
        )
    check_width(separator, encoder, str(folder))
    weights = stored_weights(folder)
    check_weights(separator, weights, str(folder))
    if mapped:
        weights = stored_weights(folder)  # again: the check has loaded them all
        expected = separator.state_dict()
        weights = {key: value.to(expected[key].dtype) for key, value in weights.items()}
    separator.load_state_dict(weights, strict=True, assign=mapped)
    return separator.eval(), encoder, config


def check_width(separator: Separator, encoder: QueryEncoder, source: str) -> None:
    """Raise ValueError if the separator expects embeddings of another width. source: for the message."""
    if separator.query_dim not in (0, encoder.dim):
        raise ValueError(
            f"{source}: made for queries {separator.query_dim} wide, but {encoder.fingerprint} gives "
            f"{encoder.dim}"
        )
