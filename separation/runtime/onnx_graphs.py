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
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qsep.queries.cache import default_cache_path

from ..networks.exportable import Exportable
from ..onnx_runtime import load_onnxruntime
from ..storage.temporary import temporary_folder, visit
from . import rewrite
from .rewrite import fused, transposed

log = logging.getLogger("qsep")

Arrays = Sequence[NDArray[Any]]
Run = Callable[[Arrays], NDArray[np.float32]]
GRAPH = "graph.onnx"
KEPT_SECONDS = 60 * 24 * 3600
# Of a graph's error relative to the output's norm; larger ones mean that the export is wrong.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}


class GraphRunner:
    """Runs a network by OpenVINO or ONNX Runtime on the CPU.

    One graph serves all sizes of the varying axes and any number of items.
    """

    def __init__(self, network: nn.Module, runtime: str, precision: str, weights: str = "") -> None:
        self.network, self.precision = network, precision
        self.start = START[runtime]
        self.weights = weights or weights_digest(network)
        self.graphs: dict[str, Run] = {}
        self.export_lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The network's inputs, float32 or bool, (items, ...), to its output, float32.

        Items are computed one after the other unless axis 0 is among the varying axes: so one graph serves
        any number of channels and queries, in the memory of one item.
        """
        assert isinstance(self.network, Exportable)
        varying = self.network.varying_axes
        if 0 in varying or len(inputs[0]) == 1:
            return self.compute(inputs, varying)
        items = zip(*(tensor.split(1) for tensor in inputs), strict=True)
        return torch.cat([self.compute(item, varying) for item in items])

    def compute(self, inputs: Sequence[Tensor], varying: tuple[int, ...]) -> Tensor:
        """The output for one item, or for all if axis 0 varies; exports the graph if there is none."""
        shapes = [
            tuple(0 if axis in varying else size for axis, size in enumerate(tensor.shape))
            for tensor in inputs
        ]
        key = repr(shapes)
        with self.export_lock:
            if key not in self.graphs:
                self.graphs[key] = self.graph(key, inputs, varying)
        return self.run(self.graphs[key], inputs)

    def run(self, graph: Run, inputs: Sequence[Tensor]) -> Tensor:
        """The graph's output as a tensor, images as (b, c, k, n)."""
        output = torch.from_numpy(
            graph([np.ascontiguousarray(tensor.numpy()) for tensor in inputs])
        )
        return output.permute(0, 3, 1, 2) if output.dim() == 4 else output

    def graph(self, key: str, inputs: Sequence[Tensor], varying: tuple[int, ...]) -> Run:
        """The graph for inputs of these shapes, from the cache or exported."""
        folder = default_cache_path().parent / "graphs" / self.digest(key)
        return self.cached(folder) or self.exported(folder, inputs, varying)

    def cached(self, folder: Path) -> Run | None:
        """The graph of an earlier run, or None if there is none that can be read."""
        if not folder.is_dir():
            return None
        try:
            graph = self.start(str(folder / GRAPH), self.precision)
        except Exception as error:  # each runtime has its own errors
            log.warning(
                "%s: cannot be read (%s); exported again", folder, str(error).splitlines()[0]
            )
            shutil.rmtree(folder, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):  # the cache may be read-only
            os.utime(folder)
        return graph

    def exported(self, folder: Path, inputs: Sequence[Tensor], varying: tuple[int, ...]) -> Run:
        """Export and check the graph; keep it in the folder if that can be written."""
        log.warning("exporting a network at its first use; large ones take minutes")
        with scratch_folder(folder.parent) as scratch:
            staging = scratch / folder.name
            staging.mkdir()
            export(self.network, inputs, varying, staging / GRAPH)
            graph = self.start(str(staging / GRAPH), self.precision)
            self.check(graph, inputs)
            try:
                os.replace(staging, folder)
                remove_unused(folder.parent)
            except OSError as error:
                if not folder.is_dir():  # another process may have exported the same graph
                    log.warning(
                        "%s: cannot keep the graph (%s); set QSEP_CACHE to another folder",
                        *(folder, error),
                    )
        return graph

    def digest(self, key: str) -> str:
        """Hash of everything that determines a graph: weights, layers, code, sizes, exporter."""
        parts = [self.weights, repr(self.network), key, torch.__version__]
        layers = {inspect.getfile(type(module)) for module in self.network.modules()}
        files = [*sorted(layers), __file__, rewrite.__file__]
        parts += [Path(file).read_text("utf-8") for file in files]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def check(self, graph: Run, inputs: Sequence[Tensor]) -> None:
        """Raise ValueError if the graph's output differs from the network's by more than TOLERANCE."""
        expected = type(self.network).forward(self.network, *inputs)
        error = (self.run(graph, inputs) - expected).norm() / expected.norm().clamp_min(1e-12)
        if not error <= TOLERANCE[self.precision]:
            raise ValueError(
                f"the graph of the network errs by {float(error):.1e} of its output; "
                "use --runtime torch"
            )


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of the names, types, shapes and values of the network's weights."""
    digest = hashlib.sha256()
    for name, weights in network.state_dict().items():
        digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        digest.update(weights.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def scratch_folder(folder: Path) -> AbstractContextManager[Path]:
    """A temporary folder inside `folder`, or in the system's if that cannot be written."""
    try:
        visit(folder)
    except OSError:
        return temporary_folder(Path(gettempdir()))
    return temporary_folder(folder if os.access(folder, os.W_OK) else Path(gettempdir()))


def remove_unused(folder: Path) -> None:
    """Remove graphs unused for KEPT_SECONDS: of other weights, or of an earlier qsep or torch."""
    for graph in folder.iterdir():
        if graph.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(graph, ignore_errors=True)


class ChannelsLast(nn.Module):
    """Returns images as (b, k, n, c), the runtimes' own layout, which saves a pass over them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs of the network to its output; (b, c, k, n) is returned as (b, k, n, c)."""
        output = self.network(*inputs)
        return output.permute(0, 2, 3, 1) if output.dim() == 4 else output


def export(
    network: nn.Module, inputs: Sequence[Tensor], varying: tuple[int, ...], path: Path
) -> None:
    """Write the network, rewritten for inference, as an ONNX file for inputs of these shapes.

    varying: axes whose size is left open. Weights go to a file beside it, which runtimes map into memory.
    """
    # Neither weights nor inputs may be inference tensors, which the exporter cannot trace.
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        examples = tuple(torch.zeros(tensor.shape, dtype=tensor.dtype) for tensor in inputs)
        sizes = [
            {axis: torch.export.Dim.DYNAMIC for axis in varying if axis < tensor.dim()}
            for tensor in inputs
        ]
        program = torch.onnx.export(
            ChannelsLast(fused(transposed(network))),
            examples,
            dynamo=True,
            verbose=False,
            dynamic_shapes=(tuple(sizes),),  # *inputs counts as one argument
        )
    assert program is not None
    program.save(path, external_data=True)


def start_openvino(path: str, precision: str) -> Run:
    """Load a graph into OpenVINO; returns a function of arrays that several threads may call."""
    import openvino

    # Stated, since OpenVINO uses bfloat16 by default on CPUs that have it.
    options = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    core = openvino.Core()
    graph = core.compile_model(core.read_model(path), "CPU", options)
    requests: dict[int, Any] = {}  # one for each thread

    def run(arrays: Arrays) -> NDArray[np.float32]:
        thread = threading.get_ident()
        if thread not in requests:
            requests[thread] = graph.create_infer_request()
        return requests[thread].infer(list(arrays))[0]

    return run


def start_onnx(path: str, precision: str) -> Run:
    """Load a graph into ONNX Runtime, which computes in float32 whatever the precision."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


START = {"openvino": start_openvino, "onnx": start_onnx}
