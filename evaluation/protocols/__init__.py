"""Finding protocols by name: one file each, whose name is the protocol's.

What several protocols share is in `evaluation.items`. A protocol's file has
`load(data, manifest, condition, ...)`, called with keywords: data is the folder that the user has; manifest
a file that lists the items, or the name of one of the protocol's own, or None for these; condition one of
the file's CONDITIONS, the first of which is the plain one. Further arguments are strings with defaults,
for what else the protocol leaves open. It returns an ItemSet, or raises a ValueError or OSError that says
what is missing.
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
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_items(
    name: str,
    data: Path,
    manifest: Path | None = None,
    condition: str = "plain",
    settings: Mapping[str, str] | None = None,
) -> ItemSet:
    """The items of a protocol; its own conditions go before those of the same name in `items.conditions`."""
    if name not in protocol_names():
        raise ValueError(f"no protocol is called {name!r}; there are {', '.join(protocol_names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    settings = settings or {}
    known = inspect.signature(module.load).parameters.keys() - {"data", "manifest", "condition"}
    for key in settings.keys() - known:
        knows = f"knows {', '.join(sorted(known))}" if known else "has no settings"
        raise ValueError(f"{name} has no setting {key!r}; it {knows}")
    own = condition in module.CONDITIONS
    items: ItemSet = module.load(
        data=data,
        manifest=manifest,
        condition=condition if own else module.CONDITIONS[0],
        **settings,
    )
    return items if own else suite(items, condition, module.CONDITIONS)
