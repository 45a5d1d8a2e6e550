"""A checkpoint is a folder: config.json, model.safetensors, README.md (the model's card).

An encoder of queries that came with the model lies in its folder `encoder`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from qsep.queries.files.weights import Unfilled, check_weights
from qsep.queries.interface import QueryEncoder

from ..components import build_encoder, build_separator
from ..interface import Separator
from .results import replace_folder
from .temporary import temporary_folder

FORMAT_VERSION = 1
CHECKPOINT = "checkpoint"  # whose files the folder's listing has
ENCODER_FOLDER = "encoder"
# Settings whose names changed, old to new.
RENAMED = {
    "looks": "shifts",
    "critic": "discriminator",
    "critic_start": "discriminator_start",
    "critic_weight": "discriminator_weight",
}
OTHER_PARTS = {  # what else a checkpoint may hold, and what for
    "autoencoder": "name it in train.start_from of a separator's recipe",
    "vocoder": "name it in train.start_from of a separator's recipe",
    "audio_encoder": "it reads queries, as encoder.folder of a recipe",
}
REQUIRED = {
    "separator": {"kind": str, "config": dict},
    "encoder": {"kind": str, "config": dict, "fingerprint": str},
}


def describe(
    kind: str,
    model: Any,
    encoder_kind: str,
    encoder: Any,
    provenance: dict[str, Any],
    part: str = "separator",
) -> dict[str, Any]:
    """The content of config.json. part: what the model is, as "separator". encoder: None without queries."""
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
    """Let the encoder write what belongs to it into a folder below scratch, which `save_checkpoint` takes
    along; the description is changed to read it from there."""
    own = scratch / ENCODER_FOLDER
    own.mkdir()
    carried = build_encoder(description["encoder"]["kind"], encoder.carry(own))
    # The fingerprint is that of the new files.
    description["encoder"] |= {
        "config": relative(dataclasses.asdict(carried.config), scratch),
        "fingerprint": carried.fingerprint,
    }
    return own


def relative(settings: dict[str, Any], parent: Path) -> dict[str, Any]:
    """With paths below `parent` as `load_checkpoint` expects them: ./…"""
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
    """Write the folder whole or not at all; matrices and kernels are stored as dtype.

    Vectors (biases, norms and their statistics) are few and may be large: they keep their type.
    encoder_files: a folder on the same disk, which is moved into the checkpoint if it holds any. A folder
    that is no earlier checkpoint is refused; see `storage.results`.
    """
    with temporary_folder(folder.parent) as staging:
        stored = {
            key: (value.to(dtype) if is_kernel(value) else value).contiguous().cpu()
            for key, value in weights.items()
        }
        for key, value in stored.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise ValueError(
                    f"{folder}: not saved, for weights {key} are not finite as {dtype}"
                )
        with explained(folder):
            save_file(stored, staging / "model.safetensors")
        (staging / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
        (staging / "README.md").write_text(card, "utf-8")
        if encoder_files and any(encoder_files.iterdir()):
            os.replace(encoder_files, staging / ENCODER_FOLDER)
        replace_folder(staging, folder, CHECKPOINT)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """What torch and safetensors raise where a file cannot be written, as an OSError that names it."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise OSError(
            f"{path}: cannot be written ({reason}): free space on the disk, or choose another folder"
        ) from error


def is_kernel(weights: Tensor) -> bool:
    return weights.is_floating_point() and weights.ndim >= 2


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder, or one clear error."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder}: not a checkpoint folder (no config.json in it)")
    try:
        config: dict[str, Any] = renamed(json.loads(path.read_text("utf-8")))
        if config["format"] != FORMAT_VERSION:
            raise ValueError(f"format {config['format']!r}, this qsep reads {FORMAT_VERSION}")
        for part, keys in REQUIRED.items():
            for key, kind in keys.items():
                if not isinstance(config[part][key], kind):
                    raise TypeError(f"{part}.{key} is {config[part][key]!r}")
    except KeyError as error:
        for part, use in OTHER_PARTS.items():
            if part in config:
                raise ValueError(f"{folder}: holds {part}, no separator; {use}") from None
        raise ValueError(f"{path}: damaged ({error} is missing); fetch it again") from error
    except (TypeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({error}); fetch it again") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}; update qsep") from None
    return config


def renamed(settings: Any) -> Any:
    """Settings at any depth under their present names, of checkpoints of earlier versions."""
    if isinstance(settings, list):
        return [renamed(item) for item in settings]
    if not isinstance(settings, dict):
        return settings
    return {RENAMED.get(key, key): renamed(value) for key, value in settings.items()}


def load_checkpoint(
    folder: Path, mapped: bool = False
) -> tuple[Separator, QueryEncoder, dict[str, Any]]:
    """(separator in evaluation mode, its query encoder, config); float32, strict, finite.

    mapped: its weights stay in their file and come into memory when they are used, for separators whose
    networks something else computes. They lie as the file has them, at odd addresses, where sums may be
    rounded otherwise.
    """
    config = read_config(folder)
    try:
        encoder = stored_encoder(folder, config)
        with Unfilled():
            separator = build_separator(config["separator"]["kind"], config["separator"]["config"])
    except (ValueError, TypeError) as error:  # TypeError: a setting of another type
        raise ValueError(f"{folder / 'config.json'}: {error}") from error
    if encoder.fingerprint != config["encoder"]["fingerprint"]:
        raise ValueError(
            f"{folder}: made for queries by {config['encoder']['fingerprint']}, "
            f"but this encoder is {encoder.fingerprint}; take the qsep that made it"
        )
    check_width(separator, encoder, str(folder))
    weights = read_weights(folder / "model.safetensors")
    check_weights(separator, weights, str(folder))
    if mapped:
        weights = read_weights(folder / "model.safetensors")  # anew: the check has read them all
        expected = separator.state_dict()
        weights = {key: value.to(expected[key].dtype) for key, value in weights.items()}
    separator.load_state_dict(weights, strict=True, assign=mapped)
    return separator.eval(), encoder, config


def stored_encoder(folder: Path, config: dict[str, Any]) -> QueryEncoder:
    """The query encoder that a checkpoint describes; what came with it lies under ./ there."""
    settings = {
        key: str(folder / value) if isinstance(value, str) and value.startswith("./") else value
        for key, value in config["encoder"]["config"].items()
    }
    encoder: QueryEncoder = build_encoder(config["encoder"]["kind"], settings)
    return encoder


def stored_classes(config: dict[str, Any]) -> tuple[str, ...]:
    """The sound classes that a checkpoint's separator knows, without building it; empty for most."""
    settings = config["separator"]["config"]
    settings = settings.get("analysis", settings)  # of a flow, which another network starts
    return tuple(settings.get("classes") or settings.get("concepts") or ())  # as band_unet has them


def check_width(separator: Separator, encoder: QueryEncoder, source: str) -> None:
    if separator.query_dim not in (0, encoder.dim):
        raise ValueError(
            f"{source}: made for queries {separator.query_dim} wide, but {encoder.fingerprint} gives "
            f"{encoder.dim}"
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: missing; fetch the checkpoint again") from None
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error}); fetch the checkpoint again") from error
    return weights


def weights_fingerprint(folder: Path) -> str:
    """SHA-256 of the weights file, first 16 digits."""
    return file_fingerprint(folder / "model.safetensors")


def file_fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
