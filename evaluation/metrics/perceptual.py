"""Scores by an audio embedding: Fréchet audio distance over items, similarities (CLAP score) of each item.

They do not compare waveforms, so they also suit separators that generate their output.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import AudioQuery, Query, QueryEncoder, TextQuery
from qsep.separation.storage.temporary import write_atomically

from ..interface import Item
from ..scores import Row

Vector = NDArray[np.float64]


class AudioEmbedder(Protocol):
    """A fixed map from recordings, and perhaps text, to vectors."""

    @property
    def fingerprint(self) -> str:
        """Differs whenever embeddings could differ."""
        ...

    def embed_audio(self, waveform: NDArray[np.float32], sample_rate: int) -> Vector:
        """Embedding (d,) of a mono waveform (t,), t >= 1; sample_rate in Hz."""
        ...

    def embed_text(self, text: str) -> Vector | None:
        """Embedding (d,) of text in the same space; None if there is none for text."""
        ...


class EncoderEmbedder:
    """A query encoder that reads recordings, such as CLAP, as an AudioEmbedder; thread-safe.

    Raises ValueError for an encoder that does not read recordings.
    """

    def __init__(self, encoder: QueryEncoder) -> None:
        if AudioQuery not in encoder.modalities:
            raise ValueError(f"the encoder {encoder.fingerprint} reads no recordings")
        self.encoder, self.fingerprint = encoder, encoder.fingerprint
        self.lock = threading.Lock()  # tokenizers are not thread-safe

    def embed_audio(self, waveform: NDArray[np.float32], sample_rate: int) -> Vector:
        """Embedding (d,) of a waveform (t,)."""
        return self.vector(AudioQuery(waveform, sample_rate=sample_rate))

    def embed_text(self, text: str) -> Vector | None:
        """Embedding (d,) of text; None if the encoder reads no text."""
        if TextQuery not in self.encoder.modalities:
            return None
        with self.lock:
            return self.vector(TextQuery(text))

    def vector(self, query: Query) -> Vector:
        """Embedding (d,) of a query, float64."""
        pooled: Vector = self.encoder.encode([query]).pooled[0].double().numpy()
        return pooled


def frechet_distance(first: Any, second: Any) -> float:
    """Fréchet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of Gaussians fitted to two sets.

    first, second: arrays (n, d) of embeddings, n >= 2; their n may differ. Covariances are divided by n - 1.
    Few rows bias it upwards: compare at equal n. Kilgour et al. 2019, "Fréchet audio distance".
    Raises ValueError for other shapes.
    """
    sets = [np.asarray(vectors, dtype=np.float64) for vectors in (first, second)]
    if any(v.ndim != 2 or len(v) < 2 for v in sets) or sets[0].shape[1] != sets[1].shape[1]:
        raise ValueError(
            f"expected two sets of at least 2 embeddings (n, d) of one width; "
            f"got {sets[0].shape} and {sets[1].shape}"
        )
    means = [v.mean(axis=0) for v in sets]
    # C = R^T R, and tr (C1 C2)^(1/2) is the sum of the singular values of R1 R2^T: no square root of a
    # matrix that is singular whenever n <= d.
    roots = [
        np.asarray(np.linalg.qr((v - mean) / np.sqrt(len(v) - 1), mode="r"))
        for v, mean in zip(sets, means, strict=True)
    ]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum(float(np.square(root).sum()) for root in roots)
    return float(np.square(means[0] - means[1]).sum() + spread - 2 * shared)


def cosine(first: Any, second: Any) -> float:
    """Cosine similarity of two vectors (d,), in [-1, 1]; 0 if one of them is zero."""
    a, b = (np.asarray(vector, dtype=np.float64) for vector in (first, second))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0


def embedded_scores(
    embedder: AudioEmbedder,
    item: Item,
    estimate: Any,
    path: Path,
    commit: Callable[[Path, Path], object] = os.replace,
) -> Row:
    """EMBEDDED: cosine similarity of the estimate (t,) to the query's text and to the target, not silent.

    Writes the embeddings of estimate and target, (2, d), to `path` for `distance_of_run`.
    """
    waveforms = [np.asarray(estimate, dtype=np.float32), item.target]
    vectors = np.stack([embedder.embed_audio(w, item.sample_rate) for w in waveforms])

    def write(file: Path) -> None:
        with file.open("wb") as stream:  # numpy.save would append .npy to a name
            np.save(stream, vectors)

    write_atomically(path, write, commit)
    text = embedder.embed_text(item.query)
    return {
        "text_score": None if text is None else round(cosine(vectors[0], text), 6),
        "audio_score": round(cosine(*vectors), 6),
    }


def distance_of_run(paths: Iterable[Path]) -> float | None:
    """Fréchet distance of estimates to targets, from files of `embedded_scores`; None for fewer than two."""
    vectors = [np.load(path, allow_pickle=False) for path in paths]
    if len(vectors) < 2:
        return None
    estimates, targets = np.stack(vectors, axis=1)
    return round(frechet_distance(estimates, targets), 6)
