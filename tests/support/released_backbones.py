"""Tiny files in the formats of released networks that separate speakers, stems or music."""

import json
import sys
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.filling import fill
from parity.recorded import Recorded
from safetensors.torch import save_file
from torch import Tensor

from qsep.separation.networks.analyses.bands import widths_in_bins

SPEECH_WIDTH, SPEECH_WINDOW, SPEECH_RATE = 12, 640, 16000
SPEECH_BANDS = widths_in_bins("tiger", SPEECH_WINDOW // 2 + 1, SPEECH_RATE)
# Of file and settings that its weights do not tell.
DNR_CHANGES: dict[str, dict[str, Any]] = {
    "separator": {
        "network": {"num_iterations": 2},
        "window_seconds": 0.15,
        "step_seconds": 0.05,
    }
}


def tiger_speech_state(num_speakers: int = 2) -> dict[str, Tensor]:
    """Weights by the names and shapes of the released class, `look2hear/models/tiger.py`."""
    # The layers are those of the recorded TIGER-DnR, in each of its networks.
    document = Recorded("tiger_dnr").document
    keys: list[list[Any]] = [
        [key.removeprefix("dialog."), shape]
        for key, shape in document["keys"]
        if key.startswith("dialog.separator.")
    ]
    width = SPEECH_WIDTH
    for band, bins in enumerate(SPEECH_BANDS):
        keys += [[f"BN.{band}.0.weight", [2 * bins]], [f"BN.{band}.0.bias", [2 * bins]]]
        keys += [[f"BN.{band}.1.weight", [width, 2 * bins, 1]], [f"BN.{band}.1.bias", [width]]]
        outputs = 4 * num_speakers * bins
        keys += [[f"mask.{band}.0.weight", [1]], [f"mask.{band}.1.bias", [outputs]]]
        keys += [[f"mask.{band}.1.weight", [outputs, width // num_speakers, 1]]]
    return fill({"keys": keys, "gains": [[r"mask\.\d+\.1\.weight", 2.0]], "fixed": []})


def write_tiger_speech(folder: Path, state: dict[str, Tensor], num_blocks: object = 2) -> Path:
    """As on the hub: weights, and the arguments of the class beside them."""
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"num_blocks": num_blocks, "win": SPEECH_WINDOW})
    )
    return folder / "model.safetensors"


def write_tiger_dnr(folder: Path) -> Path:
    save_file(fill(Recorded("tiger_dnr").document), folder / "model.safetensors")
    return folder / "model.safetensors"


def mossformer2_state() -> dict[str, Tensor]:
    """The recorded weights, and the rates of positions that released files have."""
    document = Recorded("mossformer2").document
    state = fill(document)
    for key, (size,) in document["constants"]:
        state[key] = torch.tensor([10000.0 ** (-step / size) for step in range(size)])
    return state


def write_mossformer2(folder: Path, state: dict[str, Tensor]) -> Path:
    """As ClearerVoice-Studio saves in training, with a text file that names the weights'."""
    path = folder / "last_best_checkpoint.pt"
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.Adam([weight])
    weight.sum().backward()
    optimiser.step()
    content = {"model": state, "optimizer": optimiser.state_dict(), "epoch": 61, "step": 221600}
    torch.save(content, path)
    (folder / "last_best_checkpoint").write_text("last_best_checkpoint.pt\n")
    return path


def htdemucs_package() -> dict[str, Any]:
    """The recorded settings, in the types that released files have, and weights."""
    document = Recorded("htdemucs").document
    arguments = dict(document["settings"]) | {"segment": Fraction(13, 20)}
    return {"args": (), "kwargs": arguments, "state": fill(document)}


def write_htdemucs(path: Path, package: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """As demucs saves: the class by its name, in a module of that name."""

    class HTDemucs:
        pass

    HTDemucs.__module__, HTDemucs.__qualname__ = "demucs.htdemucs", "HTDemucs"
    module = types.ModuleType("demucs.htdemucs")
    vars(module)["HTDemucs"] = HTDemucs
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "demucs", types.ModuleType("demucs"))
        patch.setitem(sys.modules, "demucs.htdemucs", module)
        torch.save({"klass": HTDemucs} | package, path)
    return path
