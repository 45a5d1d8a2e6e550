"""A network as an ONNX graph whose weights keep their names, stored with or without the weights."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..light.graph_separator import METADATA
from ..storage.temporary import write_atomically

if TYPE_CHECKING:
    import onnx_ir


@dataclass(frozen=True)
class Graph:
    """model: a graph that takes its weights as further inputs. weights: these, in the inputs' order."""

    model: onnx_ir.Model
    weights: Mapping[str, Tensor]


class WithWeights(nn.Module):
    """A module that takes its weights as arguments, so that tracing folds none of them into constants:
    batch norms stay, and every weight is an input of the graph with its own name."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.held = [module]  # in a list, so that its weights are not this module's
        self.names = names

    def forward(self, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Any:
        """The module's outputs for the inputs, with these weights."""
        named = dict(zip(self.names, weights, strict=True))
        return torch.func.functional_call(self.held[0], named, tuple(inputs))


def trace(
    module: nn.Module,
    examples: Mapping[str, Tensor],
    outputs: Sequence[str],
    varying: Mapping[str, Sequence[int]],
    about: Mapping[str, Any],
) -> Graph:
    """The graph of a module in evaluation mode that wraps a single network; weights have the network's names.

    examples: an input for each argument, in order, whose varying axes are 2 or longer; outputs: names of
    what it returns. about: metadata of the graph, values for JSON. Raises ValueError where onnxscript
    is not installed.
    """
    if find_spec("onnxscript") is None:
        raise ValueError("exporting needs one more package: pip install 'qsep[onnx]'")
    weights = {
        name: value.detach().clone()
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }
    (shell,) = (f"{name}." for name, _ in module.named_children())
    names = [name.removeprefix(shell) for name in weights]
    sizes = tuple(dict.fromkeys(varying[name], torch.export.Dim.DYNAMIC) for name in examples)
    # Neither weights nor inputs may be inference tensors, which the exporter cannot trace.
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            WithWeights(module.eval(), list(weights)).eval(),
            (tuple(examples.values()), tuple(weights.values())),
            dynamic_shapes=(sizes, tuple({} for _ in weights)),
            input_names=[*examples, *names],
            output_names=list(outputs),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx_ir.Model = program.model
    for node in model.graph:
        node.metadata_props.clear()  # positions in the code, with paths of this machine
    model.metadata_props[METADATA] = json.dumps(about)
    return Graph(model, dict(zip(names, weights.values(), strict=True)))


def write_whole(graph: Graph, path: Path, half: bool = False) -> None:
    """One file with everything in it. Weights that lose nothing by it, or all matrices if `half`, are stored
    as 16-bit floats and widened where the graph is loaded."""
    import onnx_ir

    tensors: dict[str, onnx_ir.TensorProtocol] = {}
    for name, weight in graph.weights.items():
        values = weight.cpu().float().numpy()
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float16)
        exact = np.array_equal(narrow.astype(np.float32), values)
        stored = narrow if exact or (half and values.ndim > 1) else values
        tensors[name] = onnx_ir.tensor(np.ascontiguousarray(stored), name=name)
    _write(graph.model, tensors, path)


def write_without_weights(graph: Graph, path: Path, weights_file: str) -> None:
    """The graph alone, with its weights' names and shapes; the caller supplies them, as float32.

    weights_file: the name of the file beside it that holds them, a safetensors file.
    """
    import onnx_ir

    tensors: dict[str, onnx_ir.TensorProtocol] = {
        name: onnx_ir.ExternalTensor(
            weights_file,
            0,
            4 * weight.numel(),
            onnx_ir.DataType.FLOAT,
            shape=onnx_ir.Shape(weight.shape),
            name=name,
        )
        for name, weight in graph.weights.items()
    }
    _write(graph.model, tensors, path)


def _write(model: onnx_ir.Model, weights: Mapping[str, onnx_ir.TensorProtocol], path: Path) -> None:
    """The model with these in the place of its inputs that are weights; the model stays as it is."""
    import onnx_ir

    copied = model.clone()
    for value in [value for value in copied.graph.inputs if value.name in weights]:
        assert value.name
        tensor = weights[value.name]
        copied.graph.inputs.remove(value)
        if tensor.dtype == onnx_ir.DataType.FLOAT:
            value.const_value = tensor
            copied.graph.register_initializer(value)
            continue
        stored = onnx_ir.Value(
            name=f"{value.name}.half",
            type=onnx_ir.TensorType(tensor.dtype),
            shape=value.shape,
            const_value=tensor,
        )
        copied.graph.register_initializer(stored)
        widen = {"to": onnx_ir.AttrInt64("to", onnx_ir.DataType.FLOAT)}
        node = onnx_ir.Node("", "Cast", [stored], widen.values(), outputs=[value])
        copied.graph.insert_before(next(iter(copied.graph)), node)
    content = onnx_ir.to_proto(copied).SerializeToString()
    write_atomically(path, lambda temporary: temporary.write_bytes(content), os.replace)
