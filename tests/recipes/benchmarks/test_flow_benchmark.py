"""What the flow benchmark says about estimates, and the folders that it writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import noise

from qsep.evaluation.interface import Item
from qsep.evaluation.report.listening import read_pairs
from qsep.recipes.benchmarks.quality.flow import Scorer, as_csv, plot, write_audio

RATE = 8000


class Moments:
    """Embeds a sound as its mean, deviation and largest sample."""

    fingerprint = "moments"

    def embed_audio(self, waveform: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
        return np.array([waveform.mean(), waveform.std(), waveform.max()], np.float64)

    def embed_text(self, text: str) -> None:
        return None


def items() -> list[Item]:
    sounds = noise(4, 2, RATE).numpy()
    return [
        Item(f"dev-{number}", "a dog", "dog", target + rest, target, rest, RATE)
        for number, (target, rest) in enumerate(sounds)
    ]


def scorer(masked: Sequence[NDArray[np.float32]]) -> Scorer:
    return Scorer(items(), masked, {"moments": Moments()})


def test_the_targets_themselves_have_no_holes_and_no_distance() -> None:
    masked = [0.5 * item.mixture for item in items()]
    scores = scorer(masked).scores([item.target for item in items()])
    assert scores["holes"] == scores["frechet_moments"] == 0
    assert scores["similarity_moments"] == 1
    assert scores["to_mask"] == scores["si_sdr_i"] > 100  # the mask's improvement is 0


def test_differences_to_the_mask_are_paired() -> None:
    masked = [item.target + 0.1 * item.rest for item in items()]
    halved = [item.target + 0.05 * item.rest for item in items()]
    scores = scorer(masked).scores(halved)
    # 20 log10(2), but for the correlation of target and rest
    for column in ("to_mask", "to_mask_low", "to_mask_high"):
        assert scores[column] == pytest.approx(6.02, abs=0.1), column
    assert scorer(masked).scores(masked)["to_mask"] == 0


def test_holes_are_filled_item_by_item() -> None:
    masked = [np.zeros(RATE, np.float32) for _ in items()]
    targets = [item.target for item in items()]
    filled, with_noise = scorer(masked).filled(targets)
    for target, one, other in zip(targets, filled, with_noise, strict=True):
        assert np.corrcoef(target, one)[0, 1] > 0.99
        assert abs(np.corrcoef(target, other)[0, 1]) < 0.1


def test_two_settings_can_be_compared_by_ear(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_audio(tmp_path / name, items(), [item.target for item in items()])
    write_audio(tmp_path / "mixtures", items(), [item.mixture for item in items()], False)
    pairs = read_pairs(tmp_path / "a", tmp_path / "b", tmp_path / "mixtures").pairs
    assert [pair.words for pair in pairs] == ["a dog"] * 4
    assert all(pair.mixture is not None for pair in pairs)


def test_the_table_has_a_row_and_the_plot_a_point_for_each_setting(tmp_path: Path) -> None:
    scores = scorer([item.mixture for item in items()]).scores([item.target for item in items()])
    setting = {"model": "m", "temperature": 0.5, "mask_exponent": 1.0}
    scores = {**scores, "seconds": 1.0}
    mask: dict[str, Any] = dict.fromkeys(("steps", *setting), "") | {"model": "mask"} | scores
    rows = [mask, *({"steps": steps} | setting | scores for steps in (1, 4))]
    lines = as_csv(rows).splitlines()
    assert lines[0].split(",") == list(rows[0])
    assert len(lines) == 4
    plot(rows, tmp_path / "steps.png")
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")
