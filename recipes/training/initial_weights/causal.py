"""A causal class U-Net that starts from an offline one's weights.

    python -m qsep.recipes.training.initial_weights.causal sounds150 -o FOLDER

Use the folder as train.start_from. Without further training it separates badly.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from qsep.queries.files.json_files import json_content
from qsep.separation.components import build_separator
from qsep.separation.models.causal_class_unet import CausalClassUNet
from qsep.separation.models.class_unet import ClassUNet
from qsep.separation.networks.unets.causal_unet import from_offline
from qsep.separation.networks.unets.residual_unet import UNet
from qsep.separation.storage.weights import copy_with_weights, stored_weights, write_json

from ...errors import run_script
from ..config import start_folder

KIND = "causal_class_unet"


def causal_of(offline: ClassUNet) -> CausalClassUNet:
    """A causal separator with the settings of an offline one, and the weights that `from_offline` makes."""
    settings = {name: getattr(offline.config, name) for name in vars(offline.config)}
    causal = build_separator(KIND, settings)
    assert isinstance(causal, CausalClassUNet)
    assert isinstance(offline.unet, UNet)
    num_classing, num_refining = offline.config.features, offline.config.refine_features
    planes = torch.arange(num_classing // 4, num_classing // 4 + num_refining)
    # The offline head gives 2 x 2 bands and frames for each plane; of these the later frame is kept.
    refining = (4 * planes[:, None] + torch.tensor([1, 3])).flatten()
    from_offline(offline.unet, causal.unet, torch.cat([torch.arange(num_classing), refining]))
    for part in ("class_logits", "refine"):
        causal.get_submodule(part).load_state_dict(offline.get_submodule(part).state_dict())
    return causal


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", help="a folder or the name of a shipped model")
    parser.add_argument("-o", "--out", type=Path, required=True, help="a new folder")
    options = parser.parse_args(arguments)
    folder = start_folder(options.checkpoint)
    content = json_content(folder / "config.json")
    if content["separator"]["kind"] != "class_unet":
        raise ValueError(f"{folder}: a class_unet is needed")
    offline = build_separator("class_unet", content["separator"]["config"])
    offline.load_state_dict(stored_weights(folder))
    causal = causal_of(offline)
    weights = {name: value.contiguous() for name, value in causal.state_dict().items()}
    copy_with_weights(folder, options.out, weights, leave_out=("graph.onnx", "README.md"))
    write_json(options.out, content | {"separator": {"kind": KIND, "config": vars(causal.config)}})
    print(options.out)


if __name__ == "__main__":
    run_script(main)
