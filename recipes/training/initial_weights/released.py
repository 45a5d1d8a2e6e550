"""Weights of released networks as a start for `queried`, whose backbones have the same layers.

HTDemucs, TIGER-DnR, TIGER-speech and MossFormer2, by a released file, a name of the registry or a converted
folder. Weights are taken where names and shapes fit. All others keep their initial values, the query's entry
among them: FiLM's last layers start at zero, so that at first the backbone computes what the released one
does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import qsep.separation.networks.backbones
from qsep.queries.files.json_files import json_content
from qsep.separation.components import from_settings, load_component
from qsep.separation.models.queried import OUTPUTS
from qsep.separation.published.converters.converted import below
from qsep.separation.published.converters.mossformer2 import weight_file
from qsep.separation.published.reader import read_converted
from qsep.separation.storage.weights import stored_weights

DNR_STEM = "effect"  # whose network of TIGER-DnR is taken: the one for sounds of all kinds


@dataclass(frozen=True)
class Released:
    """backbone: its settings, "kind" included. weights: by the names that `queried` has for them."""

    sample_rate: int
    backbone: dict[str, Any]
    weights: dict[str, Tensor]


def released(source: Path) -> Released | None:
    """What a released file or a converted folder offers; None for folders of other separators.

    Raises ValueError for files of networks that are no backbones of `queried`.
    """
    if source.is_file():
        converted = read_converted(weight_file(source))
        offer = offered(converted.kind, converted.settings, converted.weights)
        if offer is None:
            raise ValueError(
                f"train.start_from: {source} is of {converted.kind}, no backbone of queried"
            )
        return offer
    path = source / "config.json"
    content = json_content(path) if path.is_file() else {}
    separator = content.get("separator") if isinstance(content, dict) else None
    if not isinstance(separator, dict) or separator.get("kind") not in OFFERS:
        return None
    return offered(separator["kind"], separator["config"], stored_weights(source))


def offered(kind: str, settings: dict[str, Any], weights: dict[str, Tensor]) -> Released | None:
    """Of a separator of this kind; None for kinds that offer nothing."""
    return OFFERS[kind](settings, weights) if kind in OFFERS else None


def of_htdemucs(settings: dict[str, Any], weights: dict[str, Tensor]) -> Released:
    """Target and residual start as the mean of the stems."""
    num_stems, depth = len(settings["stems"]), settings["network"].get("depth", 4)
    backbone = {}
    for name, value in below(weights, "network.").items():
        if name.startswith(
            tuple(f"{side}.{depth - 1}.conv_tr." for side in ("decoder", "tdecoder"))
        ):
            outputs = 1 if name.endswith("weight") else 0  # axis of a transposed convolution
            mean = value.unflatten(outputs, (num_stems, -1)).mean(dim=outputs)
            value = mean.repeat(*[1] * outputs, OUTPUTS, *[1] * (mean.dim() - outputs - 1))
        backbone[f"backbone.{name}"] = value
    kind = {"kind": "htdemucs"} | settings["network"]
    return Released(settings["sample_rate"], kind, backbone)


def of_tiger_dnr(settings: dict[str, Any], weights: dict[str, Tensor]) -> Released:
    """Of the network for DNR_STEM, or the first."""
    stems = list(settings["stems"])
    index = stems.index(DNR_STEM) if DNR_STEM in stems else 0
    parts = {"split": "analysis.split", "separator": "backbone", "readout": "readout"}
    renamed = {
        f"{ours}.{name}": value
        for theirs, ours in parts.items()
        for name, value in below(weights, f"networks.{index}.{theirs}.").items()
    }
    return Released(settings["sample_rate"], {"kind": "tiger"} | settings["network"], renamed)


def of_speakers(settings: dict[str, Any], weights: dict[str, Tensor]) -> Released:
    """Its parts are those of `queried`; the first speaker starts as target, the second as residual."""
    return Released(settings["sample_rate"], settings["backbone"], weights)


OFFERS = {"htdemucs": of_htdemucs, "tiger_dnr": of_tiger_dnr, "speakers": of_speakers}


def fitting(offer: Released, fresh: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """The offered weights that a model with the weights `fresh` has too, in the same shapes. ValueError if
    none of the backbone's fits."""
    taken = {
        name: value.to(fresh[name].dtype)
        for name, value in offer.weights.items()
        if name in fresh and value.shape == fresh[name].shape
    }
    if not any(name.startswith("backbone.") for name in taken):
        raise ValueError(
            f"train.start_from: no weight of {source} fits this backbone; its own is {offer.backbone}"
        )
    return taken


def report(
    offer: Released, taken: dict[str, Tensor], fresh: dict[str, Tensor], config: Any, source: Path
) -> list[str]:
    """Lines on what was taken and what not, and on settings that differ. config: of the model."""
    totals, numbers = (
        Counter(name.partition(".")[0] for name in weights) for weights in (fresh, taken)
    )
    counts = ", ".join(f"{numbers[part]} of {total} of {part}" for part, total in totals.items())
    lines = [f"start from {source}: weights {counts}"]
    left = [name for name in fresh if name not in taken and numbers[name.partition(".")[0]]]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        lines.append(f"not taken, of other shapes or names there: {', '.join(left[:3])}{more}")
    here, there = (complete(settings) for settings in (config.backbone, offer.backbone))
    here["sample_rate"], there["sample_rate"] = config.sample_rate, offer.sample_rate
    lines += [
        f"{name} is {there[name]} there, {value} here"
        for name, value in here.items()
        if name in there and there[name] != value
    ]
    return lines


def complete(backbone: dict[str, Any]) -> dict[str, Any]:
    """All settings of a backbone."""
    settings = {name: value for name, value in backbone.items() if name != "kind"}
    module = load_component(qsep.separation.networks.backbones, backbone["kind"])
    return asdict(from_settings(module.Config, settings))
