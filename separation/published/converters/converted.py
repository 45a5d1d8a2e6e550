"""The result of a converter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ...components import merged


@dataclass(frozen=True)
class Converted:
    """kind and settings of the separator and of its query encoder; weights by the names used here;
    provenance: recipe, seed and step of the training run, None where the release does not say."""

    kind: str
    settings: dict[str, Any]
    encoder_kind: str
    encoder_settings: dict[str, Any]
    weights: dict[str, Tensor]
    provenance: dict[str, Any]

    def changed(self, changes: Mapping[str, dict[str, Any]]) -> Converted:
        """With changed settings of "separator" and "encoder"."""
        return replace(
            self,
            settings=merged(self.settings, changes.get("separator", {})),
            encoder_settings=merged(self.encoder_settings, changes.get("encoder", {})),
        )
