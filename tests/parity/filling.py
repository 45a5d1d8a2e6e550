"""Weights and sounds generated from names, by the rule of the recorder of the parity fixtures.

A tensor depends on its checkpoint key alone: default_rng(crc32 of the key), one float64 draw in C order,
cast to float32. Kinds of weights differ in spread, and `gains` and `fixed` of a system adjust them.
"""

import re
import zlib
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def fill(system: dict[str, Any]) -> dict[str, Tensor]:
    """system: "keys" as (name, shape); "gains" and "fixed" as (regular expression, number)."""
    weights = {}
    for key, shape in system["keys"]:
        fixed = [number for pattern, number in system["fixed"] if re.search(pattern, key)]
        gains = [number for pattern, number in system["gains"] if re.search(pattern, key)]
        if fixed:
            weights[key] = torch.full(tuple(shape), float(fixed[0]))
        else:
            weights[key] = filled(key, tuple(shape), float(np.prod(gains)))
    return weights


@cache  # systems share most of their weights
def filled(key: str, shape: tuple[int, ...], gain: float) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.ones(shape, dtype=torch.long)
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        return as_float32(0.5 + rng.random(shape))
    normal = rng.standard_normal(shape)
    if key.endswith("running_mean"):
        return as_float32(0.1 * normal)
    if key.endswith("bias"):
        return as_float32(0.05 * gain * normal)
    if key.endswith(("alpha", "beta")):
        return as_float32(0.1 * gain * normal)
    if key.endswith(("scale", "weight_g")) or (key.endswith("weight") and len(shape) == 1):
        return as_float32(gain * (1 + 0.1 * normal))
    if key.endswith("label_net.weight"):
        return as_float32(0.5 * gain * normal)
    return as_float32(normal * (gain / np.sqrt(np.prod(shape[1:], dtype=float))))


def as_float32(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def chirp(num_samples: int, rate: int, start_hz: float, end_hz: float) -> NDArray[np.float64]:
    time = np.arange(num_samples) / rate
    seconds = num_samples / rate
    return np.sin(2 * np.pi * (start_hz * time + (end_hz - start_hz) * time**2 / (2 * seconds)))


def glide(num_samples: int, rate: int) -> NDArray[np.float32]:
    """Source a: three harmonics of a rising glide with tremolo, over faint noise."""
    time = np.arange(num_samples) / rate
    tone = sum(0.25 / h * chirp(num_samples, rate, 220 * h, 440 * h) for h in (1, 2, 3))
    tone = tone * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))
    noise = 0.01 * np.random.default_rng(11).standard_normal(num_samples)
    return (tone + noise).astype(np.float32)


def fall(num_samples: int, rate: int) -> NDArray[np.float32]:
    """Source b: a falling chirp, and noise that is on for a quarter of a second, then off for one."""
    is_on = np.floor(np.arange(num_samples) / rate * 4) % 2 == 0
    noise = np.random.default_rng(7).standard_normal(num_samples) * is_on
    tone = 0.2 * chirp(num_samples, rate, 0.3 * rate, 0.05 * rate)
    return (tone + 0.05 * noise).astype(np.float32)
