"""The models that a server offers: those on this machine, so that no request starts a download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from qsep.separation import DEFAULT_MODEL
from qsep.separation.api import checkpoint_folder, shipped_models
from qsep.separation.published.installed import installed_folder
from qsep.separation.published.registry import published_models
from qsep.separation.storage.config import read_config, stored_classes


def local_models() -> list[str]:
    """Names of the shipped models, the default first, then of the downloaded published ones."""
    shipped = [name for name in shipped_models() if name != DEFAULT_MODEL]
    fetched = [
        model.name
        for model in published_models().values()
        if model.separates and installed_folder(model.name)
    ]
    return [DEFAULT_MODEL, *shipped, *fetched]


def by_name(models: Sequence[str]) -> dict[str, str]:
    """The arguments of `load` by the names that are shown, without folders. ValueError for equal names."""
    named: dict[str, str] = {}
    for model in models:
        is_path = model not in shipped_models() and Path(model).exists()
        name = Path(model).resolve().name if is_path else model
        if named.setdefault(name, model) != model:
            raise ValueError(f"{named[name]} and {model} are both called {name}: rename one")
    return named


def finders_among(models: Mapping[str, str]) -> list[str]:
    """Names of the models that detect sounds, since they have a list of them."""
    return [name for name, model in models.items() if detects_sounds(model)]


def detects_sounds(model: str) -> bool:
    """Whether a model has a list of sounds, as its checkpoint says without being loaded."""
    if model not in shipped_models() and Path(model).is_file():
        return False  # a released file, which would have to be loaded
    return bool(stored_classes(read_config(checkpoint_folder(model))))
