"""Released checkpoint files: loaded directly, or converted into a checkpoint folder of ours."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qsep.queries.interface import QueryEncoder

from ..checkpoint import describe, file_fingerprint, load_weights, save_checkpoint
from ..components import build_encoder, build_separator
from ..interface import Separator
from . import clipsep

CONVERTERS = (clipsep,)


def load_published(path: Path) -> tuple[Separator, QueryEncoder, dict[str, Any]]:
    """As load_checkpoint, from somebody else's file: strict, finite, and no code in it is run."""
    weights = read_state_dict(path)
    for converter in CONVERTERS:
        if converter.recognises(weights):
            converted = converter.convert(weights, path)
            break
    else:
        raise ValueError(f"{path}: weights of no system that qsep can convert")
    separator = build_separator(converted.kind, converted.settings)
    load_weights(separator, converted.weights, str(path))
    encoder = build_encoder(converted.encoder_kind, converted.encoder_settings)
    if separator.query_dim not in (0, encoder.dim):
        raise ValueError(
            f"{path}: made for queries {separator.query_dim} wide, but {converted.encoder_kind} "
            f"gives {encoder.dim}"
        )
    provenance = converted.provenance | {
        "converted_from": path.name,
        "sha256": file_fingerprint(path),
    }
    config = describe(converted.kind, separator, converted.encoder_kind, encoder, provenance)
    return separator.eval(), encoder, config


def convert_to_folder(path: Path, folder: Path) -> None:
    """Write what `load_published` reads as a checkpoint folder, which must not be there yet."""
    if folder.exists():
        raise ValueError(f"{folder} exists; give a folder that does not")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the released checkpoint, as best_model.pt")
    separator, _, config = load_published(path)
    weights = separator.state_dict()  # type: ignore[attr-defined]
    save_checkpoint(folder, config, weights, card_of(config))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path}: cannot be read as weights alone ({reason}); it is damaged, no PyTorch "
            "checkpoint, or holds code, which is never run"
        ) from error
    named = isinstance(weights, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    )
    if not named:
        raise ValueError(f"{path}: no state dict; expected names of weights with their tensors")
    return weights


def card_of(config: dict[str, Any]) -> str:
    provenance = config["provenance"]
    return (
        f"# {provenance['recipe']}, converted\n\n"
        f"Weights from `{provenance['converted_from']}` (SHA-256 {provenance['sha256']}…), as their "
        "authors trained and released them; their licence holds.\n\n"
        f"Separator `{config['separator']['kind']}` at {config['sample_rate']} Hz; queries by "
        f"`{config['encoder']['kind']}`.\n"
    )
