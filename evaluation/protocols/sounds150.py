"""sounds150: 150 kinds of sound and families of them.

dev-2 and dev-3 ask for one kind among one and two others; dev-families asks for two sounds of one family,
beside a sound of none of its kinds.
"""

from __future__ import annotations

from pathlib import Path

from ..items.corpus import CONDITIONS as CONDITIONS
from ..items.corpus import Corpus, CorpusItems, load_corpus

CORPUS = Corpus("sounds150", ("dev-2", "dev-3", "dev-families"), wording_stride=2)


def load(data: Path, manifest: Path | None = None, condition: str = "plain") -> CorpusItems:
    """manifest: dev-2, dev-3, dev-families, a file in their form, or None for all three."""
    return load_corpus(CORPUS, data, manifest, condition)
