"""What computes a separator's networks once it is trained: torch, OpenVINO or ONNX Runtime.

A network takes part if its class says `varying_axes`: the axes of its inputs whose sizes change from
call to call. Its forward then takes tensors and returns one, all with axis 0 for items that do not touch
each other, and draws no random numbers in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from .rewrite import fused, replace_weights

RUNTIMES = {
    "torch": (),
    "openvino": ("openvino", "onnxscript"),
    "onnx": ("onnxruntime", "onnxscript"),
}
PRECISIONS = ("fp32", "bf16")


def check_runtime(runtime: str, precision: str, device: str) -> None:
    """Raise ValueError for what cannot be had; device as in `load`."""
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime {runtime!r} is not one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if (runtime, precision) == ("onnx", "bf16"):
        raise ValueError("ONNX Runtime computes in fp32; for bf16 take --runtime openvino or torch")
    if any(find_spec(package) is None for package in RUNTIMES[runtime]):
        raise ValueError(f"runtime {runtime} needs more packages: pip install 'qsep[{runtime}]'")
    if runtime != "torch" and device not in ("auto", "cpu"):
        raise ValueError(f"runtime {runtime} works on the CPU, not on {device!r}; add --device cpu")


def accelerate(
    separator: Any, runtime: str = "torch", precision: str = "fp32", weights: str = ""
) -> None:
    """Let the runtime compute the separator's networks from now on, with the weights of this moment, which
    may be shared and must not change.

    weights: a digest of the separator's weights where it is known, which saves reading them all.
    Only in evaluation mode and without gradients; otherwise the networks are as they were. bf16: in
    bfloat16 inside, which is faster where the CPU has instructions for it.
    """
    networks = networks_of(separator)
    if not networks and (runtime, precision) != ("torch", "fp32"):
        raise ValueError(
            f"{type(separator).__name__} has no network for another runtime or precision; "
            "take --runtime torch --precision fp32"
        )
    for place, network in enumerate(networks):
        own = f"{weights}, network {place}" if weights else ""
        network.forward = InPlaceOf(network, runner(network, runtime, precision, own))


def networks_of(module: nn.Module) -> list[nn.Module]:
    """The outermost modules that take part."""
    if hasattr(module, "varying_axes"):
        return [module]
    return [network for child in module.children() for network in networks_of(child)]


def runner(network: nn.Module, runtime: str, precision: str, weights: str) -> Callable[..., Tensor]:
    if runtime == "torch":
        return TorchRunner(network, torch.bfloat16 if precision == "bf16" else torch.float32)
    from .onnx_graphs import GraphRunner

    return GraphRunner(network, runtime, precision, weights)


class InPlaceOf:
    """A network's forward: what runs it for use, and what it was for all else."""

    def __init__(self, network: nn.Module, run: Callable[..., Tensor]) -> None:
        self.network, self.run = network, run

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        if self.network.training or torch.is_grad_enabled():
            return type(self.network).forward(self.network, *inputs)
        return self.run(*(tensor for tensor in inputs if tensor is not None))


class TorchRunner:
    """A network rewritten by `fused`, in one data type."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # to share weights
        self.network, self.dtype = fused(network), dtype
        replace_weights(self.network, self.own)

    def __call__(self, *inputs: Tensor) -> Tensor:
        return self.network(*map(self.own, inputs)).float()

    def own(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor
