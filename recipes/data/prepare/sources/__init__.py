"""Public data sets of recordings and captions: one module each, named as the data set.

A module has `read(tree, **settings)`, which turns the publisher's lists in a Tree into a Listing. Settings
are strings with defaults. It raises ValueError for missing and malformed lists.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping

from ..listing import Listing
from ..tree import Tree


def names() -> list[str]:
    """The names of all data sets."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def check(name: str, settings: Mapping[str, str]) -> None:
    """Raise ValueError for an unknown data set or setting."""
    if name not in names():
        raise ValueError(f"{name!r} is not a known data set: expected one of {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    known = inspect.signature(module.read).parameters.keys() - {"tree"}
    for key in settings.keys() - known:
        knows = f"knows {', '.join(sorted(known))}" if known else "has no settings"
        raise ValueError(f"{name} has no setting {key!r}; it {knows}")


def read(name: str, tree: Tree, settings: Mapping[str, str]) -> Listing:
    """The listing of a data set. settings: as accepted by `check`. ValueError if it is empty."""
    listing: Listing = importlib.import_module(f"{__name__}.{name}").read(tree, **settings)
    if not listing.clips:
        raise ValueError(f"{tree.folder}: {name}'s lists name no recordings")
    return listing
