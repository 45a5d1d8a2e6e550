"""sounds150: 150 kinds of sound and families of them.

Manifests: in dev-2 and dev-3 the query asks for one kind in mixtures of two and three; in dev-families for
two sounds of a family, mixed with a sound outside it.
"""

from __future__ import annotations

from pathlib import Path

from ..items.corpus import CONDITIONS as CONDITIONS
from ..items.corpus import Corpus, CorpusItems, load_corpus

CORPUS = Corpus("sounds150", ("dev-2", "dev-3", "dev-families"), wording_stride=2)


def load(data: Path, manifest: Path | None = None, condition: str = "plain") -> CorpusItems:
    """Items of a manifest: dev-2, dev-3, dev-families, a file in their format, or None for all three.

    Raises as `load_corpus` does.
    """
    return load_corpus(CORPUS, data, manifest, condition)
