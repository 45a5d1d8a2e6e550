"""A small checkpoint of FlowSep in its authors' format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.recorded import FOLDER as PARITY
from released import Release
from tiny_encoders import T5_DIM as DIM
from tiny_encoders import save_tiny_t5
from torch import Tensor

from qsep.separation.components import build_separator
from qsep.separation.networks.mel.bigvgan import half_band
from qsep.separation.published.converters import flowsep

SMALL: dict[str, Any] = {
    "query_dim": DIM,
    "vae": {"channels": [32, 32, 32], "num_blocks": 1},
    "unet": {"channels": [32, 64], "num_blocks": 1},
    "vocoder": {"channels": 32, "block_kernels": [3]},
}


def published_keys() -> dict[str, list[int]]:
    document = json.loads((PARITY / "flowsep.json").read_text())
    return dict(document["keys"]["keys"])


@pytest.fixture(name="text_folder", scope="module")
def small_text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(name="original", scope="module")
def original_flowsep() -> Any:
    """A separator as the release would be converted to, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        separator = build_separator("flowsep", SMALL)
        for weight in separator.parameters():
            if weight.dim() > 1:
                weight.data.normal_(std=weight[0].numel() ** -0.5)
    separator.codec.scale.fill_(0.9)
    return separator.eval()


def released(separator: Any, text_folder: Path) -> dict[str, Tensor]:
    """Its weights under the authors' keys, with all that lies beside them."""
    from transformers import T5EncoderModel

    weights: dict[str, Tensor] = {"scale_factor": separator.codec.scale}
    for key, value in separator.state_dict().items():
        if key in ("null", "codec.scale"):
            continue
        theirs = flowsep.published_name(key, separator.config)
        weights[theirs] = value
        if theirs.startswith("model.diffusion_model."):
            weights[theirs] = value + 1  # the last ones; the averages are what separates
            weights["model_ema." + theirs.removeprefix("model.").replace(".", "")] = value
    weights["model_ema.decay"] = torch.tensor(0.9999)
    weights["model_ema.num_updates"] = torch.tensor(100_000, dtype=torch.int32)
    for key, shape in published_keys().items():
        if key.endswith(".filter") and "resblocks.0.activations" in key:
            weights[key] = half_band().reshape(shape)
        elif shape == [1000]:
            weights[key] = torch.zeros(1000)
    weights["first_stage_model.loss.logvar"] = torch.zeros(())
    weights["first_stage_model.loss.discriminator.main.0.weight"] = torch.zeros(64, 1, 4, 4)
    for key, value in T5EncoderModel.from_pretrained(text_folder).state_dict().items():
        weights[f"cond_stage_models.0.model.{key}"] = value
    return weights


@pytest.fixture(name="release")
def releaser(
    original: Any, text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Release:
    """Writes v2_100k.ckpt as Lightning does, after `change`."""
    monkeypatch.setitem(flowsep.HUB_NAMES, DIM, str(text_folder))

    def write(change: Callable[[dict[str, Tensor]], Any] = len) -> Path:
        weights = released(original, text_folder)
        change(weights)
        content = {
            "epoch": 3,
            "global_step": 100_000,
            "pytorch-lightning_version": "2.1.3",
            "state_dict": weights,
            "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []}],
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": ""}},
        }
        path = tmp_path / "v2_100k.ckpt"
        torch.save(content, path)
        return path

    return write
