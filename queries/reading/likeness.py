"""Classifying a sentence embedding into the classes and families of a phrase book."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files.arrays import damaged, read_arrays
from ..files.permissions import write_by_mask

Vectors = NDArray[np.float32]

# Of the kernel: inverse temperature of cosines; 20 to 45 work equally on unseen wordings.
SHARPNESS = 30.0
SCALE = 10.0  # of the linear classifier's input, so that its weights are about 1
DECAY = 3e-5  # of its weights
ITERATIONS = 60
MIN_ODDS = 1e-12
INT8_LIMIT = 127
TYPICAL_EVERY = 8  # phrases, of which one gives much the same median as all


@dataclass(frozen=True)
class Likeness:
    """embeddings: (p, d) of the phrases, unit norm; owners: (p,), the index of each one's entry.
    weights: (num_entries, d) and bias: (num_entries,), of a linear classifier of embeddings."""

    embeddings: Vectors
    owners: NDArray[np.int64]
    weights: Vectors
    bias: Vectors

    def odds(self, vector: Vectors) -> tuple[Vectors, Vectors]:
        """Probabilities of the entries, summing to 1, and the cosine of each one's nearest phrase: two
        (num_entries,). vector: (d,), unit norm.

        The geometric mean of a kernel regression (Nadaraya 1964, Watson 1964), weights exp(SHARPNESS *
        cosine), and of the linear classifier: the first uses single phrases, the second what an entry's
        phrases have in common. Together they classify 94 % of held-out wordings, each alone 90 %.
        """
        cosines = self.embeddings @ vector
        kernel = np.exp(SHARPNESS * (cosines - cosines.max()))
        by_phrase = np.bincount(self.owners, kernel, len(self.bias))
        logits = self.weights @ vector + self.bias
        by_entry = np.exp(logits - logits.max())
        odds = np.sqrt(
            np.maximum(by_phrase / by_phrase.sum(), MIN_ODDS) * (by_entry / by_entry.sum())
        )
        return (odds / odds.sum()).astype(np.float32), self.nearest(cosines)

    def nearest(self, cosines: Vectors) -> Vectors:
        """The largest cosine of each entry's phrases, (num_entries,). cosines: of all phrases, (p,)."""
        largest = np.full(len(self.bias), -1, np.float32)
        np.maximum.at(largest, self.owners, cosines)
        return largest

    @cached_property
    def typical(self) -> Vectors:
        """The median cosine of phrases to the nearest phrase of each entry, (num_entries,), over every eighth
        phrase: some entries are more similar than others to any words."""
        phrases = self.embeddings[::TYPICAL_EVERY]
        nearest = [self.nearest(self.embeddings @ vector) for vector in phrases]
        return np.asarray(np.median(nearest, axis=0), np.float32)

    def save(self, path: Path) -> None:
        """Write as safetensors; 8-bit embeddings change cosines by at most 0.001 at a quarter of the size."""
        from safetensors.numpy import save_file

        largest = np.abs(self.embeddings).max(axis=1, keepdims=True)
        rounded = np.round(self.embeddings / largest * INT8_LIMIT).astype(np.int8)
        parts = {
            "embeddings": rounded,
            "weights": self.weights.astype(np.float16),
            "bias": self.bias,
        }
        write_by_mask(path, lambda path: save_file(parts, path))

    @classmethod
    def load(cls, path: Path, owners: list[int], num_entries: int) -> Likeness:
        """Read what `save` wrote. owners, num_entries: of the book beside it; an entry may have no phrases.

        Raises ValueError if it is damaged or of another book.
        """
        stored = read_arrays(path)
        try:
            parts = [stored[name].astype(np.float32) for name in ("embeddings", "weights", "bias")]
        except KeyError as error:
            raise damaged(path, f"no {error}") from None
        embeddings, weights, bias = parts
        if len(embeddings) != len(owners) or not len(weights) == len(bias) == num_entries:
            raise ValueError(
                f"{path}: {len(embeddings)} embeddings for {len(owners)} phrases, "
                f"a classifier of {len(bias)} entries for {num_entries}"
            )
        return cls(unit(embeddings), np.array(owners), weights, bias)


def fit(embeddings: Vectors, owners: list[int], num_entries: int) -> Likeness:
    """Fit the classifier, a multinomial logistic regression by L-BFGS. embeddings: (p, d).

    Takes about 20 s on one core for 9,000 phrases of 200 entries.
    """
    import torch
    import torch.nn.functional as F

    inputs, targets = torch.from_numpy(SCALE * unit(embeddings)), torch.tensor(owners)
    weights = torch.zeros(num_entries, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(num_entries, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=ITERATIONS, history_size=10)

    def closure() -> float:
        optimiser.zero_grad()
        loss = F.cross_entropy(F.linear(inputs, weights, bias), targets)
        loss = loss + DECAY * weights.square().sum()
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    learned = (SCALE * weights.detach()).numpy()
    return Likeness(unit(embeddings), np.array(owners), learned, bias.detach().numpy())


def unit(vectors: Vectors) -> Vectors:
    """Vectors (..., d) scaled to unit norm; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    normalised: Vectors = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return normalised
