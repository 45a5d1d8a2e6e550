"""DeFTAN-II gives the maps of the released network, with its weights."""

import re

import torch
from parity.filling import fill
from parity.recorded import Recorded
from parity.take_deftan import features
from torch import Tensor

from qsep.separation.networks.backbones import deftan
from qsep.separation.networks.composition import no_query

RECORDED = Recorded("deftan")
NAMES = (  # of the released weights, and here
    (r"^up_conv\.2\.blocks\.", "first.2.layers."),
    (r"^up_conv\.", "first."),
    (r"^down_conv\.1\.blocks\.", "last.1.layers."),
    (r"^down_conv\.", "last."),
    (r"\.F_", ".along_bins."),
    (r"\.T_", ".along_frames."),
    (r"inv\.blocks\.", "enter.layers."),
    (r"att\.norm", "attention_norm"),
    (r"att\.fn\.cv_qk\.0", "attention.emphasis"),
    (r"att\.fn\.to_q\.", "attention.query."),
    (r"att\.fn\.to_k\.", "attention.key."),
    (r"att\.fn\.to_v\.", "attention.value."),
    (r"att\.fn\.to_out\.0", "attention.out"),
    (r"ffw\.norm", "feed_norm"),
    (r"ffw\.fn\.PW1\.0", "feed.plain"),
    (r"ffw\.fn\.PW2\.0", "feed.local"),
    (r"ffw\.fn\.DW_Conv", "feed.conv"),
    (r"ffw\.fn\.PW3\.0", "feed.out"),
    (r"\blinear\b", "leave"),
    (r"norm\.gamma$", "norm.weight"),
    (r"norm\.beta$", "norm.bias"),
)


def test_the_maps_equal_those_of_the_released_network() -> None:
    settings = RECORDED.document["settings"]
    config = deftan.Config(
        num_blocks=settings["n_layers"],
        channels=settings["emb_dim"],
        unfolded=settings["emb_ks"],
        num_heads=settings["n_head"],
        head_channels=settings["att_dim"],
        hidden_channels=settings["hidden_dim"],
    )
    network = deftan.build(
        config, 2 * settings["n_mics"], features().shape[-1], 2 * settings["n_srcs"], False
    ).eval()
    expected = network.state_dict()
    weights: dict[str, Tensor] = {}
    for key, value in fill(RECORDED.document).items():
        name = key
        for pattern, ours in NAMES:
            name = re.sub(pattern, ours, name)
        # There frames come before bins.
        turned = value.transpose(2, 3) if expected[name].dim() == 4 else value
        weights[name] = turned.reshape(expected[name].shape)
    network.load_state_dict(weights)  # every weight, and no other
    with torch.inference_mode():
        maps = network(features().transpose(2, 3), no_query)
    # 1e-5 of values around 1: two blocks in float32
    torch.testing.assert_close(maps.transpose(2, 3), RECORDED.values("maps"), atol=1e-5, rtol=1e-4)
    assert RECORDED.values("maps").std() > 0.1
