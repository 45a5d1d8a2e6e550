"""sounds21: 21 kinds of everyday sounds and instruments; manifests of two and of three sources."""

from __future__ import annotations

from pathlib import Path

from ..items.corpus import CONDITIONS as CONDITIONS
from ..items.corpus import Corpus, CorpusItems, load_corpus

CORPUS = Corpus("sounds21", ("dev-2", "dev-3"), wording_stride=5)


def load(data: Path, manifest: Path | None = None, condition: str = "plain") -> CorpusItems:
    """Items of a manifest: dev-2, dev-3, a file in their format, or None for both.

    Raises as `load_corpus` does.
    """
    return load_corpus(CORPUS, data, manifest, condition)
