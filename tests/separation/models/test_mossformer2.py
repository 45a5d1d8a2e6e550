"""MossFormer2 gives the masks of the released network, with its weights."""

import re
from typing import Any

import numpy as np
import torch
from parity.filling import fill, glide
from parity.recorded import Recorded
from torch import Tensor

from qsep.separation.networks.analyses.filterbank import GatedReadout
from qsep.separation.networks.backbones import mossformer2
from qsep.separation.networks.composition import no_query

RECORDED = Recorded("mossformer2")
LAYERS = "mdl.intra_mdl.mossformerM."
# Names of the released mask network's weights, and here: of the backbone, or of the readout.
PROJECTIONS = {"0": "norm", "1": "linear", "3.sequential.1.conv": "conv"}
NAMES = (
    (r"norm\.", "backbone.first."),
    (r"conv1d_encoder\.", "backbone.bottleneck."),
    (r"pos_enc\.scale", "backbone.place_scale"),
    (r"mdl\.intra_mdl\.norm\.", "backbone.last."),
    (r"mdl\.intra_norm\.", "backbone.outer."),
    (r"prelu\.", "readout.spread.active."),
    (r"conv1d_out\.", "readout.spread.out."),
    (r"output\.0\.", "readout.value."),
    (r"output_gate\.0\.", "readout.gate."),
    (r"conv1_decoder\.", "readout.out."),
    (r"layers\.(\d+)\.qk_offset_scale\.gamma", r"backbone.attentions.\1.scales"),
    (r"layers\.(\d+)\.qk_offset_scale\.beta", r"backbone.attentions.\1.shifts"),
    (r"layers\.(\d+)\.to_hidden\.mdl\.", r"backbone.attentions.\1.hidden."),
    (r"layers\.(\d+)\.to_qk\.mdl\.", r"backbone.attentions.\1.keys."),
    (r"layers\.(\d+)\.to_out\.mdl\.", r"backbone.attentions.\1.out."),
    (r"fsmn\.(\d+)\.conv1\.0\.", r"backbone.memories.\1.reduce.0."),
    (r"fsmn\.(\d+)\.conv1\.1\.", r"backbone.memories.\1.reduce.1."),
    (r"fsmn\.(\d+)\.norm1\.", r"backbone.memories.\1.reduce.2."),
    (r"fsmn\.(\d+)\.gated_fsmn\.to_u\.mdl\.", r"backbone.memories.\1.remembers."),
    (r"fsmn\.(\d+)\.gated_fsmn\.to_v\.mdl\.", r"backbone.memories.\1.gates."),
    (r"fsmn\.(\d+)\.gated_fsmn\.fsmn\.linear\.", r"backbone.memories.\1.enter."),
    (r"fsmn\.(\d+)\.gated_fsmn\.fsmn\.project\.", r"backbone.memories.\1.project."),
    (r"fsmn\.(\d+)\.norm2\.", r"backbone.memories.\1.expand.0."),
    (r"fsmn\.(\d+)\.conv2\.", r"backbone.memories.\1.expand.1."),
)


def named_here(key: str) -> str:
    name = key.removeprefix(LAYERS)
    memory = re.fullmatch(r"fsmn\.(\d+)\.gated_fsmn\.fsmn\.conv\.(\w+)(\d)\.(\w+)", name)
    if memory:
        layer, kind, number, rest = memory.groups()
        part = {"conv": "convs", "norm": "norms", "prelu": "actives"}[kind]
        return f"backbone.memories.{layer}.memory.{part}.{int(number) - 1}.{rest}"
    for pattern, ours in NAMES:
        renamed, hits = re.subn(f"^{pattern}", ours, name)
        if hits:
            for theirs, part in PROJECTIONS.items():
                start = r"^(.*\.(?:hidden|keys|out|remembers|gates))\."
                if ".attentions." in renamed or "remembers" in renamed or "gates" in renamed:
                    renamed = re.sub(rf"{start}{re.escape(theirs)}\.", rf"\1.{part}.", renamed)
            return re.sub(r"norm\.g$", "norm.gain", renamed)
    raise AssertionError(key)


def test_the_masks_equal_those_of_the_released_network() -> None:
    width = RECORDED.document["settings"]["in_channels"]
    config = mossformer2.Config(num_layers=RECORDED.document["settings"]["num_blocks"])
    network: Any = torch.nn.ModuleDict(
        {
            "backbone": mossformer2.build(config, width, 1, 2, False),
            "readout": GatedReadout(width, 2, width),
        }
    ).eval()
    expected = network.state_dict()
    weights: dict[str, Tensor] = {}
    for key, value in fill(RECORDED.document).items():
        name = named_here(key)
        weights[name] = value.reshape(expected[name].shape)  # kernels of one step, or of two axes
    network.load_state_dict(weights)  # every weight, and no other
    rows = glide(16 * 300, 16000).reshape(1, 300, 16)
    features = torch.from_numpy(np.ascontiguousarray(rows.transpose(0, 2, 1))).relu()
    with torch.inference_mode():
        hidden = network["backbone"](features[:, :, None], no_query)
        masks = network["readout"](hidden)[0].relu()
    recorded = RECORDED.values("masks")
    assert recorded.max() > 0.1
    # 1e-5: two layers in float32
    torch.testing.assert_close(masks[..., ::3], recorded, atol=1e-5, rtol=1e-4)
