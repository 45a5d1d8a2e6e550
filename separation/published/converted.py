"""What a converter makes of a released checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Converted:
    """kind and settings of the separator and of the encoder of its queries; weights under our keys;
    provenance: the recipe, seed and step of the training run, None where the release is silent."""

    kind: str
    settings: dict[str, Any]
    encoder_kind: str
    encoder_settings: dict[str, Any]
    weights: dict[str, Tensor]
    provenance: dict[str, Any]
