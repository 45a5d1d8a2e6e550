"""Checkpoints of TIGER: JusperLee/TIGER-DnR and JusperLee/TIGER-speech on the hub, model.safetensors.

TIGER-DnR is three networks, `dialog`, `effect` and `music`, TIGER-speech a single one. Layers of single bands
are put together by width, as `networks/blocks/band_split.py` computes them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qsep.queries.files.json_files import json_content

from ...networks.analyses.bands import adjacent_bands, widths_in_bins
from .converted import Converted, below, renamed_by, speaker_names

STEMS = ("dialog", "effect", "music")
DNR = 44100, "tiger-dnr"  # sample rate in Hz, and scheme of its bands
SPEECH = 16000, "tiger"
HOPS_PER_WINDOW = 4
NUM_SPEAKERS = 2
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
    """Whether the file has the three networks, or a single one."""
    return is_dnr(weights) or ("BN.0.0.weight" in weights and "mask.0.1.weight" in weights)


def is_dnr(weights: dict[str, Tensor]) -> bool:
    """Whether the file has the three networks."""
    return all(f"{stem}.BN.0.0.weight" in weights for stem in STEMS)


def convert(weights: dict[str, Tensor], path: Path) -> Converted:
    """Separator, encoder and weights. ValueError with one line if anything does not fit; no weights are
    dropped silently."""
    name = "TIGER-DnR" if is_dnr(weights) else "TIGER-speech"
    num_iterations = None if is_dnr(weights) else iterations_beside(path)
    try:
        return dnr(weights) if is_dnr(weights) else speech(weights, num_iterations)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: no weights of {name} ({error})") from error


def dnr(weights: dict[str, Tensor]) -> Converted:
    """TIGER-DnR. The number of iterations, which share weights, is the default's. KeyError, IndexError,
    RuntimeError or ValueError for weights that are missing or of another shape."""
    first = below(weights, f"{STEMS[0]}.")
    num_bins = check_bands(first, *DNR)
    settings = {
        "stems": list(STEMS),
        "num_outputs": num_outputs_of(first),
        "sample_rate": DNR[0],
        "window_samples": 2 * (num_bins - 1),
        "hop_samples": 2 * (num_bins - 1) // HOPS_PER_WINDOW,
        "scheme": DNR[1],
        "width": len(first["BN.0.1.weight"]),
        "network": network_settings(first),
    }
    converted = {
        f"networks.{index}.{name}": value
        for index, stem in enumerate(STEMS)
        for name, value in network_of(below(weights, f"{stem}."), *DNR).items()
    }
    # Weights of none of the three are reported by the strict loader.
    prefixes = tuple(f"{stem}." for stem in STEMS)
    rest = {key: value for key, value in weights.items() if not key.startswith(prefixes)}
    labels = {"labels": list(STEMS)}
    provenance = {"recipe": "TIGER-DnR", "seed": None, "step": None}
    return Converted("tiger_dnr", settings, "labels", labels, converted | rest, provenance)


def speech(weights: dict[str, Tensor], num_iterations: int | None) -> Converted:
    """TIGER-speech. num_iterations: None for the default. Raises as `dnr`, also for more or fewer speakers
    than two."""
    num_bins = check_bands(weights, *SPEECH)
    if (num_outputs := num_outputs_of(weights)) != NUM_SPEAKERS:
        raise ValueError(f"made for {num_outputs} speakers; expected {NUM_SPEAKERS}")
    backbone = {"kind": "tiger"} | network_settings(weights)
    if num_iterations is not None:
        backbone["num_iterations"] = num_iterations
    speakers = speaker_names(NUM_SPEAKERS)
    settings = {
        "speakers": speakers,
        "sample_rate": SPEECH[0],
        "analysis": {
            "kind": "bands",
            "window_samples": 2 * (num_bins - 1),
            "hop_samples": 2 * (num_bins - 1) // HOPS_PER_WINDOW,
            "scheme": SPEECH[1],
            "width": len(weights["BN.0.1.weight"]),
            "readout": "linear",
            "shares": NUM_SPEAKERS,
            "released": True,
        },
        "backbone": backbone,
        "head": {"kind": "complex_mask", "sum_to_one": True},
    }
    parts = {"split.": "analysis.split.", "separator.": "backbone.", "readout.": "readout."}
    converted = {}
    for name, value in network_of(weights, *SPEECH).items():
        part = next((part for part in parts if name.startswith(part)), "")
        value = by_speaker(value) if name.startswith("readout.outs.") else value
        converted[parts.get(part, "") + name.removeprefix(part)] = value
    provenance = {"recipe": "TIGER-speech", "seed": None, "step": None}
    return Converted("speakers", settings, "labels", {"labels": speakers}, converted, provenance)


def by_speaker(rows: Tensor) -> Tensor:
    """Weights of mask layers (g, real or imaginary part x speaker x bin, ...) with the speaker first, which
    is a head's order of maps. With two speakers a layer makes either all values or all gates of a band."""
    maps = rows.unflatten(1, (2, NUM_SPEAKERS, -1))
    return maps.transpose(1, 2).flatten(1, 3)


def iterations_beside(path: Path) -> int | None:
    """The number of iterations by the config.json that lies beside the file on the hub; None without one.
    ValueError if it states none that can be."""
    config = path.parent / "config.json"
    if not config.is_file():
        return None
    try:
        content = json_content(config)
    except (OSError, ValueError) as error:
        raise ValueError(f"{config}: cannot be read ({error})") from error
    number = content.get("num_blocks") if isinstance(content, dict) else None
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{config}: expected num_blocks, 1 or more, as beside TIGER-speech")
    return number


def check_bands(network: dict[str, Tensor], sample_rate: int, scheme: str) -> int:
    """The number of bins by the bands' weights. ValueError for bands of another scheme."""
    num_bands = count(network, r"BN\.(\d+)\.0\.weight")
    widths = [len(network[f"BN.{band}.0.weight"]) // 2 for band in range(num_bands)]
    num_bins = sum(widths)
    if widths != widths_in_bins(scheme, num_bins, sample_rate):
        raise ValueError(f"expected the bands of {scheme} at {sample_rate} Hz, got {widths}")
    return num_bins


def num_outputs_of(network: dict[str, Tensor]) -> int:
    """The number of outputs, which share the channels equally."""
    return len(network["BN.0.1.weight"]) // network["mask.0.1.weight"].shape[1]


def network_settings(network: dict[str, Tensor]) -> dict[str, Any]:
    """The settings of the separator by the weights' shapes."""
    path = "separator.freq_path"
    return {
        "hidden_channels": len(network[f"{path}.0.proj_1x1.conv.weight"]),
        "num_levels": count(network, rf"{path}\.0\.spp_dw\.(\d+)\.conv\.weight"),
        "num_heads": count(network, rf"{path}\.1\.Queries\.(\d+)\.conv\.weight"),
        "key_channels": len(network[f"{path}.1.Queries.0.conv.weight"]),
        "released_fusion": True,
    }


def count(weights: dict[str, Tensor], pattern: str) -> int:
    """The number of keys that match the pattern as a whole."""
    return sum(re.fullmatch(pattern, key) is not None for key in weights)


def network_of(weights: dict[str, Tensor], sample_rate: int, scheme: str) -> dict[str, Tensor]:
    """One network's weights by the names of `models.tiger_dnr.StemNetwork`. KeyError for a missing one."""
    rest = dict(weights)
    converted: dict[str, Tensor] = {}
    num_outputs, num_bins = num_outputs_of(weights), check_bands(weights, sample_rate, scheme)
    bands = adjacent_bands(widths_in_bins(scheme, num_bins, sample_rate))
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
            name = renamed_by(LAYERS, key.removeprefix(start))
            for pattern, ending in ENDINGS:
                name = re.sub(pattern, ending, name)
            return f"separator.{ours}.{name}"
    return key
