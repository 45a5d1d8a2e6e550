"""config.json of a checkpoint folder: what is in it, read without PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qsep.queries.files.json_files import json_content
from qsep.queries.interface import QueryEncoder

from ..components import build_encoder
from .shipped import shipped_folder

WEIGHTS, CONFIG = "model.safetensors", "config.json"
ENCODER_FOLDER = "encoder"  # files of a query encoder that belongs to the model
SHARED = "shared_weights"  # in config.json: {"model", "prefix", "fingerprint"}
SHARED_ENCODER = "shared_encoder"  # in config.json: the shipped model that has the encoder's files
FORMAT_VERSION = 1
# Former names of settings in config.json, old to new.
RENAMED = {
    "looks": "shifts",
    "concepts": "class_names",
    "critic": "discriminator",
    "critic_start": "discriminator_start",
    "critic_weight": "discriminator_weight",
}
OTHER_PARTS = {  # checkpoints of parts of a model, and how they are used
    "autoencoder": "name it in train.start_from of a separator's recipe",
    "vocoder": "name it in train.start_from of a separator's recipe",
    "audio_encoder": "use it as a query encoder, by encoder.folder of a recipe",
}
REQUIRED = {
    "separator": {"kind": str, "config": dict},
    "encoder": {"kind": str, "config": dict, "fingerprint": str},
}


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint of a separator; ValueError if it is missing, damaged or of another kind."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder}: not a checkpoint folder (no config.json in it)")
    try:
        config: dict[str, Any] = renamed(json_content(path))
        if type(config["format"]) is not int:
            raise TypeError(f"format is {config['format']!r}, not a number")
        if config["format"] != FORMAT_VERSION:
            raise ValueError(f"format {config['format']!r}, this qsep reads {FORMAT_VERSION}")
        for part, keys in REQUIRED.items():
            for key, kind in keys.items():
                if not isinstance(config[part][key], kind):
                    raise TypeError(f"{part}.{key} is {config[part][key]!r}")
    except KeyError as error:
        for part, use in OTHER_PARTS.items():
            if part in config:
                raise ValueError(f"{folder}: holds {part}, not a separator; {use}") from None
        raise ValueError(f"{path}: damaged ({error} is missing); fetch it again") from error
    except (TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: damaged ({error}); fetch it again") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}; update qsep") from None
    return config


def renamed(settings: Any) -> Any:
    """Settings of earlier versions under their present names, at any depth."""
    if isinstance(settings, list):
        return [renamed(item) for item in settings]
    if not isinstance(settings, dict):
        return settings
    return {RENAMED.get(key, key): renamed(value) for key, value in settings.items()}


def shared_weights(folder: Path) -> dict[str, str]:
    """What config.json says of weights that lie elsewhere: model, prefix and fingerprint, or nothing."""
    shared: dict[str, str] = read_json(folder).get(SHARED, {})
    if shared and set(shared) != {"model", "prefix", "fingerprint"}:
        raise ValueError(f"{folder / CONFIG}: damaged ({SHARED} is {shared}); fetch it again")
    return shared


def read_json(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint of any part; empty if there is none."""
    path = folder / CONFIG
    content: dict[str, Any] = json_content(path) if path.is_file() else {}
    return content


def encoder_owner(folder: Path, config: dict[str, Any]) -> Path:
    """The checkpoint that holds the files of this one's query encoder: itself, or a shipped model with which
    it shares them, or weights."""
    model = config.get(SHARED_ENCODER) or config.get(SHARED, {}).get("model")
    return folder if model is None or (folder / ENCODER_FOLDER).is_dir() else shipped_folder(model)


def stored_encoder(folder: Path, config: dict[str, Any]) -> QueryEncoder:
    """The query encoder that a checkpoint describes; ValueError if damaged."""
    folder = encoder_owner(folder, config)
    settings = {
        key: str(folder / value) if isinstance(value, str) and value.startswith("./") else value
        for key, value in config["encoder"]["config"].items()
    }
    encoder: QueryEncoder = build_encoder(config["encoder"]["kind"], settings)
    return encoder


def stored_classes(config: dict[str, Any]) -> tuple[str, ...]:
    """Labels of the classes that a checkpoint's separator was trained on; empty if it has none."""
    settings = config["separator"]["config"]
    settings = settings.get("analysis", settings)  # flow_unet: of the network that it starts from
    classes = settings.get("classes") or settings.get("class_names")  # class_names: band_unet
    return tuple(classes or ())
