"""Queries as an audio tagger hears them: Cnn14 of PANNs (Kong et al. 2020), the query net of USS.

An example recording becomes what the tagger makes of it; a class of AudioSet, asked for by its name,
the answer of a tagger that is certain of it and of nothing else.
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
FRAME_SAMPLES, SILENT = SAMPLE_RATE // 10, 0.02  # frames that never pass this level are left out
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
    return Panns(config)


class Panns(QueryEncoder):
    """See the module's docstring. Loads its network at the first recording."""

    def __init__(self, config: Config) -> None:
        self.config = config
        words = {TextQuery} if config.output == "probabilities" else set()
        self.modalities: frozenset[type] = frozenset({AudioQuery, *words})
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
        return load_cnn14(self.path).to(self.device)

    @property
    def tagger(self) -> Cnn14:
        """The network, loaded at first use."""
        return self.network

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes in the order of their probabilities."""
        if self.labels_path.is_file():
            return read_labels(self.labels_path)
        if self.config.labels:
            raise ValueError(
                f"{self.labels_path}: no such file; it has to name the tagger's classes"
            )
        return tuple(node.name for node in class_nodes())

    def tag(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Every two seconds of (t,), t >= 1, at 32 kHz in [-1, 1]: embeddings (s, 2048) and
        probabilities (s, 527). What the last segment lacks is the recording from its start."""
        num_segments = -(-len(waveform) // SEGMENT_SAMPLES)
        repeats = -(-num_segments * SEGMENT_SAMPLES // len(waveform))
        whole = waveform.repeat(repeats)[: num_segments * SEGMENT_SAMPLES]
        with torch.inference_mode():
            segments = whole.reshape(-1, 1, SEGMENT_SAMPLES).to(self.device)
            answers = [self.network(segment) for segment in segments]
        embeddings, probabilities = zip(*answers, strict=True)
        return torch.cat(embeddings).cpu().clone(), torch.cat(probabilities).cpu().clone()

    def hear(self, waveform: Tensor) -> Tensor:
        """An example (t,) at 32 kHz as a query (dim,): mean over its segments, silence left out (USS)."""
        embeddings, probabilities = self.tag(without_silence(waveform))
        chosen = probabilities if self.config.output == "probabilities" else embeddings
        return chosen.mean(dim=0)

    def carry(self, folder: Path) -> dict[str, str]:
        """Write what it needs into `folder`; the settings of one that takes it from there."""
        path = folder / "cnn14.safetensors"
        save_file(self.network.state_dict(), path)
        if self.labels_path.is_file():
            shutil.copyfile(self.labels_path, folder / LABELS_FILE)
        return {"checkpoint": str(path), "output": self.config.output}

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """Several examples of one query weigh alike, whatever their lengths."""
        check_readable(self, queries)
        return QueryEmbedding(torch.stack([self.vector(query) for query in queries]))

    def vector(self, query: Query) -> Tensor:
        if isinstance(query, TextQuery) and TextQuery in self.modalities:
            row = torch.tensor(self.class_number(query.text))
            return F.one_hot(row, self.dim).float()
        if not isinstance(query, AudioQuery):
            raise unreadable(self, query)
        heard = [read_recording(example, SAMPLE_RATE, MAX_SECONDS) for example in query.examples]
        return torch.stack([self.hear(torch.from_numpy(each)) for each in heard]).mean(dim=0)

    def class_number(self, name: str) -> int:
        names = [label.casefold() for label in self.labels]
        asked = name.casefold().strip()
        if asked in names:
            return names.index(asked)
        near = [label for label in self.labels if asked in label.casefold()] or self.labels
        raise ValueError(
            f"{name!r} is not one of AudioSet's {len(names)} classes, such as {', '.join(near[:5])}; "
            "name one of them, or give an example recording"
        )


def digest(path: Path) -> str:
    """First digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_labels(path: Path) -> tuple[str, ...]:
    """AudioSet's class_labels_indices.csv: columns index, mid, display_name."""
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
    """(t,) at 32 kHz without the tenths of a second that stay silent; all where none is louder."""
    frames = waveform.split(FRAME_SAMPLES)
    loud = [frame for frame in frames if frame.abs().max() > SILENT]
    return torch.cat(loud) if loud else waveform
