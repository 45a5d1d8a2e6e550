"""Files that others may read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_by_mask(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file with the permissions that the user's mask gives, for writers that choose others:
    safetensors lets none but the user read."""
    path.touch()
    mode = path.stat().st_mode
    write(path)
    path.chmod(mode)
