"""A small joint encoder of text and audio that comes with the package.

Each class of sound has a vector. A recording's unit vector, from a network that begins as YAMNet, is trained
to be close to the vector of its class and far from all others. Text is the mean of the classes' vectors,
weighted by how much the words resemble the phrases of each class: a learned mapping of sentence embeddings
would fit the few phrases that it is trained with, and misread others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path

import soxr
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cache import CachedEncoder
from ..files.json_files import json_content
from ..files.weights import load_weights, read_state_dict
from ..interface import (
    AudioQuery,
    Query,
    QueryEmbedding,
    QueryEncoder,
    SoundEncoder,
    TextQuery,
    check_readable,
    unreadable,
)
from ..media import read_recording
from ..networks.audio_tower import AudioTower
from ..networks.event_names import EventNames, Vectors
from ..networks.phrase_classifier import PhraseClassifier
from ..settings import configuration
from .minilm import Config as MiniLMConfig
from .minilm import MiniLM

SHIPPED = Path(__file__).parents[1] / "checkpoints" / "joint"
EVENTS_FILE = "events.safetensors"  # comes with the shipped network alone
SEGMENT_SECONDS = 5.0  # longer recordings are cut into equal parts of at most this, and averaged
MAX_SECONDS = 60.0  # of an example
MIN_LOG_SCALE, MAX_LOG_SCALE = 0.0, math.log(100)


@configuration
class Config:
    """folder: a checkpoint trained by a recipe with [audio_encoder]; None for the shipped one."""

    folder: str | None = None


@configuration
class NetworkConfig:
    """num_classes, num_phrases: of the phrase book. dim: of the common space; text_dim: of sentences."""

    num_classes: int
    num_phrases: int
    dim: int = 192
    text_dim: int = 384


def build(config: Config) -> JointEncoder:
    """See `JointEncoder`."""
    return JointEncoder(Path(config.folder) if config.folder else SHIPPED, config)


@cache
def shipped() -> JointEncoder:
    """The encoder that comes with the package, on the CPU, loaded once."""
    return build(Config())


class JointNetwork(nn.Module):
    """audio(waveform (b, t)) and text(pooled (b, text_dim)): unit vectors (b, dim)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.audio = AudioTower(config.dim)
        self.reader = PhraseClassifier(config.text_dim, config.num_classes, config.num_phrases)
        self.classes = nn.Parameter(torch.randn(config.num_classes, config.dim))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def class_vectors(self) -> Tensor:
        """Unit vectors of the classes, (num_classes, dim)."""
        return F.normalize(self.classes, dim=-1)

    def degrees(self, pooled: Tensor) -> Tensor:
        """Sentence embeddings (b, text_dim) to degrees of the classes: (b, num_classes), sum at most 1."""
        return self.reader(pooled)[..., :-1]

    def text(self, pooled: Tensor) -> Tensor:
        """Sentence embeddings (b, text_dim) to unit vectors (b, dim)."""
        return F.normalize(self.degrees(pooled) @ self.class_vectors(), dim=-1)

    def scale(self) -> Tensor:
        """Inverse temperature of similarities, clamped as in CLIP."""
        return self.log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp()


class JointEncoder(QueryEncoder):
    """Text and recordings as unit vectors of one space; the network loads at the first query."""

    modalities: frozenset[type[Query]] = frozenset({TextQuery, AudioQuery})
    unit_norm = True

    def __init__(self, folder: Path, config: Config | None = None) -> None:
        self.folder, self.config = folder, config or Config(str(folder))
        try:
            content = json_content(folder / "config.json")
            settings = content["audio_encoder"]["config"]
            self.network_config = NetworkConfig(**settings)
            with (folder / "model.safetensors").open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{folder}: not a checkpoint of a joint encoder ({error})") from error
        self.fingerprint = f"joint-{digest[:16]}"
        self.dim = self.network_config.dim
        self.sentences = MiniLM(MiniLMConfig())

    @cached_property
    @torch.inference_mode(False)  # gradients may pass through it later
    def network(self) -> JointNetwork:
        """The trained network, frozen, on the device."""
        network = JointNetwork(self.network_config)
        path = self.folder / "model.safetensors"
        load_weights(network, read_state_dict(path), str(path))
        return network.eval().requires_grad_(False).to(self.device)

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`; pooled of unit norm."""
        check_readable(self, queries)
        rows = [self.vector(query) for query in queries]
        return QueryEmbedding(torch.stack(rows) if rows else torch.zeros(0, self.dim))

    @torch.inference_mode()
    def vector(self, query: Query) -> Tensor:
        """(dim,), unit norm."""
        if isinstance(query, TextQuery):
            pooled = self.sentences.encode([query]).pooled.to(self.device)
            return self.network.text(pooled)[0].cpu().clone()
        if not isinstance(query, AudioQuery):
            raise unreadable(self, query)
        examples = [
            self.sound(torch.from_numpy(read_recording(example, self.sample_rate, MAX_SECONDS)))
            for example in query.examples
        ]
        return F.normalize(torch.stack(examples).mean(dim=0), dim=-1).clone()

    @property
    def sample_rate(self) -> int:
        """Sample rate of the audio input, in Hz."""
        return AudioTower.sample_rate

    @property
    def sound_encoder(self) -> SoundEncoder:
        """The encoder itself."""
        return self

    def similarity_scale(self) -> float:
        """The inverse temperature of similarities that it was trained with."""
        return float(self.network.scale())

    def sound(self, waveform: Tensor) -> Tensor:
        """(t,) at sample_rate, t >= 1, to a unit vector (dim,), on the CPU."""
        return self.embed_sound(waveform[None].to(self.device))[0].cpu()

    def sound_at(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """As `sound`, of a waveform (c, t), t >= 1, at any rate in Hz."""
        return self.sound(self.resampled(waveform.mean(dim=0, keepdim=True), sample_rate)[0])

    def resampled(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """(n, t), t >= 1, at sample_rate in Hz to (n, t'), t' >= 1, at the encoder's rate, on the CPU."""
        waveform = waveform.cpu()
        if sample_rate == self.sample_rate:
            return waveform
        rows = soxr.resample(waveform.numpy().T, sample_rate, self.sample_rate).T
        return torch.from_numpy(rows.copy()) if rows.shape[1] else waveform[:, :1]

    @cached_property
    def event_names(self) -> EventNames:
        """AudioSet's classes as the network tells them apart; ValueError without a file of them."""
        return EventNames.load(self.folder / EVENTS_FILE)

    @cached_property
    def read_sentences(self) -> CachedEncoder:
        """The sentence encoder with its cache, which holds the words of a query that was read before."""
        return CachedEncoder(self.sentences)

    def event_weights(self, text: str) -> Vectors:
        """How much each of AudioSet's 521 classes that YAMNet knows is meant by a text: (521,), sum 1."""
        sentence = self.read_sentences.encode([TextQuery(text)]).pooled.cpu().numpy()
        return self.event_names.class_weights(sentence)[0]

    @torch.inference_mode()
    def event_logits(self, waveform: Tensor) -> Vectors:
        """Of sounds (n, t) at the encoder's rate, t >= 1: logits of AudioSet's classes, (n, 521)."""
        embeddings = self.network.audio.patch_embeddings(waveform.to(self.device))
        return self.event_names.logits(embeddings.cpu().numpy())

    def embed_sound(self, waveform: Tensor) -> Tensor:
        """(n, t) at sample_rate, t >= 1, to unit vectors (n, dim); gradients pass."""
        num_parts = -(-waveform.shape[-1] // round(SEGMENT_SECONDS * self.sample_rate))
        size = waveform.shape[-1] // num_parts
        parts = waveform[:, : num_parts * size].unflatten(-1, (num_parts, size))
        vectors = self.network.audio(parts.flatten(0, 1)).unflatten(0, (-1, num_parts))
        return F.normalize(vectors.mean(dim=1), dim=-1)
