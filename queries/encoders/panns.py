"""Queries by an audio tagger: Cnn14 of PANNs (Kong et al. 2020), the query network of USS.

An example recording becomes the tagger's output; the name of an AudioSet class becomes its one-hot vector.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from ..audioset import class_nodes
from ..files.permissions import write_by_mask
from ..interface import (
    AudioQuery,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
    check_readable,
    unreadable,
)
from ..media import read_recording
from ..networks.cnn14 import NUM_CLASSES, SAMPLE_RATE, WIDTH, Cnn14, load_cnn14
from ..settings import configuration

WIDTHS = {"probabilities": NUM_CLASSES, "embedding": WIDTH}
LABELS_FILE = "class_labels_indices.csv"  # as AudioSet and PANNs name it
SEGMENT_SAMPLES = 2 * SAMPLE_RATE  # what USS is trained on
FRAME_SAMPLES, SILENT = SAMPLE_RATE // 10, 0.02  # frames with a lower peak are removed
MAX_SECONDS = 600.0  # of an example


@configuration
class Config:
    """checkpoint: Cnn14's released weights (Cnn14_mAP=0.431.pth), or a checkpoint of USS that holds
    them. output: "probabilities" of the 527 classes, or "embedding" (2048). labels: the classes'
    names, AudioSet's class_labels_indices.csv; by default that beside the checkpoint, else AudioSet's own."""

    checkpoint: str
    output: str = "probabilities"
    labels: str = ""

    def __post_init__(self) -> None:
        if self.output not in WIDTHS:
            raise ValueError(f"output is {self.output!r}; expected one of {', '.join(WIDTHS)}")


def build(config: Config) -> Panns:
    """See `Panns`."""
    return Panns(config)


class Panns(QueryEncoder):
    """See the module's docstring. Loads its network at the first recording."""

    def __init__(self, config: Config) -> None:
        self.config = config
        words = {TextQuery} if config.output == "probabilities" else set()
        self.modalities: frozenset[type[Query]] = frozenset({AudioQuery, *words})
        self.path = Path(config.checkpoint)
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such file; give Cnn14's weights of PANNs")
        beside = self.path.parent / LABELS_FILE
        self.labels_path = Path(config.labels) if config.labels else beside
        self.dim = WIDTHS[config.output]
        self.probabilities = config.output == "probabilities"
        self.fingerprint = f"panns-{digest(self.path)}-{config.output}"
        if TextQuery in self.modalities and self.labels_path.is_file():
            self.fingerprint += f"-{digest(self.labels_path)}"

    @cached_property
    def network(self) -> Cnn14:
        """The tagger, on the device."""
        return load_cnn14(self.path).to(self.device)

    @property
    def tagger(self) -> Cnn14:
        """The network, loaded at first use."""
        return self.network

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes in the order of the tagger's outputs."""
        if self.labels_path.is_file():
            return read_labels(self.labels_path)
        if self.config.labels:
            raise ValueError(
                f"{self.labels_path}: no such file; it has to name the tagger's classes"
            )
        return tuple(node.name for node in class_nodes())

    def tag(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Segments of two seconds of audio (t,), t >= 1, at 32 kHz in [-1, 1], to embeddings (s, 2048) and
        probabilities (s, 527). The last segment is filled up from the recording's beginning."""
        num_segments = -(-len(waveform) // SEGMENT_SAMPLES)
        repeats = -(-num_segments * SEGMENT_SAMPLES // len(waveform))
        whole = waveform.repeat(repeats)[: num_segments * SEGMENT_SAMPLES]
        with torch.inference_mode():
            segments = whole.reshape(-1, 1, SEGMENT_SAMPLES).to(self.device)
            answers = [self.network(segment) for segment in segments]
        embeddings, probabilities = zip(*answers, strict=True)
        return torch.cat(embeddings).cpu().clone(), torch.cat(probabilities).cpu().clone()

    def embed_recording(self, waveform: Tensor) -> Tensor:
        """Audio (t,) at 32 kHz to a query (dim,): mean over segments without silence, as in USS."""
        embeddings, probabilities = self.tag(without_silence(waveform))
        chosen = probabilities if self.config.output == "probabilities" else embeddings
        return chosen.mean(dim=0)

    def carry(self, folder: Path) -> dict[str, str]:
        """As `QueryEncoder.carry`."""
        path = folder / "cnn14.safetensors"
        write_by_mask(path, lambda path: save_file(self.network.state_dict(), path))
        if self.labels_path.is_file():
            shutil.copyfile(self.labels_path, folder / LABELS_FILE)
        return {"checkpoint": str(path), "output": self.config.output}

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`; the examples of a query have equal weights, whatever their lengths."""
        check_readable(self, queries)
        return QueryEmbedding(torch.stack([self.vector(query) for query in queries]))

    def vector(self, query: Query) -> Tensor:
        """The embedding (dim,) of one query; ValueError for kinds and class names that are not read."""
        if isinstance(query, TextQuery) and TextQuery in self.modalities:
            row = torch.tensor(self.class_number(query.text))
            return F.one_hot(row, self.dim).float()
        if not isinstance(query, AudioQuery):
            raise unreadable(self, query)
        vectors = [
            self.embed_recording(
                torch.from_numpy(read_recording(example, SAMPLE_RATE, MAX_SECONDS))
            )
            for example in query.examples
        ]
        return torch.stack(vectors).mean(dim=0)

    def class_number(self, name: str) -> int:
        """Index of a class by its name in any case; ValueError with suggestions for other names."""
        names = [label.casefold() for label in self.labels]
        lower = name.casefold().strip()
        if lower in names:
            return names.index(lower)
        near = [label for label in self.labels if lower in label.casefold()] or self.labels
        raise ValueError(
            f"{name!r} is not one of AudioSet's {len(names)} classes, such as {', '.join(near[:5])}; "
            "name one of them, or give an example recording"
        )


def digest(path: Path) -> str:
    """First digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_labels(path: Path) -> tuple[str, ...]:
    """Names from AudioSet's class_labels_indices.csv (index, mid, display_name); ValueError if malformed."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        named = {int(row["index"]): row["display_name"] for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected columns index, mid, display_name") from error
    if sorted(named) != list(range(NUM_CLASSES)):
        raise ValueError(f"{path}: expected the classes 0 to 526, each once")
    return tuple(named[index] for index in range(len(named)))


def without_silence(waveform: Tensor) -> Tensor:
    """Audio (t,) at 32 kHz without silent tenths of a second; unchanged if all are silent."""
    frames = waveform.split(FRAME_SAMPLES)
    loud = [frame for frame in frames if frame.abs().max() > SILENT]
    return torch.cat(loud) if loud else waveform
