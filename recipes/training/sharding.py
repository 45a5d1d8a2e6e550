"""Weights divided among devices, each of which keeps and trains its shards (FSDP): PyTorch's `fully_shard`.

Rajbhandari et al., "ZeRO" (arXiv 1910.02054), its third stage for a model's blocks. What a run writes has
whole tensors, as one device would write.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from .acceleration import blocks_of


def sharding_strategy(num_devices: int) -> Any:
    """Lightning Fabric's strategy that divides the weights of an Objective, see `divide`."""
    from lightning_fabric.strategies import ModelParallelStrategy

    return ModelParallelStrategy(divide, data_parallel_size=num_devices, tensor_parallel_size=1)


def divide(objective: nn.Module, mesh: Any) -> nn.Module:
    """Divide each weight by its first dimension among the devices of `mesh`, in place.

    Weights of a block are whole while the block is computed, those outside of blocks during a whole step.
    """
    from torch.distributed.fsdp import fully_shard

    for weight in objective.parameters():  # fully_shard refuses those in channels-last order
        weight.data = weight.data.contiguous()
    devices = mesh["data_parallel"]
    for block in blocks_of(objective.get_submodule("network")):
        fully_shard(block, mesh=devices)
    fully_shard(objective, mesh=devices)
    return objective


def shard_of(value: Tensor, weight: Tensor) -> Tensor:
    """The value, the same on all devices, divided as the weight is; unchanged if the weight is whole."""
    if not isinstance(weight, DTensor):
        return value
    placed = value.detach().to(weight.to_local().device)
    return distribute_tensor(placed, weight.device_mesh, weight.placements, src_data_rank=None)


def here(tensor: Tensor) -> Tensor:
    """The part of a tensor on this device, with the same memory; all of it if it is not divided."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(state: Any, keep: bool) -> Any:
    """A tensor, or a state of nested dictionaries and lists, with each divided tensor whole, on the CPU.

    All devices must ask for it together. keep: whether this device needs the result; else it is None in
    their place, to save memory.
    """
    if isinstance(state, DTensor):
        gathered = state.full_tensor()
        return gathered.cpu() if keep else None
    if isinstance(state, dict):
        return {key: whole(value, keep) for key, value in state.items()}
    if isinstance(state, list):
        return [whole(value, keep) for value in state]
    return state


def divided_moments(state: dict[str, Any], weights: list[nn.Parameter]) -> dict[str, Any]:
    """The state of AdamW for `weights`, with moments divided as these are."""
    moments = {
        index: {
            name: value if name == "step" else shard_of(value, weights[index])
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    return {**state, "state": moments}
