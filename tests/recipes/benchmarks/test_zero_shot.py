"""qsep.recipes.benchmarks.quality.zero_shot: accuracy against a count by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

from qsep.queries.interface import AudioQuery, Query, QueryEmbedding, QueryEncoder, TextQuery
from qsep.recipes.benchmarks.quality.zero_shot import as_query, labelled_recordings, zero_shot

EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
NORTH_EAST = [0.6, 0.8]
PLACES = {"dog": EAST, "hound": NORTH_EAST, "rain": NORTH, "drizzle": WEST}


class Compass(QueryEncoder):
    """Embeds words, and recordings by their letter, in the plane."""

    config: Any = None
    dim = 2
    modalities: frozenset[type[Query]] = frozenset({TextQuery, AudioQuery})
    fingerprint = "compass"

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        rows = []
        for query in queries:
            if isinstance(query, TextQuery):
                rows.append(PLACES[query.text])
            else:
                assert isinstance(query, AudioQuery)
                letter = Path(str(query.examples[0].source)).read_text()
                rows.append({"e": EAST, "n": NORTH, "w": WEST}[letter])
        return QueryEmbedding(torch.tensor(rows))


def test_each_recording_gets_the_kind_whose_wording_is_nearest(tmp_path: Path) -> None:
    rows = ["file,label,split"]
    for name, letter, label, split in [
        ("a", "e", "dog", "dev"),
        ("b", "n", "rain", "dev"),
        ("c", "w", "rain", "dev"),
        ("d", "w", "dog", "train"),
    ]:
        (tmp_path / name).write_text(letter)
        rows.append(f"{name},{label},{split}")
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    recordings = labelled_recordings(tmp_path, "dev")
    assert [label for _, label in recordings] == ["dog", "rain", "rain"]
    wordings = {"rain": ["rain", "drizzle"], "dog": ["dog", "hound"]}
    queries = [(as_query(file, None, 16_000), label) for file, label in recordings]
    labels = zero_shot(Compass(), queries, wordings)
    # First wordings: east is dog, north rain, and west is at 0 from rain, -1 from dog: all right.
    # Second: east lies by hound, north by hound too, west by drizzle: two of three.
    assert labels.by_wording == pytest.approx((1.0, 2 / 3))
    # Means: dog (0.8, 0.4), rain (-0.5, 0.5): east dog; north rain (0.71 over 0.45); west rain.
    assert labels.averaged == 1.0
    assert labels.by_label == {"dog": 1.0, "rain": 1.0}
    assert labels.num_recordings == 3


def test_of_a_recording_only_its_active_stretch_is_judged(tmp_path: Path) -> None:
    rate, file = 32_000, tmp_path / "late.wav"
    waveform = np.zeros(3 * rate, np.float32)
    waveform[2 * rate :] = 0.5 * np.sin(0.05 * np.arange(rate))
    sf.write(file, waveform, rate)
    (example,) = as_query(file, 0.5, 8_000).examples
    assert isinstance(example.source, np.ndarray)
    assert example.source.shape == (4_000,)
    assert example.sample_rate == 8_000
    assert np.abs(example.source).max() > 0.4
