"""Batch normalisation with the statistics of the whole batch, across devices.

PyTorch's SyncBatchNorm computes the same on GPUs alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def synchronise(network: nn.Module, num_devices: int) -> None:
    """Let the network's batch norms use the statistics of all devices, whose parts are equally large."""
    norms: list[Any] = [module for module in network.modules() if isinstance(module, NORMS)]
    for norm in norms:
        norm.forward = partial(normalise, norm, num_devices=num_devices)


def normalise(norm: nn.BatchNorm1d | nn.BatchNorm2d, hidden: Tensor, num_devices: int) -> Tensor:
    """The forward pass of a batch norm on this device's part (b, c, ...), in training with all parts'
    statistics, computed in float32."""
    if not norm.training:
        return type(norm).forward(norm, hidden)
    values = hidden.float()
    dims = [0, *range(2, values.dim())]
    columns = (1, -1, *[1] * (values.dim() - 2))
    number = num_devices * values.numel() // values.shape[1]
    mean = all_reduce(values.sum(dim=dims)) / number
    centred = values - mean.view(columns)
    variance = all_reduce(centred.square().sum(dim=dims)) / number
    if norm.running_mean is not None and norm.running_var is not None:
        update_running(norm, mean.detach(), variance.detach() * number / (number - 1))
    normed = centred * (variance + norm.eps).rsqrt().view(columns)
    if norm.affine:
        normed = normed * norm.weight.view(columns) + norm.bias.view(columns)
    return normed.to(hidden.dtype)


@torch.no_grad()  # statistics are not trained
def update_running(
    norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, unbiased_variance: Tensor
) -> None:
    """Include a batch's statistics (c,) in the norm's running ones, as PyTorch does."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(unbiased_variance, share)
