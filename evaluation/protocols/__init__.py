"""Protocols, one file each; the file's name is the protocol's.

A protocol's file defines CONDITIONS, the plain one first, and `load(data, manifest, condition, ...)`, which
is called with keywords. data: the user's folder. manifest: a file that lists the items, the name of one of
the protocol's lists, or None for its default. condition: one of CONDITIONS. Further arguments are strings
with defaults: the protocol's own settings. It returns an ItemSet, or raises ValueError or OSError for what
is missing. What several protocols share is in `evaluation.items`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from pathlib import Path

from ..interface import ItemSet
from ..items.conditions import suite


def protocol_names() -> list[str]:
    """The names of all protocols, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_items(
    name: str,
    data: Path,
    manifest: Path | None = None,
    condition: str = "plain",
    settings: Mapping[str, str] | None = None,
) -> ItemSet:
    """The items of a protocol under a condition: one of its own, else one of `items.conditions`.

    settings: the protocol's own settings. Raises ValueError for an unknown protocol, setting or condition,
    and ValueError or OSError for missing or bad data.
    """
    if name not in protocol_names():
        raise ValueError(f"no protocol is called {name!r}; there are {', '.join(protocol_names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    settings = settings or {}
    known = inspect.signature(module.load).parameters.keys() - {"data", "manifest", "condition"}
    for key in settings.keys() - known:
        remedy = f"knows {', '.join(sorted(known))}" if known else "has no settings"
        raise ValueError(f"{name} has no setting {key!r}; it {remedy}")
    is_own = condition in module.CONDITIONS
    items: ItemSet = module.load(
        data=data,
        manifest=manifest,
        condition=condition if is_own else module.CONDITIONS[0],
        **settings,
    )
    return items if is_own else suite(items, condition, module.CONDITIONS)
