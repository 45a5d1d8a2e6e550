"""Averages the weights of checkpoints of one network that were trained from each other.

    python -m qsep.recipes.training.initial_weights.average FOLDER=0.5 FOLDER=0.5 -o FOLDER [--kernels int8]

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time" (2022), eq. 1. All but the weights is copied from the last folder. --kernels: the
type in which kernels are stored, as train.kernels of a recipe; by default they are stored as they were read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from qsep.separation.storage.checkpoint import with_kernels
from qsep.separation.storage.weights import copy_with_weights, stored_weights

from ...errors import run_script
from ..config import KERNELS


def average(states: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Sum of the floating-point tensors times the shares, in the last state's dtypes; its other tensors as
    they are.

    states: of one network; shares: one for each, not negative, normalised to a sum of 1. Raises ValueError
    for states of different networks and for shares that sum to 0.
    """
    total = sum(shares)
    if min(shares) < 0 or total <= 0:
        raise ValueError(
            f"shares are {', '.join(map(str, shares))}; expected none below 0, and one above"
        )
    last = states[-1]
    shapes = {key: value.shape for key, value in last.items()}
    if any({key: value.shape for key, value in state.items()} != shapes for state in states):
        raise ValueError("the folders hold weights of different networks")
    result = {}
    for key, value in last.items():
        if value.is_floating_point():
            terms = [
                state[key].double() * (share / total)
                for state, share in zip(states, shares, strict=True)
            ]
            value = torch.stack(terms).sum(dim=0).to(value.dtype)
        result[key] = value.contiguous()
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoints", nargs="+", metavar="FOLDER=SHARE")
    parser.add_argument("-o", "--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--kernels", choices=KERNELS)
    options = parser.parse_args(arguments)
    pairs = [text.rpartition("=") for text in options.checkpoints]
    try:
        folders, shares = (
            [Path(folder) for folder, _, _ in pairs],
            [float(share) for _, _, share in pairs],
        )
        weights = average([stored_weights(folder) for folder in folders], shares)
        if options.kernels:
            weights = with_kernels(getattr(torch, options.kernels), weights)
        copy_with_weights(folders[-1], options.out, weights)
    except (ValueError, OSError) as error:
        sys.exit(f"qsep: error: {error}")
    print(options.out)


if __name__ == "__main__":
    run_script(main)
