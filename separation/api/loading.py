"""Finding and loading models by name, folder, file or hub address."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from qsep.queries.cache import CachedEncoder

from .. import DEFAULT_MODEL
from ..inference.examples import with_examples
from ..interface import Separator, as_module
from ..out_of_memory import is_out_of_memory
from ..published.finding import checkpoint_folder
from ..published.installed import is_hub_name
from ..published.reader import load_published
from ..runtime.accelerate import accelerate, check_runtime
from ..storage.checkpoint import load_checkpoint
from ..storage.shipped import shipped_models
from ..storage.weights import file_fingerprint, weights_fingerprint
from .model import Model

log = logging.getLogger("qsep")


def load(
    model: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    runtime: str = "torch",
    precision: str = "fp32",
    settings: Mapping[str, dict[str, Any]] | None = None,
) -> Model:
    """Load a model, ready to separate.

    model: the name of a shipped or published model (`models` lists them; published ones are downloaded
    and converted once), the folder of a checkpoint, a name on the Hugging Face hub (ORG/NAME or
    ORG/NAME@REVISION), or a file released by others (`best_model.pt` of CLIPSep).
    device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
    runtime: computes the separator's networks: "torch", or on the CPU "openvino" or "onnx", for which
    they are exported at first use. precision: "fp32", or "bf16" if the CPU has instructions for it.
    settings: of "separator" and "encoder" that differ from the stored or converted ones, as
    {"separator": {"exact": True}}.
    The networks are rewritten for inference, so their weights must not be changed afterwards.

    Raises ValueError if the model is unknown or damaged, or the device or runtime cannot be used.
    """
    check_runtime(runtime, precision, device)
    changes = dict(settings or {})
    if model not in shipped_models() and Path(model).is_file():
        path = Path(model)
        separator, encoder, config = load_published(path, changes)
        weights, stored_weights = file_fingerprint(path), ""  # converted: not the stored ones
    else:
        path = checkpoint_folder(model)
        separator, encoder, config = load_checkpoint(path, runtime != "torch", changes)
        weights = stored_weights = weights_fingerprint(path)
    chosen = choose_device(device if runtime == "torch" else "cpu")
    chosen = moved(separator, chosen)
    fingerprint = f"{weights}-{config['encoder']['fingerprint']}"
    if chosen.type == "cpu" or precision != "fp32":  # measured on CPUs only
        accelerate(separator, runtime, precision, stored_weights)
    if changes.get("separator"):
        fingerprint += f"-{digest_of(changes['separator'])}"
    if (runtime, precision) != ("torch", "fp32"):
        fingerprint += f"-{runtime}-{precision}"
    cached = encoder if encoder.remembers else CachedEncoder(encoder)
    name = str(model) if is_hub_name(str(model)) and not Path(model).exists() else path.name
    return Model(separator, with_examples(separator, cached), name, fingerprint, path)


def digest_of(settings: dict[str, Any]) -> str:
    """The first 8 digits of the SHA-256 of settings, whatever their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def moved(separator: Separator, device: torch.device) -> torch.device:
    """Move the separator to a device, or to the CPU, with a warning, if the device lacks the memory.

    Returns where it is.
    """
    try:
        as_module(separator).to(device)
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
        log.warning(
            "out of memory: the model does not fit on %s; computed on the CPU, slower", device
        )
        device = torch.device("cpu")
        as_module(separator).to(device)
    return device


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" prefers CUDA, then MPS. ValueError if it cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used ({reason}); try --device cpu") from error
