"""The audio-visual benchmark: what it scores, its table, and that it runs and is not repeated."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from installed import needs
from PIL import Image

from qsep.queries.interface import ImageQuery
from qsep.queries.media import read_picture
from qsep.recipes.benchmarks.quality import audiovisual, bimodal
from qsep.recipes.data.shapes import LOOKS

RATE = 8000


def test_a_trial_is_a_function_of_its_number() -> None:
    first, again, other = (audiovisual.trial(number, RATE) for number in (4, 4, 5))
    np.testing.assert_array_equal(first.scene.picture, again.scene.picture)
    assert (first.scene.picture != other.scene.picture).any()
    assert first.sounds.keys() == first.scene.regions.keys() == first.alone.keys()
    assert len(first.sounds) == 2
    for label, sound in first.sounds.items():
        assert sound.shape == (2 * RATE,)
        np.testing.assert_array_equal(sound, again.sounds[label])
        assert abs(sound).max() <= 0.5


class Oracle:
    """Knows the sounds: separates, locates and recognises them, or their opposites if `wrong`."""

    def __init__(self, wrong: bool) -> None:
        self.wrong = wrong
        self.trials = [audiovisual.trial(number, RATE) for number in range(4)]
        self.separator = type("Separator", (), {"sample_rate": RATE})()

    def label_of(self, sound: np.ndarray) -> tuple[Any, str]:
        (match,) = (
            (item, label)
            for item in self.trials
            for label, known in item.sounds.items()
            if np.array_equal(known, sound)
        )
        return match

    def separate(self, mixture: np.ndarray, queries: list[ImageQuery]) -> list[Any]:
        (item,) = (
            item
            for item in self.trials
            if [ImageQuery(scene.picture) for scene in item.alone.values()] == queries
        )
        sounds = [*item.sounds.values()]
        chosen = sounds[::-1] if self.wrong else sounds
        return [type("Result", (), {"target": sound + 1e-3 * mixture})() for sound in chosen]

    def locate(self, picture: np.ndarray, sound: np.ndarray) -> np.ndarray:
        item, label = self.label_of(sound)
        labels = list(item.sounds)
        shown = labels[1 - labels.index(label)] if self.wrong else label
        if np.array_equal(picture, item.scene.picture):
            return item.scene.regions[shown].astype(np.float32)
        pictures = [scene.picture.astype(float) for scene in item.alone.values()]
        np.testing.assert_allclose(picture, np.mean(pictures, axis=0), atol=0.5)  # rounded
        region = item.alone[shown].regions[shown]
        return (region & ~item.alone[label].regions[label] if self.wrong else region).astype(
            np.float32
        )

    def similarities(self, sound: np.ndarray, queries: list[ImageQuery]) -> np.ndarray:
        assert len({read_picture(q.frames[0]).tobytes() for q in queries}) == len(LOOKS)
        matches = np.array([label == self.label_of(sound)[1] for label in LOOKS], float)
        return -matches if self.wrong else matches


@pytest.fixture(name="scores_of")
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], dict[str, np.ndarray]]:
    def scores(wrong: bool) -> dict[str, np.ndarray]:
        oracle: Any = Oracle(wrong)
        monkeypatch.setattr(audiovisual, "locate", lambda _, *rest: oracle.locate(*rest))
        monkeypatch.setattr(
            audiovisual, "similarities", lambda _, *rest: oracle.similarities(*rest)
        )
        return audiovisual.scores_of(oracle, 4)

    return scores


def test_an_oracle_scores_everything_and_its_opposite_nothing(
    scores_of: Callable[[bool], dict[str, np.ndarray]],
) -> None:
    right, wrong = scores_of(False), scores_of(True)
    for name in ("pointing", "which", "overlap", "ciou", "blended", "recognised"):
        assert right[name].tolist() == [1.0] * 8, name
        assert wrong[name].tolist() == [0.0] * 8, name
    assert right["si_sdr_i"].min() > 30
    assert wrong["si_sdr_i"].max() < 0
    for name in audiovisual.CHANCE:  # maps of other scenes
        assert right[f"{name} by chance"].mean() < 0.5


def made_up(pointing: list[float]) -> dict[str, np.ndarray]:
    scores = {name: np.array(pointing) for name in audiovisual.METRICS}
    chance = {f"{name} by chance": np.zeros(4) for name in audiovisual.CHANCE}
    return scores | chance


def test_the_table_has_means_over_seeds_in_percent_and_the_means_of_each() -> None:
    runs = {
        ("all terms", 0): made_up([1, 1, 1, 1]),
        ("all terms", 1): made_up([0, 0, 0, 0]),
        ("separation alone", 0): made_up([0, 0, 0, 0]),
    }
    lines = audiovisual.as_markdown(runs).splitlines()
    assert lines[2].startswith("| all terms | 50 [50, 50] (100, 0) | 50 [50, 50] (100, 0) |")
    assert lines[2].endswith("| 0.50 [0.50, 0.50] (1.00, 0.00) |")
    assert lines[3].startswith("| separation alone | 0 [0, 0] |")
    assert lines[4].startswith("| chance | 0 [0, 0] (0, 0) | 50 | 0 [0, 0] (0, 0) |")
    assert audiovisual.as_csv(runs).splitlines()[1].startswith("all terms,0,1.0,1.0,1.0,")


@pytest.mark.slow
@needs("open_clip", "pip install 'qsep[clip]'")
@needs("lightning_fabric", "pip install 'qsep[train]'")
def test_it_trains_scores_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    overrides = [
        "separator.channels=[6, 7, 8]",
        "data.num_validation=0",
        "train.steps=2",
        "train.batch_size=2",
    ]
    arguments = ["--ways", "all terms", "separation alone", "--seeds", "0", "--trials", "3"]
    arguments += ["-o", str(tmp_path / "out"), "--set", *overrides]
    monkeypatch.setattr(sys, "argv", ["audiovisual", *arguments])
    audiovisual.main()
    assert (tmp_path / "out/audiovisual.md").read_text() in capsys.readouterr().out
    rows = (tmp_path / "out/runs.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["way", "all terms", "separation alone"]
    assert Image.open(tmp_path / "out/scene.png").size == (3 * 192 + 16, 192)
    monkeypatch.setattr(bimodal, "train", lambda *arguments, **settings: pytest.fail("again"))
    audiovisual.main()
    assert (tmp_path / "out/runs.csv").read_text().splitlines() == rows
