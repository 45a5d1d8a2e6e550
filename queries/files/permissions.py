"""Permissions of the files that are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_by_mask(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file with the permissions that the user's mask gives, for writers that choose others:
    safetensors makes files that only their owner can read."""
    path.touch()
    mode = path.stat().st_mode
    write(path)
    path.chmod(mode)
