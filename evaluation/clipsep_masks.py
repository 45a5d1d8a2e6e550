"""Models of the CLIPSep family with their masks used otherwise at test than their checkpoint says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .interface import Item
from .metrics.sdr import sdr

# What noise masks of CLIPSep-NIT do at test. off: nothing, as published. all: united with the queried
# mask. best: each alone is, and the one is kept that is nearest to the target, which is an oracle.
NOISE = ("off", "all", "best")


def with_masks(model: Any, hard: bool, noise: str, num_scored: int) -> Any:
    """model: of qsep.separation, else it is left as it is. hard: masks rounded at 0.5. num_scored: how
    many samples of an item the best noise mask is chosen by.

    Returns a model, or for noise "best" an estimator; the one given where nothing changes.
    """
    separator = getattr(model, "separator", None)
    if separator is None:
        return model
    config = separator.config
    has_noise = hasattr(config, "noise")
    if noise != "off" and not has_noise:
        raise ValueError(f"noise={noise}: {model.name} has no noise masks, only CLIPSep-NIT has")
    if hard and not hasattr(config, "spectrogram"):
        raise ValueError(f"masks=hard: {model.name} is not of the CLIPSep family")
    changes: dict[str, Any] = {}
    if hasattr(config, "spectrogram"):
        changes["spectrogram"] = replace(config.spectrogram, hard_mask=hard)
    if noise == "best":
        heads = range(config.noise.num_heads)
        return BestNoise(tuple(_with_head(model, changes, head) for head in heads), num_scored)
    if has_noise:
        changes["noise"] = replace(config.noise, keep_noise=noise == "all")
    changed = replace(config, **changes)
    if changed == config:
        return model
    return _rebuilt(model, changed, separator.state_dict(), _told(hard, noise))


@dataclass(frozen=True)
class BestNoise:
    """An estimator: the answer of the model among several that has the best SDR."""

    models: tuple[Any, ...]
    num_scored: int

    @property
    def name(self) -> str:
        return self.models[0].name

    @property
    def fingerprint(self) -> str:
        return self.models[0].fingerprint

    def __call__(self, item: Item) -> Any:
        asked = item.example or item.query
        targets = [
            model.separate(item.mixture, asked, sample_rate=item.sample_rate).target
            for model in self.models
        ]
        scored = [np.asarray(target)[: self.num_scored].clip(-1, 1) for target in targets]
        scores = [sdr(answer, item.target[: self.num_scored]) for answer in scored]
        return targets[int(torch.stack(scores).argmax())]


def _with_head(model: Any, changes: dict[str, Any], head: int) -> Any:
    """The model with one of its noise masks alone, united with the queried mask."""
    config = model.separator.config
    weights = {}
    for key, value in model.separator.state_dict().items():
        if not key.startswith("noise_heads."):
            weights[key] = value
        elif key.startswith(f"noise_heads.{head}."):
            weights[key.replace(f"noise_heads.{head}.", "noise_heads.0.")] = value
    noise = replace(config.noise, keep_noise=True, num_heads=1)
    hard = changes["spectrogram"].hard_mask
    return _rebuilt(model, replace(config, **changes, noise=noise), weights, _told(hard, "best"))


def _rebuilt(model: Any, config: Any, weights: dict[str, Any], told: str) -> Any:
    from qsep.separation.api import Model

    separator = type(model.separator)(config)
    separator.load_state_dict(weights, strict=True)
    separator.to(model.device).eval()
    return Model(separator, model.encoder, f"{model.name} ({told})", f"{model.fingerprint}-{told}")


def _told(hard: bool, noise: str) -> str:
    return f"{'hard' if hard else 'soft'} masks, noise masks {noise}"
