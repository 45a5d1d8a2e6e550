"""The public data sets that recordings and captions are prepared from: one file each, named as the data set.

A file has `read(tree, **settings)`, which turns the publisher's lists in a Tree into a Listing; settings
are strings with defaults. It raises ValueError for what is missing or wrong in the lists.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping

from ..listing import Listing
from ..tree import Tree


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def check(name: str, settings: Mapping[str, str]) -> None:
    """Raise ValueError for a data set or a setting that there is not."""
    if name not in names():
        raise ValueError(f"{name!r} is not a data set known here: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    known = inspect.signature(module.read).parameters.keys() - {"tree"}
    for key in settings.keys() - known:
        knows = f"knows {', '.join(sorted(known))}" if known else "has no settings"
        raise ValueError(f"{name} has no setting {key!r}; it {knows}")


def read(name: str, tree: Tree, settings: Mapping[str, str]) -> Listing:
    """What the lists say; settings: checked ones."""
    listing: Listing = importlib.import_module(f"{__name__}.{name}").read(tree, **settings)
    if not listing.clips:
        raise ValueError(f"{tree.folder}: {name}'s lists name no recordings")
    return listing
