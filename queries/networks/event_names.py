"""How well sounds fit words, by the 521 classes of AudioSet that YAMNet tells apart.

    words -> sentence embedding -> likeness to the names of the classes -> a weight for each class
    sound -> embeddings of YAMNet's patches -> its last layer -> a logit for each class, mean over the patches
    fit of a sound to words: the mean of its logits with the words' weights

So sounds are told apart by words that no separator was trained with. The weights come from YAMNet (see
`networks/yamnet.py`), the names from AudioSet (`audioset.tsv`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files.arrays import damaged, read_arrays
from ..files.int8_kernels import restored_from_int8, rounded_to_int8
from ..files.permissions import write_by_mask

SHARPNESS = 40.0  # of the weights: inverse temperature of cosines; 30 to 60 work alike
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class EventNames:
    """weight (k, d) and bias (k,): the last layer for k classes, of embeddings of width d.

    names: (n, e), sentence embeddings of the classes' names, of unit norm; owners: (n,), the class of each.
    """

    weight: Vectors
    bias: Vectors
    names: Vectors
    owners: NDArray[np.int64]

    def class_weights(self, words: Vectors) -> Vectors:
        """Of words' sentence embeddings (q, e), of unit norm: (q, k), sums 1."""
        cosines = words @ self.names.T
        nearest = np.full((len(words), len(self.bias)), -1, np.float32)
        np.maximum.at(nearest.T, self.owners, cosines.T)
        weights = np.exp(SHARPNESS * (nearest - nearest.max(axis=1, keepdims=True)))
        return weights / weights.sum(axis=1, keepdims=True)

    def logits(self, embeddings: Vectors) -> Vectors:
        """Of the patches' embeddings (…, p, d): the mean over patches (…, k)."""
        means: Vectors = embeddings.mean(axis=-2) @ self.weight.T + self.bias
        return means

    def save(self, path: Path) -> None:
        """Write as safetensors, in 8 bits with a scale for each row."""
        import torch
        from safetensors.torch import save_file

        parts = {
            "bias": torch.from_numpy(self.bias),
            "owners": torch.from_numpy(self.owners).short(),
            **rounded_to_int8("weight", torch.from_numpy(self.weight)),
            **rounded_to_int8("names", torch.from_numpy(self.names)),
        }
        write_by_mask(path, lambda path: save_file(parts, path))

    @classmethod
    def load(cls, path: Path) -> EventNames:
        """Read what `save` wrote; ValueError if it is missing or damaged."""
        stored = restored_from_int8(read_arrays(path))
        try:
            owners = stored["owners"].astype(np.int64)
            return cls(stored["weight"], stored["bias"], stored["names"], owners)
        except KeyError as error:
            raise damaged(path, f"no {error}") from None


def phrases_of(names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Phrases for classes, and the index of each one's class: the whole name, and its parts between commas
    and brackets."""
    phrases, owners = [], []
    for index, name in enumerate(names):
        whole = name.lower()
        parts = [whole, *(part.strip() for part in re.split(r"[,()]", whole))]
        for phrase in dict.fromkeys(part for part in parts if part):
            phrases.append(phrase)
            owners.append(index)
    return phrases, owners
