"""Which requests run without PyTorch, and the error for those that need it where it is missing."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from qsep.queries.constraints import Constraints
from qsep.queries.interface import Query

from .. import NEEDS_TORCH
from ..published.registry import no_such_model, published_models
from ..storage.shipped import shipped_models
from .model import LightModel, beyond, light_folder

MANY_QUERIES = 8  # with more, PyTorch is faster: it analyses a recording once for all of them


def light_model(
    model: str,
    queries: Sequence[Query],
    constraints: Constraints,
    device: str = "auto",
    runtime: str = "auto",
    precision: str = "fp32",
    candidates: int = 1,
) -> LightModel | None:
    """The model without PyTorch where it supports the whole request, else None.

    If PyTorch is installed, it does the work for a device "auto" on machines that seem to have a GPU, and for
    more than MANY_QUERIES.
    Raises ValueError, in one line, for unknown names and, without PyTorch, for what only that does.
    """
    installed = find_spec("torch") is not None
    many = len(queries) > MANY_QUERIES
    if installed and (many or (device == "auto" and seems_to_have_gpu())):
        return None
    folder = light_folder(model)
    loaded: LightModel | None = None
    if runtime != "auto":
        reason = f"--runtime {runtime}"
    elif precision != "fp32":
        reason = f"--precision {precision}"
    elif device not in ("auto", "cpu"):
        reason = f"--device {device}"
    elif folder is None:
        if not (installed or is_known(model)):
            raise no_such_model(model, shipped_models())
        reason = f"the model {model}"
    elif not (reason := beyond(queries, constraints, candidates)):
        loaded = LightModel(folder)
        # Without PyTorch, words that are near a class mean that class.
        if words := loaded.unknown_words(queries, near=installed):
            reason = (
                f"{words!r} is unlike every sound that {model} knows; to find what resembles it"
            )
    if not reason or installed:
        return None if reason else loaded
    raise ValueError(f"{reason} {NEEDS_TORCH}")


def is_known(model: str) -> bool:
    """Whether the name is of a shipped or published model, a file or folder, or as ORG/NAME."""
    return model in (*shipped_models(), *published_models()) or "/" in model or Path(model).exists()


def seems_to_have_gpu() -> bool:
    """Whether the machine seems to have a GPU, judged without PyTorch."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    drivers = ("/dev/nvidiactl", "/dev/kfd")
    return any(Path(driver).exists() for driver in drivers) or bool(shutil.which("nvidia-smi"))
