"""Optional packages in tests: marks that do not import them while tests are collected, and quick imports."""

import sys
from importlib.util import find_spec
from typing import Any

import pytest


def needs(package: str, remedy: str) -> pytest.MarkDecorator:
    """Skips where the package is not installed; importing some of them takes seconds in every worker."""
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is missing: {remedy}")


def import_open_clip() -> Any:
    """open_clip, or a skip. timm, which it imports, would import wandb, longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        if "wandb" not in sys.modules:
            patch.setitem(sys.modules, "wandb", None)  # as if it were not installed
        return pytest.importorskip("open_clip", reason="CLIP needs pip install 'qsep[clip]'")
