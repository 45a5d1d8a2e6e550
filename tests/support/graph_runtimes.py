"""The runtimes that compute networks as ONNX graphs, as parameters of tests; skipped where not installed."""

from importlib.util import find_spec

import pytest

from qsep.separation.runtime.accelerate import RUNTIMES

GRAPH_RUNTIMES = [
    pytest.param(
        name,
        marks=[
            pytest.mark.skipif(
                any(find_spec(package) is None for package in RUNTIMES[name]),
                reason=f"needs pip install qsep[{name}]",
            ),
            # OpenVINO takes seconds to compile each graph, ONNX Runtime a tenth of one.
            *([pytest.mark.slow] if name == "openvino" else []),
        ],
    )
    for name in ("openvino", "onnx")
]
