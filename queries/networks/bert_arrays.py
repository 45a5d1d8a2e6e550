"""BERT's encoder in NumPy, for single sentences where PyTorch is not loaded: see `bert`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files.arrays import read_arrays
from ..files.json_files import json_content

Array = NDArray[np.float32]

_erf = np.frompyfunc(math.erf, 1, 1)


class BertArrays:
    """A BertModel in NumPy, from a folder with its config.json and model.safetensors.

    Weights are memory-mapped: of the word embeddings only the requested rows take memory.
    """

    def __init__(self, folder: Path) -> None:
        config = json_content(folder / "config.json")
        self.num_heads: int = config["num_attention_heads"]
        self.num_layers: int = config["num_hidden_layers"]
        self.epsilon: float = config["layer_norm_eps"]
        self.weights = read_arrays(folder / "model.safetensors")

    def weight(self, name: str) -> Array:
        """A weight by its name in the file."""
        return self.weights[name]

    def __call__(self, token_ids: Sequence[int]) -> Array:
        """The states (k, d) of k tokens, the last layer's."""
        rows = self.weight("embeddings.word_embeddings.weight")[list(token_ids)]
        places = self.weight("embeddings.position_embeddings.weight")[: len(rows)]
        segment = self.weight("embeddings.token_type_embeddings.weight")[0]
        states = self.norm(rows + places + segment, "embeddings.LayerNorm")
        for index in range(self.num_layers):
            states = self.layer(states, f"encoder.layer.{index}.")
        return states

    def layer(self, states: Array, prefix: str) -> Array:
        """One post-norm layer: attention, then two linear maps with GELU between."""
        query, key, value = (
            self.linear(states, f"{prefix}attention.self.{name}")
            .reshape(len(states), self.num_heads, -1)
            .transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = (weights @ value).transpose(1, 0, 2).reshape(states.shape)
        attended = self.linear(mixed, f"{prefix}attention.output.dense")
        states = self.norm(states + attended, f"{prefix}attention.output.LayerNorm")
        hidden = gelu(self.linear(states, f"{prefix}intermediate.dense"))
        output = self.linear(hidden, f"{prefix}output.dense")
        return self.norm(states + output, f"{prefix}output.LayerNorm")

    def linear(self, states: Array, name: str) -> Array:
        """states (k, d) to (k, e)."""
        mapped: Array = states @ self.weight(f"{name}.weight").T + self.weight(f"{name}.bias")
        return mapped

    def norm(self, states: Array, name: str) -> Array:
        """Layer norm over the last axis."""
        centred = states - states.mean(axis=-1, keepdims=True)
        scale = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + self.epsilon)
        normed: Array = centred / scale * self.weight(f"{name}.weight")
        return normed + self.weight(f"{name}.bias")


def gelu(values: Array) -> Array:
    """x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016)."""
    activated: Array = values * (0.5 + 0.5 * _erf(values / math.sqrt(2)).astype(np.float32))
    return activated
