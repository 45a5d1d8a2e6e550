"""Networks as ONNX graphs: exported at first use, kept on disk, run by OpenVINO or ONNX Runtime."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qsep.queries.cache import default_cache_path

from . import rewrite
from .rewrite import fused, turned

log = logging.getLogger("qsep")

Arrays = Sequence[NDArray[Any]]
Run = Callable[[Arrays], NDArray[np.float32]]
GRAPH = "graph.onnx"
KEPT_SECONDS = 60 * 24 * 3600
# A graph that errs more, relative to the output's root mean square, is a wrong one.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}


class GraphRunner:
    """A network by another runtime; on the CPU. One graph serves all sizes of the varying axes, and any
    number of items."""

    def __init__(self, network: nn.Module, runtime: str, precision: str, weights: str = "") -> None:
        self.network, self.precision = network, precision
        self.start = START[runtime]
        self.weights = weights or weights_digest(network)
        self.graphs: dict[str, Run] = {}
        self.making = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The network's inputs, float32 or bool, of equally many items; its output, float32.

        Items are computed one after the other, unless the network says that their number may vary: so
        one graph serves every number of channels and queries, in the memory of one.
        """
        varying: tuple[int, ...] = self.network.varying_axes  # type: ignore[assignment]
        if 0 in varying or len(inputs[0]) == 1:
            return self.compute(inputs, varying)
        items = zip(*(tensor.split(1) for tensor in inputs), strict=True)
        return torch.cat([self.compute(item, varying) for item in items])

    def compute(self, inputs: Sequence[Tensor], varying: tuple[int, ...]) -> Tensor:
        shapes = [
            tuple(0 if axis in varying else size for axis, size in enumerate(tensor.shape))
            for tensor in inputs
        ]
        key = repr(shapes)
        with self.making:
            if key not in self.graphs:
                self.graphs[key] = self.graph(key, inputs, varying)
        return self.run(self.graphs[key], inputs)

    def run(self, graph: Run, inputs: Sequence[Tensor]) -> Tensor:
        output = torch.from_numpy(
            graph([np.ascontiguousarray(tensor.numpy()) for tensor in inputs])
        )
        return output.permute(0, 3, 1, 2) if output.dim() == 4 else output

    def graph(self, key: str, inputs: Sequence[Tensor], varying: tuple[int, ...]) -> Run:
        folder = default_cache_path().parent / "graphs" / self.digest(key)
        return self.kept(folder) or self.made(folder, inputs, varying)

    def kept(self, folder: Path) -> Run | None:
        """The graph of an earlier run, if there is one that can be read."""
        if not folder.is_dir():
            return None
        try:
            graph = self.start(str(folder / GRAPH), self.precision)
        except Exception as error:  # each runtime has errors of its own; all mean the same
            log.warning("%s: cannot be read (%s); made anew", folder, str(error).splitlines()[0])
            shutil.rmtree(folder, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):  # the cache may be there to read alone
            os.utime(folder)
        return graph

    def made(self, folder: Path, inputs: Sequence[Tensor], varying: tuple[int, ...]) -> Run:
        """The graph, kept in the folder if that can be written."""
        log.warning("making a graph of a network for its first use; large ones take minutes")
        with workshop(folder.parent) as scratch:
            whole = Path(scratch) / folder.name
            whole.mkdir()
            export(self.network, inputs, varying, whole / GRAPH)
            graph = self.start(str(whole / GRAPH), self.precision)
            self.check(graph, inputs)
            try:
                os.replace(whole, folder)
                forget_unused(folder.parent)
            except OSError as error:
                if not folder.is_dir():  # another process may have made the same
                    log.warning(
                        "%s: cannot keep the graph (%s); set QSEP_CACHE to another folder",
                        *(folder, error),
                    )
        return graph

    def digest(self, key: str) -> str:
        """Of all that a graph follows from: weights, layers, code, sizes, exporter."""
        parts = [self.weights, repr(self.network), key, torch.__version__]
        layers = {inspect.getfile(type(module)) for module in self.network.modules()}
        files = [*sorted(layers), __file__, rewrite.__file__]
        parts += [Path(file).read_text("utf-8") for file in files]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def check(self, graph: Run, inputs: Sequence[Tensor]) -> None:
        expected = type(self.network).forward(self.network, *inputs)
        error = (self.run(graph, inputs) - expected).norm() / expected.norm().clamp_min(1e-12)
        if not error <= TOLERANCE[self.precision]:
            raise ValueError(
                f"the graph of the network errs by {float(error):.1e} of its output; "
                "take --runtime torch"
            )


def weights_digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, weights in network.state_dict().items():
        digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        digest.update(weights.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def workshop(folder: Path) -> TemporaryDirectory[str]:
    """Where a graph is made: in the folder, or elsewhere if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(prefix=".making-", dir=folder, ignore_cleanup_errors=True)
    except OSError:
        return TemporaryDirectory(ignore_cleanup_errors=True)


def forget_unused(folder: Path) -> None:
    """Remove the graphs that nobody used for KEPT_SECONDS: of other weights, of an earlier qsep or torch."""
    for graph in folder.iterdir():
        if graph.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(graph, ignore_errors=True)


class ChannelsLast(nn.Module):
    """Images leave as (b, k, n, c), which is how runtimes hold them: another order costs a pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        output = self.network(*inputs)
        return output.permute(0, 2, 3, 1) if output.dim() == 4 else output


def export(
    network: nn.Module, inputs: Sequence[Tensor], varying: tuple[int, ...], path: Path
) -> None:
    """Write the network, rewritten for use, as an ONNX file for inputs of these shapes.

    Its weights lie in a file beside it, which runtimes map into memory.
    """
    # Neither weights nor inputs may be inference tensors, which the exporter cannot trace.
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        examples = tuple(torch.zeros(tensor.shape, dtype=tensor.dtype) for tensor in inputs)
        sizes = [
            {axis: torch.export.Dim.DYNAMIC for axis in varying if axis < tensor.dim()}
            for tensor in inputs
        ]
        program = torch.onnx.export(
            ChannelsLast(fused(turned(network))),
            examples,
            dynamo=True,
            verbose=False,
            dynamic_shapes=(tuple(sizes),),  # of *inputs, one argument to the exporter
        )
    assert program is not None
    program.save(path, external_data=True)


def start_openvino(path: str, precision: str) -> Run:
    import openvino

    # The precision is said, for on CPUs that can OpenVINO would take bfloat16 unasked.
    options = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    core = openvino.Core()
    graph = core.compile_model(core.read_model(path), "CPU", options)
    own = threading.local()  # a request serves one thread

    def run(arrays: Arrays) -> NDArray[np.float32]:
        if not hasattr(own, "request"):
            own.request = graph.create_infer_request()
        return own.request.infer(list(arrays))[0]

    return run


def start_onnx(path: str, precision: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


START = {"openvino": start_openvino, "onnx": start_onnx}
