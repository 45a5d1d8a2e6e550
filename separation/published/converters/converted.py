"""The result of a converter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ...components import merged


@dataclass(frozen=True)
class Converted:
    """kind and settings of the separator and of its query encoder; weights by the names used here;
    provenance: recipe, seed and step of the training run, None where the release does not say.
    released_name: the name in the released file of a weight that is named as here, for messages."""

    kind: str
    settings: dict[str, Any]
    encoder_kind: str
    encoder_settings: dict[str, Any]
    weights: dict[str, Tensor]
    provenance: dict[str, Any]
    released_name: Callable[[str], str] = str

    def changed(self, changes: Mapping[str, dict[str, Any]]) -> Converted:
        """With changed settings of "separator" and "encoder"."""
        return replace(
            self,
            settings=merged(self.settings, changes.get("separator", {})),
            encoder_settings=merged(self.encoder_settings, changes.get("encoder", {})),
        )


def below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with the prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


def renamed_by(patterns: Iterable[tuple[str, str]], key: str) -> str:
    """The key with what the first fitting pattern finds at its beginning replaced; unchanged if none fits."""
    for pattern, replacement in patterns:
        name, hits = re.subn(f"^{pattern}", replacement, key)
        if hits:
            return name
    return key


def speaker_names(number: int) -> list[str]:
    """Names for the outputs of a network that separates speakers."""
    return [f"speaker {index + 1}" for index in range(number)]


def released_names(modules: Mapping[str, str | None], prefix: str) -> Callable[[str], str]:
    """`Converted.released_name` of a converter that renames whole modules.

    modules: names here by released names without the prefix; None for modules that are not used.
    """
    theirs = {ours: module for module, ours in modules.items() if ours}

    def released_name(key: str) -> str:
        module, _, name = key.rpartition(".")
        return f"{prefix}{theirs[module]}.{name}" if module in theirs else key

    return released_name


def renamed_keys(released: Mapping[str, str]) -> Callable[[str], str]:
    """`Converted.released_name` of a converter that renames key by key.

    released: names in the file by names here. A weight that is not in the file gets the name that follows
    from another weight of its module.
    """
    modules = {
        ours.rpartition(".")[0]: theirs.rpartition(".")[0] for ours, theirs in released.items()
    }

    def released_name(key: str) -> str:
        module, _, name = key.rpartition(".")
        return released.get(key) or (f"{modules[module]}.{name}" if module in modules else key)

    return released_name
