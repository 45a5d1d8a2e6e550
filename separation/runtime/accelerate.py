"""Runtimes for the networks of a trained separator: torch, OpenVINO or ONNX Runtime.

Networks that can be run this way declare it: see `networks/exportable.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.blocks.memory_format import to_channels_last
from ..networks.exportable import Exportable
from .rewrite import fused, replace_weights

log = logging.getLogger("qsep")

RUNTIMES = {
    "torch": (),
    "openvino": ("openvino", "onnxscript"),
    "onnx": ("onnxruntime", "onnxscript"),
}
PRECISIONS = ("fp32", "bf16")


def check_runtime(runtime: str, precision: str, device: str) -> None:
    """Raise ValueError if runtime, precision and device (as in `load`) do not work together here."""
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime {runtime!r} is not one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if (runtime, precision) == ("onnx", "bf16"):
        raise ValueError("ONNX Runtime computes in fp32; for bf16 use --runtime openvino or torch")
    if any(find_spec(package) is None for package in RUNTIMES[runtime]):
        raise ValueError(f"runtime {runtime} needs more packages: pip install 'qsep[{runtime}]'")
    if runtime != "torch" and device not in ("auto", "cpu"):
        raise ValueError(f"runtime {runtime} works on the CPU, not on {device!r}; add --device cpu")
    if (runtime, precision) == ("openvino", "bf16") and not openvino_has_bfloat16():
        raise ValueError(
            "this CPU has no bfloat16 instructions, without which OpenVINO computes in fp32: "
            "use --precision fp32, or --runtime torch"
        )


def openvino_has_bfloat16() -> bool:
    """Whether OpenVINO can compute in bfloat16 on this CPU."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def accelerate(
    separator: Any, runtime: str = "torch", precision: str = "fp32", weights: str = ""
) -> None:
    """Compute the separator's networks by another runtime, or by torch after rewriting, from now on.

    Applies in evaluation mode without gradients; otherwise the networks work as before. The weights must not
    change afterwards. precision: "bf16" computes in bfloat16, faster on CPUs with instructions for it.
    weights: a digest of the separator's weights if known, which saves computing one.
    Raises ValueError if the separator has no network that can be run this way.
    """
    networks = networks_of(separator)
    if not networks and (runtime, precision) != ("torch", "fp32"):
        raise ValueError(
            f"{type(separator).__name__} has no network for another runtime or precision; "
            "use --runtime torch --precision fp32"
        )
    for index, network in enumerate(networks):
        digest = f"{weights}, network {index}" if weights else ""
        run = runner(network, runtime, precision, digest)
        network.forward = Dispatch(network, run, is_checked=precision != "fp32")


def networks_of(module: nn.Module) -> list[nn.Module]:
    """The outermost modules that are `Exportable`."""
    if isinstance(module, Exportable):
        return [module]
    return [network for child in module.children() for network in networks_of(child)]


def runner(network: nn.Module, runtime: str, precision: str, weights: str) -> Callable[..., Tensor]:
    """A function that computes the network's forward; see `accelerate`."""
    if runtime == "torch":
        return TorchRunner(network, torch.bfloat16 if precision == "bf16" else torch.float32)
    from .onnx_graphs import GraphRunner

    return GraphRunner(network, runtime, precision, weights)


class Dispatch:
    """A network's forward: `run` for inference, the original one in training or with gradients.

    is_checked: where `run` gives NaN or infinite values, the original one, in fp32, is used with a warning.
    """

    def __init__(
        self, network: nn.Module, run: Callable[..., Tensor], is_checked: bool = False
    ) -> None:
        self.network, self.run, self.is_checked = network, run, is_checked
        self._has_warned = False

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """The network's inputs, None among them, to its output."""
        if self.network.training or torch.is_grad_enabled():
            return type(self.network).forward(self.network, *inputs)
        output = self.run(*(tensor for tensor in inputs if tensor is not None))
        if not self.is_checked or bool(output.isfinite().all()):
            return output
        if not self._has_warned:
            log.warning("NaN or infinite values in bf16: such parts are computed in fp32, slower")
            self._has_warned = True
        return type(self.network).forward(self.network, *inputs)


class TorchRunner:
    """Runs a network after rewriting it by `fused`, in one data type."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        to_channels_last(network)  # to share weights
        self.network, self.dtype = fused(network), dtype
        replace_weights(self.network, self._converted)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The network's inputs to its output, float32."""
        return self.network(*map(self._converted, inputs)).float()

    def _converted(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor
