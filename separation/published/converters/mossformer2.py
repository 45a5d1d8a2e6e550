"""Checkpoints of MossFormer2_SS: alibabasglab/MossFormer2_SS_16K on the hub, last_best_checkpoint.pt.

The file holds the state of the training too, the weights under "model". A text file beside it,
last_best_checkpoint, names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .converted import Converted, renamed_by, renamed_keys, speaker_names

POINTERS = ("last_best_checkpoint", "last_checkpoint")
MAX_POINTER_BYTES = 255  # a file's name is no longer
PARALLEL = "module."  # before every name, where several devices trained
BLOCK = "mask_net.mdl.intra_mdl.mossformerM."
LAYERS, MEMORIES = (rf"{re.escape(BLOCK)}{kind}\.(\d+)\." for kind in ("layers", "fsmn"))
SAMPLE_RATE = 16000
POSITION_BASE = 10000.0
# Released names, to here; the rest of a name is kept, except for layers of PROJECTIONS.
NAMES = (
    (r"enc\.conv1d\.", "analysis.encoder."),
    (r"dec\.", "analysis.decoder."),
    (r"mask_net\.norm\.", "backbone.first."),
    (r"mask_net\.conv1d_encoder\.", "backbone.bottleneck."),
    (r"mask_net\.pos_enc\.scale", "backbone.place_scale"),
    (r"mask_net\.mdl\.intra_mdl\.norm\.", "backbone.last."),
    (r"mask_net\.mdl\.intra_norm\.", "backbone.outer."),
    (r"mask_net\.prelu\.", "readout.spread.active."),
    (r"mask_net\.conv1d_out\.", "readout.spread.out."),
    (r"mask_net\.output\.0\.", "readout.value."),
    (r"mask_net\.output_gate\.0\.", "readout.gate."),
    (r"mask_net\.conv1_decoder\.", "readout.out."),
    (rf"{LAYERS}qk_offset_scale\.gamma", r"backbone.attentions.\1.scales"),
    (rf"{LAYERS}qk_offset_scale\.beta", r"backbone.attentions.\1.shifts"),
    (rf"{LAYERS}to_hidden\.mdl\.", r"backbone.attentions.\1.hidden."),
    (rf"{LAYERS}to_qk\.mdl\.", r"backbone.attentions.\1.keys."),
    (rf"{LAYERS}to_out\.mdl\.", r"backbone.attentions.\1.out."),
    (rf"{MEMORIES}conv1\.([01])\.", r"backbone.memories.\1.reduce.\2."),
    (rf"{MEMORIES}norm1\.", r"backbone.memories.\1.reduce.2."),
    (rf"{MEMORIES}gated_fsmn\.to_u\.mdl\.", r"backbone.memories.\1.remembers."),
    (rf"{MEMORIES}gated_fsmn\.to_v\.mdl\.", r"backbone.memories.\1.gates."),
    (rf"{MEMORIES}gated_fsmn\.fsmn\.linear\.", r"backbone.memories.\1.enter."),
    (rf"{MEMORIES}gated_fsmn\.fsmn\.project\.", r"backbone.memories.\1.project."),
    (rf"{MEMORIES}norm2\.", r"backbone.memories.\1.expand.0."),
    (rf"{MEMORIES}conv2\.", r"backbone.memories.\1.expand.1."),
)
# Layers of a projection of frames: norm, linear layer, convolution.
PROJECTIONS = {"0": "norm", "1": "linear", "3.sequential.1.conv": "conv"}
PROJECTION = re.compile(
    r"(.*\.(?:attentions\.\d+\.(?:hidden|keys|out)|memories\.\d+\.(?:remembers|gates))\.)"
    r"(0|1|3\.sequential\.1\.conv)\.(\w+)"
)
# Layers of the dilated memory, each with its number, counted from one.
MEMORY = re.compile(rf"{MEMORIES}gated_fsmn\.fsmn\.conv\.(conv|norm|prelu)(\d)\.(\w+)")
MEMORY_LAYERS = {"conv": "convs", "norm": "norms", "prelu": "actives"}
# Convolutions over one step, or with an axis of length one, that are computed without it here.
FLAT = re.compile(r"backbone\.memories\.\d+\.(?:reduce\.0|expand\.1|memory\.convs\.\d)\.weight")
ROTARY = re.compile(rf"{LAYERS}rotary_pos_emb\.freqs")


def weight_file(path: Path) -> Path:
    """The file that one of POINTERS names, which lies beside it; any other path as it is. ValueError if
    there is no such file."""
    if path.name not in POINTERS or not path.is_file():
        return path
    with path.open("rb") as file:
        first_line = file.read(MAX_POINTER_BYTES).partition(b"\n")[0]
    name = first_line.decode("utf-8", "replace").strip()
    if not name or Path(name).name != name or not (path.parent / name).is_file():
        raise ValueError(
            f"{path}: names the file {name[:80]!r}, which is not beside it; fetch it too"
        )
    return path.parent / name


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """Whether the file has a filterbank and a mask network."""
    names = ("enc.conv1d.weight", "mask_net.conv1d_encoder.weight")
    return any(all(start + name in weights for name in names) for start in ("", PARALLEL))


def convert(weights: Mapping[str, Tensor], path: Path) -> Converted:
    """Separator, encoder and weights. ValueError with one line if anything does not fit; no weights are
    dropped silently."""
    released = {key.removeprefix(PARALLEL): value for key, value in weights.items()}
    try:
        settings = settings_of(released)
    except (KeyError, IndexError) as error:
        raise ValueError(f"{path}: no weights of MossFormer2_SS ({error} is missing)") from error
    names, converted = {}, {}
    for key, value in released.items():
        if key == "mask_net.pos_enc.inv_freq" or ROTARY.fullmatch(key):
            check_rates(key, value, path)  # computed here
            continue
        name = renamed(key)
        names[name] = key
        converted[name] = value[..., 0] if FLAT.fullmatch(name) and value.dim() > 2 else value
    return Converted(
        "speakers",
        settings,
        "labels",
        {"labels": settings["speakers"]},
        converted,
        {"recipe": "MossFormer2_SS", "seed": None, "step": None},
        renamed_keys(names),
    )


def settings_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The separator's settings by the weights' shapes; KeyError or IndexError for weights that are missing
    or of another shape."""
    encoder = weights["enc.conv1d.weight"]
    width = len(weights["mask_net.conv1d_encoder.weight"])
    num_speakers = len(weights["mask_net.conv1d_out.weight"]) // width
    layers = [key for key in weights if re.fullmatch(rf"{MEMORIES}norm1\.weight", key)]
    memory = f"{BLOCK}fsmn.0.gated_fsmn.fsmn.conv.conv1.weight"
    return {
        "speakers": speaker_names(num_speakers),
        "sample_rate": SAMPLE_RATE,
        "analysis": {
            "kind": "filterbank",
            "num_filters": len(encoder),
            "kernel_samples": encoder.shape[2],
            "readout": "gated",
            "centred": False,
        },
        "backbone": {
            "kind": "mossformer2",
            "num_layers": len(layers),
            "key_channels": weights[f"{BLOCK}layers.0.qk_offset_scale.gamma"].shape[1],
            "rotary_channels": 2 * len(weights[f"{BLOCK}layers.0.rotary_pos_emb.freqs"]),
            "memory_channels": len(weights[f"{BLOCK}fsmn.0.conv1.0.weight"]),
            "memory_frames": weights[memory].shape[2] // 2,
        },
        "head": {"kind": "magnitude_mask", "activation": "relu"},
    }


def check_rates(key: str, rates: Tensor, path: Path) -> None:
    """ValueError unless these rates of positions are those that are computed here."""
    steps = torch.arange(len(rates), dtype=torch.float64) / len(rates)
    # 1e-5: stored in float32
    if not torch.allclose(rates.double(), POSITION_BASE**-steps, rtol=1e-5, atol=0):
        raise ValueError(f"{path}: {key} are other rates of positions than those of MossFormer2_SS")


def renamed(key: str) -> str:
    """The name here of a released weight; unchanged if unknown."""
    if memory := MEMORY.fullmatch(key):
        layer, kind, number, rest = memory.groups()
        part = MEMORY_LAYERS[kind]
        return f"backbone.memories.{layer}.memory.{part}.{int(number) - 1}.{rest}"
    name = renamed_by(NAMES, key)
    if projection := PROJECTION.fullmatch(name):
        start, layer, rest = projection.groups()
        rest = "gain" if rest == "g" else rest
        return f"{start}{PROJECTIONS[layer]}.{rest}"
    return name
