"""The checkpoints that come with the package; nothing here needs PyTorch."""

from __future__ import annotations

from pathlib import Path

CHECKPOINTS_DIR = Path(__file__).parents[1] / "checkpoints"


def shipped_models() -> list[str]:
    """Names of the checkpoints that come with the package, sorted."""
    return sorted(path.parent.name for path in CHECKPOINTS_DIR.glob("*/config.json"))


def shipped_folder(name: str) -> Path:
    """The folder of the checkpoint that comes with the package by that name, whether it exists or not."""
    return CHECKPOINTS_DIR / name
