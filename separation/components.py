"""Building separators and encoders by name: a component's name in configurations is its file's name."""

from __future__ import annotations

import importlib
import pkgutil
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import qsep.queries.encoders
import qsep.separation.models
from qsep.queries.settings import check_setting

from .out_of_memory import is_out_of_memory


def component_names(package: ModuleType) -> list[str]:
    """Names of the components in a package, sorted, without importing them; _names are helpers."""
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in names if not name.startswith("_"))


def load_component(package: ModuleType, name: str) -> ModuleType:
    """Import a component's module; ValueError for an unknown name."""
    names = component_names(package)
    if name not in names:
        raise ValueError(f"{name!r} is not one of {', '.join(names)} in {package.__name__}")
    return importlib.import_module(f"{package.__name__}.{name}")


def build_component(package: ModuleType, name: str, settings: dict[str, Any]) -> Any:
    """Build a component from plain values, as read from TOML or JSON.

    Raises ValueError for an unknown name, unknown or missing settings, and values of the wrong type or range.
    """
    module = load_component(package, name)
    return module.build(from_settings(module.Config, settings))


def from_settings(config_class: Any, settings: dict[str, Any]) -> Any:
    """A configuration (frozen dataclass) from plain values: lists become tuples, types are checked.

    Raises ValueError for unknown or missing settings and values of the wrong type or range.
    """
    known = {item.name for item in fields(config_class)}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    hints = get_type_hints(config_class)
    frozen = {key: as_setting(value, hints[key]) for key, value in settings.items()}
    for key, value in frozen.items():
        if not fits(value, hints[key]):
            hint = hints[key].__name__ if isinstance(hints[key], type) else hints[key]
            raise ValueError(f"setting {key} is {reprlib.repr(value)}; expected {hint}")
    try:
        return config_class(**frozen)
    except TypeError as error:
        raise ValueError(f"settings of {config_class.__module__}: {error}") from error


def as_setting(value: Any, hint: Any) -> Any:
    """A plain value as a setting: a list as a tuple, a table as the dataclass that `hint` names."""
    if is_dataclass(hint) and isinstance(value, dict):
        return from_settings(hint, value)
    return tuple(value) if isinstance(value, list) else value


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value has the annotated type; integers are accepted as float."""
    origin, options = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, option) for option in options)
    if origin is tuple and isinstance(value, tuple):
        if options[-1] is Ellipsis:
            return all(fits(item, options[0]) for item in value)
        return len(value) == len(options) and all(map(fits, value, options))
    if hint is Any:
        return True
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else origin or hint)


def build_separator(kind: str, settings: dict[str, Any]) -> Any:
    """A separator by its file's name in `separation/models`, with random weights.

    Raises ValueError as `build_component`, and for settings of which no network can be made.
    """
    try:
        return build_component(qsep.separation.models, kind, settings)
    except Exception as error:
        if isinstance(error, ValueError) or is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"no {kind} can be made of these settings ({reason})") from error


def setting_names(kind: str) -> set[str]:
    """Names of the settings of a separator."""
    return {item.name for item in fields(load_component(qsep.separation.models, kind).Config)}


def check_separator(kind: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError for settings that a separator does not have, and for numbers out of their range.

    Not all settings need be given: some follow from the data.
    """
    if unknown := sorted(settings.keys() - setting_names(kind)):
        raise ValueError(f"{kind} has no setting {unknown[0]!r}")
    config = load_component(qsep.separation.models, kind).Config
    for name, value in settings.items():
        check_setting(config, name, value)


@dataclass(frozen=True)
class QuerySettings:
    """Settings of a separator that follow from the query encoder and the phrase book that it is trained with.

    A separator's Config takes those that it, or a Config nested in it, declares as fields of these names.
    query_dim: width of the embeddings. classes: sound classes whose degrees the embeddings are. class_names:
    of the phrase book; num_phrases: number of its phrases.
    """

    query_dim: int
    classes: tuple[str, ...]
    class_names: tuple[str, ...]
    num_phrases: int


def with_query_settings(
    kind: str, settings: dict[str, Any], known: QuerySettings
) -> dict[str, Any]:
    """The settings of a separator with those of `known` that its Config declares."""
    config_class = load_component(qsep.separation.models, kind).Config
    return _completed(config_class, settings, asdict(known))


def _completed(
    config_class: Any, settings: dict[str, Any], known: dict[str, Any]
) -> dict[str, Any]:
    hints = get_type_hints(config_class)
    result = settings | {name: known[name] for name in hints if name in known}
    for name, hint in hints.items():
        if is_dataclass(hint) and (nested := _completed(hint, settings.get(name, {}), known)):
            result[name] = nested
    return result


def build_encoder(kind: str, settings: dict[str, Any]) -> Any:
    """A query encoder by its file's name in `queries/encoders`; see `build_component`."""
    return build_component(qsep.queries.encoders, kind, settings)


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`settings` with `changes` applied: tables are merged at every depth, other values are replaced.

    A table of another `kind` replaces the whole table, for its settings are those of its kind.
    """
    result = dict(settings)
    for key, value in changes.items():
        before = result.get(key)
        if isinstance(value, dict) and isinstance(before, dict) and same_kind(before, value):
            value = merged(before, value)
        result[key] = value
    return result


def same_kind(settings: dict[str, Any], changes: dict[str, Any]) -> bool:
    """Whether the changes name no `kind`, or that of the settings."""
    return "kind" not in changes or changes["kind"] == settings.get("kind")
