"""Finding separators and encoders by name: a file's name is its name in a configuration."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields
from types import ModuleType
from typing import Any

import qsep.queries
import qsep.separation.models


def component_names(package: ModuleType) -> list[str]:
    """Names of the modules in a package, without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load_component(package: ModuleType, name: str) -> ModuleType:
    names = component_names(package)
    if name not in names:
        raise ValueError(f"{name!r} is not one of {', '.join(names)} in {package.__name__}")
    return importlib.import_module(f"{package.__name__}.{name}")


def build_component(package: ModuleType, name: str, settings: dict[str, Any]) -> Any:
    """Build the component from plain settings (as TOML and JSON give them); unknown keys are errors."""
    module = load_component(package, name)
    return module.build(from_settings(module.Config, settings))


def from_settings(config_class: Any, settings: dict[str, Any]) -> Any:
    """A frozen dataclass from a dict; lists become tuples."""
    known = {item.name for item in fields(config_class)}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    try:
        return config_class(**frozen)
    except TypeError as error:
        raise ValueError(f"settings of {config_class.__module__}: {error}") from error


def build_separator(kind: str, settings: dict[str, Any]) -> Any:
    return build_component(qsep.separation.models, kind, settings)


def build_encoder(kind: str, settings: dict[str, Any]) -> Any:
    if kind in ("interface", "cache"):
        raise ValueError(f"{kind!r} is not a query encoder")
    return build_component(qsep.queries, kind, settings)
