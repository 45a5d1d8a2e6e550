"""The separator of a checkpoint folder as a graph that ONNX Runtime computes, with the folder's weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.queries.files.arrays import read_arrays
from qsep.queries.files.int8_kernels import restored_from_int8

from ..onnx_runtime import load_onnxruntime

GRAPH, WEIGHTS = "graph.onnx", "model.safetensors"
METADATA = "qsep"  # key of the graph's metadata, JSON


def settings_digest(separator: Mapping[str, Any]) -> str:
    """Digest of a separator's kind and configuration in config.json, which a graph must match."""
    return hashlib.sha256(json.dumps(separator, sort_keys=True).encode()).hexdigest()[:16]


class GraphSeparator:
    """sample_rate in Hz; classes: labels of a query's degrees, "other" last; step_samples, context_samples:
    preferred length of the parts into which recordings are cut, and the context that each part needs on both
    sides; both, and the crossfade between parts, are multiples of stride_samples."""

    def __init__(self, folder: Path, separator: Mapping[str, Any]) -> None:
        """separator: of the folder's config.json. Raises ValueError for a graph of another one."""
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads()
        # Threads that wait in a loop take a busy machine's cores from those that have work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        # The next level would pay only for minutes of audio, since it takes longer to load.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        weights = read_weights(folder / WEIGHTS)
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
        options.add_external_initializers(list(weights), values)
        try:
            self.session = onnxruntime.InferenceSession(
                str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
            )
            about = json.loads(self.session.get_modelmeta().custom_metadata_map[METADATA])
            if about["settings"] != settings_digest(separator):
                raise ValueError("it is of another network")
        except Exception as error:  # ONNX Runtime has its own exception classes
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{folder / GRAPH} does not fit the checkpoint ({reason}): make it anew with "
                f"'qsep models export {folder.name} --graph-only -o {folder / GRAPH} --overwrite'"
            ) from error
        self.sample_rate: int = about["sample_rate"]
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.stride_samples: int = about["stride_samples"]
        self.context_samples: int = about["context_samples"]
        self.step_samples: int = about["step_samples"]

    def separate(
        self, mixture: NDArray[np.float32], queries: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """mixture (c, t), t >= 1, and queries (s, d) to targets (s, c, t)."""
        inputs = {"waveform": mixture[None], "queries": queries}
        targets: NDArray[np.float32] = self.session.run(["target"], inputs)[0]
        return targets


def num_threads() -> int:
    """As many as there are CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The floating-point weights of a checkpoint, as float32."""
    return {
        name: value.astype(np.float32)
        for name, value in restored_from_int8(read_arrays(path)).items()
        if np.issubdtype(value.dtype, np.floating)
    }
