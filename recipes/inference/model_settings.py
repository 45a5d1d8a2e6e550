"""Settings of a model that differ from the stored ones, as KEY=VALUE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..training.config import override_value

PARTS = {"separator", "encoder"}


def changes_of(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings such as "separator.exact=true" as tables; values are TOML, or else strings.

    Raises ValueError for another form, and for parts that are not in PARTS.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        override_value(changes, setting)
    if unknown := sorted(changes.keys() - PARTS):
        raise ValueError(f"{unknown[0]}: settings are separator.KEY=VALUE or encoder.KEY=VALUE")
    return changes
