"""Small separators and an encoder for tests: built in milliseconds, nothing loaded or downloaded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_settings import QUERY_DIM, RATE, RESIDUAL, SETTINGS
from torch import Tensor, nn

from qsep.queries.encoders import minilm
from qsep.queries.interface import Query, QueryEmbedding, QueryEncoder, TextQuery
from qsep.separation.components import build_separator
from qsep.separation.interface import LossOutput, MixtureBatch, Separator
from qsep.separation.storage.checkpoint import describe, save_checkpoint


def kind_of(name: str) -> str:
    """The file's name, of a name in SETTINGS."""
    return name.partition(":")[0]


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0, scale: float = 0.1) -> Tensor:
    return scale * torch.randn(*shape, generator=rng(seed))


def unit_vectors(*shape: int, seed: int = 0) -> Tensor:
    return nn.functional.normalize(noise(*shape, seed=seed), dim=-1)


def tiny_separator(kind: str = "band_unet", seed: int = 0, **changes: Any) -> Any:
    """Random weights, random batch-norm statistics and a random phrase book; evaluation mode."""
    if kind not in SETTINGS:
        pytest.fail(
            f"separation/models/{kind}.py: give tests/support/tiny_settings.py settings for a tiny one"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        separator = build_separator(kind_of(kind), SETTINGS[kind] | changes)
        for parameter in separator.parameters():
            usual = parameter[0].numel() ** -0.5
            if parameter.dim() > 1 and parameter.std() < 0.1 * usual:  # initialised near zero
                parameter.data.normal_(std=usual)
    for parameter in separator.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(1.7)  # louder than PyTorch's start, so that outputs differ clearly
    generator = rng(seed + 1)
    for module in separator.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.1, 1.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
            ):
                assert values is not None
                values.copy_(low + (high - low) * torch.rand(values.shape, generator=generator))
    if kind_of(kind) in RESIDUAL:
        settle(separator)
    if separator.phrase_book is not None:
        num_phrases, query_dim = separator.phrase_book.phrases.shape
        num_rows = separator.phrase_book.num_classes + 1
        separator.phrase_book.store(
            unit_vectors(num_phrases, query_dim, seed=seed), torch.arange(num_phrases) % num_rows
        )
    return separator.eval()


def save_tiny_model(folder: Path) -> Path:
    """A checkpoint folder of a tiny network at 8 kHz, for queries as MiniLM embeds them."""
    separator = tiny_separator(query_dim=384)
    provenance = {"recipe": "tests", "seed": 7, "step": 42}
    encoder = minilm.build(minilm.Config())
    description = describe("band_unet", separator, "minilm", encoder, provenance)
    save_checkpoint(folder, description, separator.state_dict(), "# A tiny model\n")
    return folder


def settle(separator: Any) -> None:
    """Batch-norm statistics of noise."""
    norms = [module for module in separator.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    queries = QueryEmbedding(unit_vectors(1, 1, separator.query_dim))
    with torch.no_grad():
        separator.train().separate(noise(1, 1, 4000), queries)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


@cache
def tiny_tagger() -> Any:
    """A narrow Cnn14 with random weights under which every sound is another."""
    from qsep.queries.networks.cnn14 import Cnn14

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        tagger = Cnn14((4, 5, 6, 7, 8, 9)).eval()
    for parameter in tagger.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(2.5)  # PyTorch's start keeps a third of the variance at each layer
    mean, variance = tagger.bn0.running_mean, tagger.bn0.running_var
    assert mean is not None
    assert variance is not None
    mean -= 40  # dB, as of trained ones
    variance *= 400
    return tagger


def mixture_batch(
    num_samples: int = 3001, channels: int = 2, seed: int = 5
) -> tuple[MixtureBatch, QueryEmbedding]:
    """b = 4, s = 3, with embeddings: in the second item one source is not queried, in the third the
    last queried sound is absent."""
    sources = noise(4, 3, channels, num_samples, seed=seed)
    sources[2, 2] = 0
    queries: list[list[Query | None]] = [
        [TextQuery(f"item {item} source {source}") for source in range(3)] for item in range(4)
    ]
    queries[1][0] = None
    ids = [f"item {item}" for item in range(4)]
    batch = MixtureBatch(sources.sum(dim=1), sources, queries, RATE, ids)
    return batch, QueryEmbedding(unit_vectors(4, 3, QUERY_DIM, seed=seed + 1))


def text_of(query: Query | None) -> str:
    """The text of a query that must be a text query."""
    assert isinstance(query, TextQuery)
    return query.text


@dataclass(frozen=True)
class StubConfig:
    """dim: width of the embeddings."""

    dim: int = QUERY_DIM


def weights_of(separator: Separator) -> dict[str, Tensor]:
    """The state dict of a separator, which is a module too, though its interface does not say so."""
    assert isinstance(separator, nn.Module)
    return separator.state_dict()


class StubSeparator(nn.Module, Separator):
    """A separator that is neither configured nor trained; its subclasses say how it separates."""

    config: Any = None
    query_dim = QUERY_DIM

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        raise NotImplementedError


class StubEncoder(QueryEncoder):
    """Each query a fixed random unit vector, from a hash of its words. calls: every list encoded."""

    modalities: frozenset[type[Query]] = frozenset({TextQuery})

    def __init__(self, config: StubConfig | None = None, fingerprint: str = "stub") -> None:
        self.config = config or StubConfig()
        self.dim = self.config.dim
        self.fingerprint = fingerprint
        self.calls: list[list[str]] = []

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        words = [text_of(query) for query in queries]
        self.calls.append(words)
        rows = []
        for text in words:
            digest = hashlib.sha256(f"{self.fingerprint}:{text}".encode()).digest()
            draw = np.random.default_rng(list(digest)).standard_normal(self.dim)
            rows.append(draw / np.linalg.norm(draw))
        return QueryEmbedding(torch.from_numpy(np.array(rows, dtype=np.float32)))
