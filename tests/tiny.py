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
from torch import Tensor, nn

from qsep.queries.encoders import minilm
from qsep.queries.interface import Query, QueryEmbedding, QueryEncoder, TextQuery
from qsep.separation.components import build_separator
from qsep.separation.interface import LossOutput, MixtureBatch, Separator
from qsep.separation.storage.checkpoint import describe, save_checkpoint

QUERY_DIM = 6
RATE = 8000

CLIPSEP: dict[str, Any] = {
    "num_features": 5,
    "channels": [6, 7, 8],
    "spectrogram": {
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 32,
        "num_rows": 24,
        "segment_frames": 16,
    },
}

# A file in separation/models needs an entry here: the smallest network with all of its parts, at RATE,
# for queries of width QUERY_DIM, and no random numbers in its loss. "file:variant" is another of it.
SETTINGS: dict[str, dict[str, Any]] = {
    "band_unet": {
        "class_names": ["dog", "rain", "violin"],
        "num_phrases": 7,
        "query_dim": QUERY_DIM,
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 32,
        "num_bands": 32,
        "channels": [4, 6, 8, 10, 12],
        "blocks": [1, 1, 1, 1, 1],
        "mask_features": 5,
        "query_noise": 0.0,
    },
    "clipsep": CLIPSEP | {"query_dim": QUERY_DIM},
    "clipsep:early": CLIPSEP | {"query_dim": QUERY_DIM, "fusion": "early"},
    "clipsep:middle": CLIPSEP | {"query_dim": QUERY_DIM, "fusion": "middle"},
    "clipsep:labels": CLIPSEP | {"query_dim": QUERY_DIM, "table_dim": 9},
    "clipsep_nit": CLIPSEP
    | {"query_dim": QUERY_DIM, "noise": {"num_heads": 3, "gamma": 0.1, "keep_noise": True}},
    "pitsep": CLIPSEP | {"num_sources": 3},
    "convtasnet": {
        "query_dim": QUERY_DIM,
        "sample_rate": RATE,
        "kernel_samples": 16,
        "num_filters": 12,
        "bottleneck_channels": 7,
        "hidden_channels": 9,
        "num_blocks": 3,
        "num_repeats": 2,
        "level_frames": 20,
    },
    "resunet30": {
        "query_dim": QUERY_DIM,
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 16,
        "channels": [5, 7, 7],
    },
}
SETTINGS["class_unet"] = {
    "classes": ["dog", "rain", "violin", "engine", "cat"],  # and "other": QUERY_DIM
    "sample_rate": RATE,
    "window_samples": 64,
    "hop_samples": 32,
    "num_bands": 32,
    "channels": [4, 6, 8, 10, 12],
    "blocks": [1, 1, 1, 1, 1],
    "features": 8,
    "refine_features": 5,
    "refine_hidden": 7,
}
SETTINGS["class_unet:shifted"] = SETTINGS["class_unet"] | {"shifts": 2, "mask_exponent": 0.7}
SETTINGS["bimodal"] = {
    "query_dim": QUERY_DIM,
    "token_dim": 0,
    "num_features": 5,
    "channels": [6, 8, 10],
    "num_attentive": 2,
    "num_heads": 2,
    "spectrogram": {
        "sample_rate": RATE,
        "window_samples": 62,
        "hop_samples": 32,
        "segment_frames": 16,
    },
}
SETTINGS["clapsep"] = {
    "query_dim": QUERY_DIM,
    "encoder": {
        "sample_rate": 12000,
        "window_samples": 96,
        "hop_samples": 48,
        "num_mels": 8,
        "min_hz": 20.0,
        "max_hz": 5000.0,
        "width": 8,
        "depths": [2, 1],
        "num_heads": [2, 4],
        "window": 4,
        "rank": 3,
    },
    "spectrogram": {
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 32,
        "segment_frames": 101,
    },
    "mask_width": 12,
    "num_mask_layers": 1,
    "num_mask_heads": 3,
    "drop": 0.0,
    "negative_only": 0.0,
}
SETTINGS["band_unet:calm"] = SETTINGS["band_unet"] | {"shifts": 2, "mask_exponent": 0.7}
SETTINGS["flowsep"] = {
    "query_dim": QUERY_DIM,
    "window_frames": 32,
    "null_tokens": 3,
    "mel": {
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 32,
        "num_bands": 8,
        "max_hz": RATE / 2,
    },
    "vae": {"channels": [4, 6], "latent_channels": 3, "num_blocks": 1, "norm_groups": 2},
    "unet": {
        "channels": [8, 12, 16],
        "num_blocks": 1,
        "head_channels": 4,
        "norm_groups": 4,
        "spare_channels": 1,
    },
    "vocoder": {
        "channels": 8,
        "rates": [8, 4],
        "kernels": [17, 8],
        "block_kernels": [3],
        "dilations": [1, 2],
    },
    "sampling": {"num_steps": 2},
    "flow": {"query_dropout": 0.0},
}
SETTINGS["flow_unet"] = {
    "analysis": SETTINGS["band_unet"],
    "channels": 7,
    "blocks": 1,
    "noise_frames": 16,
    "num_steps": 2,
}
BANDS = {"kind": "bands", "window_samples": 64, "scheme": "widths", "width": 8}
BANDS |= {"widths": [2, 2, 3, 5, 5, 16], "hidden_factor": 2}
QUERIED: dict[str, Any] = {
    "query_dim": QUERY_DIM,
    "sample_rate": RATE,
    "analysis": BANDS,
    "backbone": {"kind": "bsrnn", "num_layers": 2},
    "entry": {"kind": "film"},
    "head": {"kind": "complex_mask"},
    "segment_seconds": 0.2,
}
SETTINGS["queried"] = QUERIED
SETTINGS["queried:tiger"] = QUERIED | {
    "analysis": BANDS | {"readout": "linear", "shares": 2},
    "backbone": {
        "kind": "tiger",
        "num_iterations": 2,
        "hidden_channels": 10,
        "num_levels": 3,
        "num_heads": 2,
        "key_channels": 3,
    },
    "entry": {"kind": "film", "bottleneck": 5},
    "head": {"kind": "complex_mask", "sum_to_one": True},
}
SETTINGS["queried:mel_roformer"] = QUERIED | {
    "analysis": {"kind": "mel_bands", "window_samples": 64, "num_bands": 6, "width": 8},
    "backbone": {"kind": "mel_roformer", "num_blocks": 1, "num_heads": 2},
    "entry": {"kind": "cross_attention", "head_channels": 4},
}
SETTINGS["queried:late"] = QUERIED | {
    "entry": {"kind": "late"},
    "analysis": {"kind": "stft", "window_samples": 32, "readout_kernel": 3},
    "head": {"kind": "magnitude_mask"},
    "backbone": {"kind": "bsrnn", "num_layers": 1, "hidden_factor": 3},
}
SETTINGS["queried:causal"] = QUERIED | {"causal": True, "level_seconds": 0.02}
SETTINGS["queried:tfgridnet"] = QUERIED | {
    "causal": True,
    "level_seconds": 0.02,
    "analysis": {"kind": "stft", "window_samples": 16},
    "backbone": {
        "kind": "tfgridnet",
        "num_blocks": 1,
        "channels": 6,
        "hidden_channels": 5,
        "num_heads": 2,
        "key_channels": 2,
        "num_frames": 4,
    },
    "head": {"kind": "spectrum"},
}
SETTINGS["queried:demucs"] = QUERIED | {
    "analysis": {"kind": "waveform"},
    "backbone": {"kind": "demucs", "channels": 5, "num_levels": 3, "num_lstm_layers": 1},
    "head": {"kind": "waveform"},
}
SETTINGS["queried:mossformer2"] = QUERIED | {
    "analysis": {
        "kind": "filterbank",
        "num_filters": 8,
        "kernel_samples": 16,
        "readout": "gated",
    },
    "backbone": {
        "kind": "mossformer2",
        "num_layers": 1,
        "group_frames": 7,
        "key_channels": 6,
        "rotary_channels": 4,
        "memory_channels": 5,
        "memory_frames": 3,
    },
    "head": {"kind": "magnitude_mask", "activation": "relu"},
}
HTDEMUCS: dict[str, Any] = {
    "channels": 4,
    "depth": 2,
    "window_samples": 64,
    "dconv_compress": 2,
    "bottom_channels": 12,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_factor": 2,
}
SETTINGS["queried:htdemucs"] = QUERIED | {
    "analysis": {"kind": "waveform"},
    "backbone": HTDEMUCS | {"kind": "htdemucs"},
    "head": {"kind": "waveform"},
}
SETTINGS["htdemucs"] = {
    "stems": list("abcdef"),
    "sample_rate": RATE,
    "num_channels": 1,
    "segment_seconds": 0.2,
    "network": HTDEMUCS,
}
# Work on logarithms of magnitudes, as published.
LEVEL_DEPENDENT = {
    "bimodal",
    "clapsep",
    "htdemucs",
    "clipsep",
    "clipsep_nit",
    "pitsep",
    "resunet30",
}
BLIND = {"pitsep"}  # read no queries
DEEP = {"flowsep", "htdemucs", "queried"}  # many layers with norms between them
# To the last layer: norms that do not fit the signal would saturate the masks.
RESIDUAL = {"resunet30"}


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
        pytest.fail(f"separation/models/{kind}.py: give tests/tiny.py settings for a tiny one")
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
