"""The comparison of ways to train: what its table says of scores, and that it runs and goes on."""

import sys
from pathlib import Path

import numpy as np
import pytest
from captioned_recipe import labelled_recordings, tiny_overrides

from qsep.recipes.benchmarks.quality import bimodal


def scores(sdr: list[list[float]]) -> bimodal.Scores:
    return {metric: np.array(sdr) for metric in bimodal.METRICS}


def test_ratios_and_differences_are_of_the_items_means_over_seeds() -> None:
    """Means over seeds 3, 5 and 1, 3: ratio 2, differences of 2 in every item, so of no width."""
    actual = {"weak": scores([[2.0, 6.0], [4.0, 4.0]]), "unsupervised": scores([[1.0, 3.0]] * 2)}
    text = bimodal.as_markdown(actual, "items")
    assert "| weak | none | 4.00 [3.00, 5.00] (4.00, 4.00) | 4.00 [3.00, 5.00]" in text
    assert "| weak over unsupervised | 1.71 | 2.00 [1.67, 3.00] | +2.00 [+2.00, +2.00] |" in text
    assert "supervised-tenth" not in text


def test_no_ratio_is_given_over_scores_that_may_be_zero() -> None:
    actual = {"weak": scores([[2.0, 6.0]]), "supervised": scores([[-1.0, 3.0]])}
    text = bimodal.as_markdown(actual, "items")
    assert "| weak over supervised | 0.975 | none: the other's SDR may be 0 dB or less |" in text


def test_runs_are_listed_seed_by_seed() -> None:
    text = bimodal.as_csv({"weak": scores([[1.0, 2.0], [3.0, 4.5]])}, [5, 7])
    assert text.splitlines()[1:] == ["weak,5,1.5,1.5,1.5", "weak,7,3.75,3.75,3.75"]


@pytest.mark.slow
def test_it_trains_evaluates_and_is_not_repeated(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = labelled_recordings(tmp_path)
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    manifest = tmp_path / "manifest.csv"
    kinds = sorted({path.name.partition("-")[0] for path in folder.glob("*-dev-0.wav")})
    lines = [
        "id,query,seconds,snr_db,target,target_start,target_label,interferers,interferer_starts,"
        "interferer_labels"
    ]
    for index in range(4):
        target, other = kinds[index % len(kinds)], kinds[(index + 1) % len(kinds)]
        lines.append(
            f"{index},{target},1.0,0,{target}-dev-0.wav,0,{target},{other}-dev-1.wav,0,{other}"
        )
    manifest.write_text("\n".join(lines) + "\n")
    overrides = [
        *tiny_overrides(folder)[1:],
        "train.steps=2",
        "train.warmup_steps=1",
        "train.decay_steps=1",
        "train.num_workers=0",
        "train.precision=32-true",
    ]
    arguments = ["--data", str(folder), "--manifest", str(manifest), "--every", "2"]
    arguments += ["--ways", "weak", "unsupervised", "--seeds", "0", "-o", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["bimodal", *arguments, "--set", *overrides])
    bimodal.main()
    first = capsys.readouterr().out
    assert (tmp_path / "out" / "bimodal.md").read_text() in first
    rows = (tmp_path / "out" / "runs.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["way", "weak", "unsupervised"]
    monkeypatch.setattr(
        bimodal, "train", lambda *arguments, **settings: pytest.fail("trained again")
    )
    bimodal.main()
    assert (tmp_path / "out" / "runs.csv").read_text().splitlines() == rows
