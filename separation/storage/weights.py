"""Weights of a checkpoint folder: its own, and those that it has in common with a shipped model.

    python -m qsep.separation.storage.weights FOLDER MODEL [PREFIX]

takes out of FOLDER the weights of MODEL, which it holds under names that begin with PREFIX, and the files of
its query encoder if they are MODEL's. A separator that is built on a shipped network is then stored without
it; config.json names the model and its fingerprint. Without PREFIX only the encoder's files are taken out.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from qsep.queries.files.arrays import damaged, missing
from qsep.queries.files.permissions import write_by_mask
from qsep.queries.files.weights import read_tensors

from .config import (
    CONFIG,
    ENCODER_FOLDER,
    SHARED,
    SHARED_ENCODER,
    WEIGHTS,
    read_json,
    shared_weights,
)
from .shipped import shipped_folder, shipped_models
from .temporary import write_atomically


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, mapped from the file; ValueError if missing or damaged."""
    try:
        return read_tensors(path)
    except FileNotFoundError:
        raise missing(path) from None
    except SafetensorError as error:
        raise damaged(path, str(error)) from error


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a safetensors file."""
    write_by_mask(path, lambda path: save_file(weights, path))


def stored_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a checkpoint folder by name, mapped from the files.

    Raises ValueError if they are missing or damaged, or the model with which it shares some has changed.
    """
    weights = read_weights(folder / WEIGHTS)
    if not (shared := shared_weights(folder)):
        return weights
    source = shipped_folder(shared["model"])
    if (
        shared["model"] not in shipped_models()
        or file_fingerprint(source / WEIGHTS) != shared["fingerprint"]
    ):
        raise ValueError(
            f"{folder}: shares weights with another version of {shared['model']} "
            f"({shared['fingerprint']}); use the version of qsep that made it"
        )
    return weights | {
        f"{shared['prefix']}{key}": value for key, value in read_weights(source / WEIGHTS).items()
    }


def write_weights(
    folder: Path, weights: dict[str, Tensor], shared: dict[str, str] | None = None
) -> None:
    """Replace the weights of a checkpoint folder, and what its config.json says of those elsewhere."""
    config = read_json(folder)
    changed = {key: value for key, value in config.items() if key != SHARED}
    changed |= {SHARED: shared} if shared else {}
    write_atomically(folder / WEIGHTS, lambda path: save_weights(path, weights))
    if changed != config:
        write_json(folder, changed)


def write_json(folder: Path, config: dict[str, Any]) -> None:
    """Replace the config.json of a checkpoint folder."""
    text = json.dumps(config, indent=1) + "\n"
    write_atomically(folder / CONFIG, lambda path: path.write_text(text, "utf-8"))


def copy_with_weights(
    source: Path, target: Path, weights: dict[str, Tensor], leave_out: Sequence[str] = ()
) -> None:
    """Copy a checkpoint folder with other weights, without some files; ValueError if the target exists."""
    if target.exists():
        raise ValueError(f"{target} exists: choose a new folder")
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*leave_out))
    write_weights(target, weights)


def share(folder: Path, model: str, prefix: str) -> None:
    """Take a shipped model's weights, and its encoder's files if they are all the same, out of a checkpoint
    folder; ValueError unless it holds all of the weights."""
    source = shipped_folder(model) / WEIGHTS
    weights = stored_weights(folder)
    for key, value in read_weights(source).items():
        weight = weights.pop(f"{prefix}{key}", None)
        if weight is None or weight.dtype != value.dtype or not torch.equal(weight, value):
            raise ValueError(f"{folder}: {prefix}{key} is not {key} of {model}")
    fingerprint = file_fingerprint(source)
    write_weights(folder, weights, {"model": model, "prefix": prefix, "fingerprint": fingerprint})
    encoder, other = (
        {path.name: path.read_bytes() for path in (parent / ENCODER_FOLDER).glob("*")}
        for parent in (folder, source.parent)
    )
    if encoder and encoder == other:
        shutil.rmtree(folder / ENCODER_FOLDER)


def share_encoder(folder: Path, model: str) -> None:
    """Take the files of the query encoder out of a checkpoint folder; ValueError unless it is a shipped
    model's."""
    config, other = read_json(folder), read_json(shipped_folder(model))
    if config["encoder"] != other["encoder"]:
        raise ValueError(f"{folder}: its query encoder is not that of {model}")
    write_json(folder, config | {SHARED_ENCODER: model})
    shutil.rmtree(folder / ENCODER_FOLDER)


def weights_fingerprint(folder: Path) -> str:
    """The first 16 digits of the SHA-256 of a checkpoint's weights; of one that shares some, of both
    fingerprints."""
    weight = file_fingerprint(folder / WEIGHTS)
    if not (shared := shared_weights(folder)):
        return weight
    return hashlib.sha256(f"{weight}{shared['fingerprint']}".encode()).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """The first 16 digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(str(__doc__))
    (share if len(sys.argv) == 4 else share_encoder)(Path(sys.argv[1]), *sys.argv[2:])
