"""Names that a package imports at their first use, so that importing the package stays quick (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    package: its `__name__`. modules: for each exported name the module that defines it, relative to the
    package if it begins with a dot. The result raises AttributeError for other names.
    """

    def export(name: str) -> Any:
        if name in modules:
            return getattr(import_module(modules[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return export
