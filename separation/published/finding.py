"""Checkpoint folders of models by name, folder or hub address; needs no PyTorch for those that are here."""

from __future__ import annotations

from pathlib import Path

from ..storage.shipped import shipped_folder, shipped_models
from .installed import get_model, hub_folder, is_hub_name
from .registry import no_such_model, published_models


def models() -> list[str]:
    """Names that `load` accepts: shipped models, then published ones, which it downloads."""
    published = [model.name for model in published_models().values() if model.separates]
    return [*shipped_models(), *published]


def checkpoint_folder(model: str | Path) -> Path:
    """The checkpoint folder of a model given as for `load`; published ones are fetched if need be.

    A shipped model takes precedence over a folder of the same name, which is reached as ./NAME.
    Raises ValueError for an unknown name and DownloadError if a model cannot be fetched.
    """
    if model in shipped_models():
        return shipped_folder(str(model))
    if Path(model).is_dir():
        return Path(model)
    name = str(model)
    if name in published_models():
        return separator_folder(name)
    if is_hub_name(name):
        return hub_folder(name)
    if Path(model).is_file():
        raise ValueError(
            f"{model} is a file, not a checkpoint folder: 'qsep models convert {model}' makes one of "
            "a released checkpoint"
        )
    raise no_such_model(name, shipped_models())


def separator_folder(name: str) -> Path:
    """The folder of a published separator, fetched if need be; ValueError if it is an encoder."""
    published = published_models()[name]
    if published.kind != "separator":
        raise ValueError(
            f"{name} is a query encoder ({published.system}), not a separator; "
            f"'qsep models info {name}' says how it is used"
        )
    return get_model(name)
