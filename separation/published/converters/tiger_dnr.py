"""Checkpoints of TIGER-DnR: JusperLee/TIGER-DnR on the hub, model.safetensors.

Three networks, `dialog`, `effect` and `music`. Layers of single bands are put together by width, as
`networks/blocks/band_split.py` computes them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...networks.analyses.bands import adjacent_bands, widths_in_bins
from .converted import Converted, below

STEMS = ("dialog", "effect", "music")
SAMPLE_RATE, SCHEME = 44100, "tiger-dnr"
HOPS_PER_WINDOW = 4
PATHS = {"freq_path": "along_bands", "frame_path": "along_frames"}
# Names of a path's layers, released to here; the rest of a name is kept.
LAYERS = (
    (r"0\.proj_1x1\.conv", "scales.expand.0"),
    (r"0\.proj_1x1\.norm", "scales.expand.1"),
    (r"0\.proj_1x1\.act", "scales.expand.2"),
    (r"0\.spp_dw\.(\d+)\.conv", r"scales.downs.\1.0"),
    (r"0\.spp_dw\.(\d+)\.norm", r"scales.downs.\1.1"),
    (r"0\.globalatt\.fc1\.conv", "scales.mix.0.0"),
    (r"0\.globalatt\.fc1\.norm", "scales.mix.0.1"),
    (r"0\.globalatt\.dwconv", "scales.mix.1"),
    (r"0\.globalatt\.fc2\.conv", "scales.mix.3.0"),
    (r"0\.globalatt\.fc2\.norm", "scales.mix.3.1"),
    (r"0\.loc_glo_fus\.(\d+)\.local_embedding", r"scales.selects.\1.local"),
    (r"0\.loc_glo_fus\.(\d+)\.global_embedding", r"scales.selects.\1.shift"),
    (r"0\.loc_glo_fus\.(\d+)\.global_act", r"scales.selects.\1.gate"),
    (r"0\.last_layer\.(\d+)\.local_embedding", r"scales.fuses.\1.local"),
    (r"0\.last_layer\.(\d+)\.global_embedding", r"scales.fuses.\1.shift"),
    (r"0\.last_layer\.(\d+)\.global_act", r"scales.fuses.\1.gate"),
    (r"0\.res_conv", "scales.reduce"),
    (r"1\.Queries\.(\d+)", r"attention.heads.\1.0"),
    (r"1\.Keys\.(\d+)", r"attention.heads.\1.1"),
    (r"1\.Values\.(\d+)", r"attention.heads.\1.2"),
    (r"1\.attn_concat_proj", "attention.out"),
    (r"2(?=\.(?:gamma|beta)$)", "norm.norm"),
)
# The rest of a name after that: layers of a Sequential, and of a norm over channels.
ENDINGS = (
    (r"(selects|fuses)\.(\d+)\.(\w+)\.conv\.", r"\1.\2.\3.0."),
    (r"(selects|fuses)\.(\d+)\.(\w+)\.norm\.", r"\1.\2.\3.1."),
    (r"(attention\.(?:heads\.\d+\.\d|out))\.conv\.", r"\1.0."),
    (r"(attention\.(?:heads\.\d+\.\d|out))\.act\.", r"\1.1."),
    (r"(attention\.(?:heads\.\d+\.\d|out))\.norm\.", r"\1.2.norm."),
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
)


def recognises(weights: dict[str, Tensor]) -> bool:
    """Whether the file has the three networks."""
    return all(f"{stem}.BN.0.0.weight" in weights for stem in STEMS)


def convert(weights: dict[str, Tensor], path: Path) -> Converted:
    """Separator, encoder and weights. ValueError with one line if anything does not fit; no weights are
    dropped silently."""
    try:
        settings = settings_of(weights)
        converted = {
            f"networks.{index}.{name}": value
            for index, stem in enumerate(STEMS)
            for name, value in network_of(below(weights, f"{stem}."), settings).items()
        }
    except (KeyError, IndexError, RuntimeError) as error:
        raise ValueError(f"{path}: no weights of TIGER-DnR ({error})") from error
    # Weights of none of the three are reported by the strict loader.
    prefixes = tuple(f"{stem}." for stem in STEMS)
    rest = {key: value for key, value in weights.items() if not key.startswith(prefixes)}
    return Converted(
        "tiger_dnr",
        settings,
        "labels",
        {"labels": list(STEMS)},
        converted | rest,
        {"recipe": "TIGER-DnR", "seed": None, "step": None},
    )


def settings_of(weights: dict[str, Tensor]) -> dict[str, Any]:
    """The separator's settings by the weights' shapes; the number of iterations, which share weights, is the
    default's. ValueError for bands of another scheme."""
    dialog = below(weights, "dialog.")
    num_bands = count(dialog, r"BN\.(\d+)\.0\.weight")
    widths = [len(dialog[f"BN.{band}.0.weight"]) // 2 for band in range(num_bands)]
    num_bins = sum(widths)
    if widths != widths_in_bins(SCHEME, num_bins, SAMPLE_RATE):
        raise ValueError(f"expected the bands of TIGER-DnR at {SAMPLE_RATE} Hz, got {widths}")
    width = len(dialog["BN.0.1.weight"])
    path = "separator.freq_path"
    return {
        "stems": list(STEMS),
        "num_outputs": width // dialog["mask.0.1.weight"].shape[1],
        "sample_rate": SAMPLE_RATE,
        "window_samples": 2 * (num_bins - 1),
        "hop_samples": 2 * (num_bins - 1) // HOPS_PER_WINDOW,
        "scheme": SCHEME,
        "width": width,
        "network": {
            "hidden_channels": len(dialog[f"{path}.0.proj_1x1.conv.weight"]),
            "num_levels": count(dialog, rf"{path}\.0\.spp_dw\.(\d+)\.conv\.weight"),
            "num_heads": count(dialog, rf"{path}\.1\.Queries\.(\d+)\.conv\.weight"),
            "key_channels": len(dialog[f"{path}.1.Queries.0.conv.weight"]),
            "released_fusion": True,
        },
    }


def count(weights: dict[str, Tensor], pattern: str) -> int:
    """The number of keys that match the pattern as a whole."""
    return sum(re.fullmatch(pattern, key) is not None for key in weights)


def network_of(weights: dict[str, Tensor], settings: dict[str, Any]) -> dict[str, Tensor]:
    """One network's weights by the names of `StemNetwork`. KeyError for a missing one."""
    rest = dict(weights)
    converted: dict[str, Tensor] = {}
    num_outputs = settings["num_outputs"]
    bands = adjacent_bands(widths_in_bins(SCHEME, settings["window_samples"] // 2 + 1, SAMPLE_RATE))
    slopes = [rest.pop(f"mask.{band}.0.weight") for band in range(bands.num_bands)]
    converted["readout.slopes"] = torch.stack(slopes)[:, :, None]
    for group, members in enumerate(bands.grouped.split(bands.sizes)):
        stacked = {
            name: torch.stack([rest.pop(name.format(band)) for band in members.tolist()])
            for name in (
                *("BN.{}.0.weight", "BN.{}.0.bias", "BN.{}.1.weight", "BN.{}.1.bias"),
                *("mask.{}.1.weight", "mask.{}.1.bias"),
            )
        }
        converted[f"split.norms.{group}.gain"] = stacked["BN.{}.0.weight"][:, :, None]
        converted[f"split.norms.{group}.shift"] = stacked["BN.{}.0.bias"][:, :, None]
        converted[f"split.maps.{group}.weight"] = stacked["BN.{}.1.weight"][..., 0]
        converted[f"split.maps.{group}.bias"] = stacked["BN.{}.1.bias"][:, :, None]
        # A layer in groups becomes as many layers.
        weight = stacked["mask.{}.1.weight"][..., 0].unflatten(1, (num_outputs, -1))
        bias = stacked["mask.{}.1.bias"].unflatten(1, (num_outputs, -1))
        converted[f"readout.outs.{group}.weight"] = weight.flatten(0, 1)
        converted[f"readout.outs.{group}.bias"] = bias.flatten(0, 1)[:, :, None]
    for key, value in rest.items():
        name = renamed(key)
        is_norm = name.endswith(("norm.weight", "norm.bias")) and value.dim() == 4
        converted[name] = value.flatten() if is_norm else value
    return converted


def renamed(key: str) -> str:
    """The name here of a weight of the separator; unchanged if unknown."""
    key = key.replace("separator.concat_block.", "separator.merge.")
    for theirs, ours in PATHS.items():
        start = f"separator.{theirs}."
        if key.startswith(start):
            name = key.removeprefix(start)
            for pattern, layer in LAYERS:
                name, hits = re.subn(f"^{pattern}", layer, name)
                if hits:
                    break
            for pattern, ending in ENDINGS:
                name = re.sub(pattern, ending, name)
            return f"separator.{ours}.{name}"
    return key
