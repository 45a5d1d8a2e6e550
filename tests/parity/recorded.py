"""What was recorded of a published system, NAME.json and NAME.npz in this folder; read at first use."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent


class Recorded:
    """document: keys and settings; values: arrays by name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def document(self) -> Any:
        return json.loads((FOLDER / f"{self.name}.json").read_text("utf-8"))

    @cached_property
    def arrays(self) -> Any:
        return np.load(FOLDER / f"{self.name}.npz")

    def values(self, name: str) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[name]))
