"""Separate the sounds that a query names from a recording.

In Python:

    import qsep

    result = qsep.load().separate("street.wav", "a dog barking")
    result.save("out")
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qsep.queries.constraints import Constraints, Span
    from qsep.queries.interface import (
        AudioQuery,
        ClassQuery,
        ImageQuery,
        MixedQuery,
        Query,
        TextQuery,
    )
    from qsep.separation.api import Model, Result, load, locate, models, similarities
    from qsep.separation.audio.source import ReadOptions

if not (Path(__file__).parent / "queries").is_dir():
    # In a checkout the other folders lie beside this one: there `python -m qsep.recipes` works as it is,
    # and does not take them from another checkout that happens to be installed.
    __path__.append(str(Path(__file__).parents[1]))

# Imported at first use, so that importing the package stays quick.
_EXPORTS = {
    "Model": "qsep.separation.api",
    "Result": "qsep.separation.api",
    "load": "qsep.separation.api",
    "locate": "qsep.separation.api",
    "models": "qsep.separation.api",
    "similarities": "qsep.separation.api",
    "AudioQuery": "qsep.queries.interface",
    "ClassQuery": "qsep.queries.interface",
    "Constraints": "qsep.queries.constraints",
    "ImageQuery": "qsep.queries.interface",
    "MixedQuery": "qsep.queries.interface",
    "Query": "qsep.queries.interface",
    "ReadOptions": "qsep.separation.audio.source",
    "Span": "qsep.queries.constraints",
    "TextQuery": "qsep.queries.interface",
}
__all__ = [
    "AudioQuery",
    "ClassQuery",
    "Constraints",
    "ImageQuery",
    "MixedQuery",
    "Model",
    "Query",
    "ReadOptions",
    "Result",
    "Span",
    "TextQuery",
    "__version__",
    "load",
    "locate",
    "models",
    "similarities",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("qsep")
    if name in _EXPORTS:
        try:
            return getattr(import_module(_EXPORTS[name], __name__), name)
        except ModuleNotFoundError as error:
            from qsep.separation import NEEDS_TORCH, TORCH_EXTRA

            if error.name not in TORCH_EXTRA:
                raise
            raise ImportError(f"qsep.{name} {NEEDS_TORCH}") from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
