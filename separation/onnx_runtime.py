"""ONNX Runtime without its telemetry."""

from __future__ import annotations

import os
from types import ModuleType


def load_onnxruntime() -> ModuleType:
    """The module onnxruntime, imported so that it sends nothing and keeps no files of its own.

    From 1.29 on its official builds send events to their maker and keep a device's id in the user's cache,
    unless this variable is set before the import.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
