"""Small checkpoints of CLAP in LAION's layout, of weights that follow from a rule."""

import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from parity.filling import fill
from parity.recorded import FOLDER as PARITY
from torch import Tensor

State = dict[str, Tensor]


def laion_state(name: str) -> State:
    """All of LAION's keys: weights by rule, the positions of windows by formula, the rest unused."""
    system = json.loads((PARITY / "laion_clap.json").read_text())[name]
    state = fill(system)
    index = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")).reshape(
        2, 64
    )
    apart = index[:, :, None] - index[:, None] + 7
    for key, shape in system["computed"]:
        state[key] = torch.zeros(shape)
        if key.endswith("relative_position_index"):
            state[key] = apart[0] * 15 + apart[1]
    return state


def as_laion(state: State, path: Path) -> Path:
    """As LAION's training writes it: numbers of NumPy 1 in the optimiser's state, names prefixed."""
    content = {
        "epoch": 15,
        "name": "run",
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "optimizer": {"param_groups": [{"lr": np.float64(1e-4), "step": np.int64(7)}]},
    }
    new = path.with_suffix(".new")
    torch.save(content, new)
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                data = data.replace(b"numpy._core", b"numpy.core")
            target.writestr(entry.filename, data)
    new.unlink()
    return path
