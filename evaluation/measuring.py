"""One item's row: scores of its estimate, baselines, audio embeddings, the publication's scores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .baselines import draw_query, score_baselines
from .interface import Estimator, ItemSet
from .metrics.perceptual import AudioEmbedder, distance_of_run, embedded_scores
from .scores import Row, checked, score


@dataclass(frozen=True)
class Measuring:
    """Renders, estimates and scores items; called with an item's index, it returns the item's row.

    baselines: whether they are scored beside the estimate. embedder: adds EMBEDDED, and keeps embeddings
    in `folder` for the Fréchet distance. commit: renames finished files to their names.
    """

    estimator: Estimator
    items: ItemSet
    baselines: bool
    embedder: AudioEmbedder | None
    folder: Path
    commit: Callable[[Path, Path], object] = os.replace

    def __call__(self, index: int) -> Row:
        """The row of item number `index`; raises whatever rendering, separating or scoring it raises."""
        item = self.items.render(index)
        estimate = checked(item, self.estimator(item))
        row = score(item, estimate)
        if self.baselines and item.target.any():
            queried = self.estimator if self.estimator.model else None
            random_query = (
                draw_query(item.id, item.label, self.items.item_queries) if queried else None
            )
            row |= score_baselines(item, queried, random_query)
        if self.embedder and item.target.any():
            row |= embedded_scores(
                self.embedder, item, estimate, self.embeddings(index), self.commit
            )
        published = self.items.publication.measure(item, estimate.numpy())
        if unknown := sorted(published.keys() - row.keys()):
            raise ValueError(
                f"{self.items.name} measures {unknown[0]!r}, which is not a column of items.csv; "
                "add it to PUBLISHED in evaluation/scores.py"
            )
        row |= published
        return row

    def embeddings(self, index: int) -> Path:
        """The file of an item's embeddings, (2, d): estimate and target."""
        return self.folder / f"{index:06d}.npy"

    def frechet_distance(self, indices: Sequence[int]) -> float | None:
        """Fréchet distance of these items' estimates to their targets; None without an embedder."""
        if self.embedder is None:
            return None
        paths = map(self.embeddings, indices)
        return distance_of_run(path for path in paths if path.exists())
