"""qsep.evaluation.run, .report and .oracle on three items made in memory."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qsep.evaluation.interface import Item
from qsep.evaluation.oracle import IdealRatioMask, UnprocessedMixture
from qsep.evaluation.report import markdown_table, plot, text_table
from qsep.evaluation.run import COLUMNS, evaluate


@dataclass(frozen=True)
class Items:
    """Orthogonal tones of equal energy, one of them the target; labels b, a, b."""

    fingerprint: str = "three tones"
    absent: bool = False
    name: str = "custom manifest"
    manifest_sha256: str = "0"
    condition: str = "plain"
    ids: tuple[str, ...] = ("one", "two", "three")

    def render(self, index: int) -> Item:
        phase = 2 * np.pi * np.arange(640 + 10 * index) / (640 + 10 * index)
        target, rest = (np.cos(k * phase).astype(np.float32) for k in (5, 11 + index))
        mixture = target + rest
        if self.absent:
            target, rest = np.zeros_like(mixture), mixture
        return Item(self.ids[index], "a tone", "bab"[index], mixture, target, rest, 32000)


@dataclass
class Scaled:
    """An estimator: target + error * rest, so that SDR and SI-SDR are -20 log10(error)."""

    error: float = 0.1
    name: str = "scaled"
    fingerprint: str = "1"
    fails_on: str = ""
    seen: list[str] = field(default_factory=list)

    def __call__(self, item: Item) -> np.ndarray:
        if item.id == self.fails_on:
            raise RuntimeError("out of luck")
        self.seen.append(item.id)
        return item.target + self.error * item.rest


@dataclass
class WordModel:
    """A model as qsep.separation gives it, that halves what it hears."""

    name: str = "half"
    fingerprint: str = "2"
    heard: list[tuple[str, int | None]] = field(default_factory=list)

    def separate(self, audio: np.ndarray, query: str, sample_rate: int | None = None) -> object:
        self.heard.append((query, sample_rate))
        return SimpleNamespace(target=0.5 * audio)


def rows_of(folder: Path) -> list[list[str]]:
    with (folder / "items.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_summary_holds_the_closed_form_scores(tmp_path: Path) -> None:
    overall = evaluate(Scaled(error=0.1), Items(), tmp_path).overall
    # float32 tones: 1e-4 dB of 20 dB
    for metric in ("si_sdr", "si_sdr_i", "sdr", "sdr_i"):
        assert overall[metric].mean == pytest.approx(20.0, abs=1e-4)
    assert "leakage_db" not in overall


def test_labels_have_their_own_counts(tmp_path: Path) -> None:
    labels = evaluate(Scaled(), Items(), tmp_path).labels
    assert [(label, values["sdr"].count) for label, values in labels.items()] == [
        ("a", 1),
        ("b", 2),
    ]


def test_a_model_is_asked_in_words_at_the_items_rate(tmp_path: Path) -> None:
    model = WordModel()
    summary = evaluate(model, Items(), tmp_path)
    assert model.heard == [("a tone", 32000)] * 3
    assert summary.overall["si_sdr_i"].mean == pytest.approx(0.0, abs=1e-6)


def test_absent_queries_are_scored_by_leakage_alone(tmp_path: Path) -> None:
    summary = evaluate(WordModel(), Items(absent=True), tmp_path)
    assert list(summary.overall) == ["leakage_db"]
    assert summary.overall["leakage_db"].median == pytest.approx(-6.0206, abs=1e-4)


def test_files_hold_one_row_an_item_and_the_summary(tmp_path: Path) -> None:
    evaluate(Scaled(), Items(), tmp_path)
    rows = rows_of(tmp_path)
    assert rows[0] == list(COLUMNS)
    assert [row[0] for row in rows[1:]] == ["one", "two", "three"]
    stored = json.loads((tmp_path / "summary.json").read_text())
    mean = np.mean([float(row[COLUMNS.index("sdr")]) for row in rows[1:]])
    assert stored["overall"]["sdr"]["mean"] == pytest.approx(mean, abs=1e-12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.csv", "summary.json"]


def test_an_interrupted_run_continues_to_the_same_summary(tmp_path: Path) -> None:
    whole = evaluate(Scaled(), Items(), tmp_path / "whole")
    evaluate(Scaled(), Items(), tmp_path / "cut")
    path = tmp_path / "cut" / "items.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:9])  # killed within the second row
    estimator = Scaled()
    assert evaluate(estimator, Items(), tmp_path / "cut") == whole
    assert estimator.seen == ["two", "three"]
    assert path.read_text() == "".join(lines)


@pytest.mark.parametrize(
    ("estimator", "items", "what"),
    [
        (Scaled(fingerprint="3"), Items(), "model fingerprint"),
        (Scaled(), Items(fingerprint="other tones"), "items fingerprint"),
    ],
)
def test_a_folder_of_another_run_is_refused(
    tmp_path: Path, estimator: Scaled, items: Items, what: str
) -> None:
    evaluate(Scaled(), Items(), tmp_path)
    before = (tmp_path / "items.csv").read_text()
    with pytest.raises(ValueError, match=f"another run .different {what}.*overwrite"):
        evaluate(estimator, items, tmp_path)
    assert (tmp_path / "items.csv").read_text() == before


def test_overwrite_starts_anew(tmp_path: Path) -> None:
    evaluate(Scaled(), Items(), tmp_path)
    summary = evaluate(Scaled(error=0.01, fingerprint="3"), Items(), tmp_path, overwrite=True)
    assert summary.overall["sdr"].mean == pytest.approx(40.0, abs=1e-3)
    assert len(rows_of(tmp_path)) == 4


def test_items_of_an_unknown_run_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("mine\n")
    with pytest.raises(ValueError, match=r"without its summary\.json"):
        evaluate(Scaled(), Items(), tmp_path)
    assert (tmp_path / "items.csv").read_text() == "mine\n"


def test_one_bad_item_is_listed_and_the_others_are_scored(tmp_path: Path) -> None:
    summary = evaluate(Scaled(fails_on="two"), Items(), tmp_path)
    assert (summary.num_items, summary.num_scored, summary.num_failed) == (3, 2, 1)
    assert summary.failed == {"two": "RuntimeError: out of luck"}
    assert [row[0] for row in rows_of(tmp_path)[1:]] == ["one", "three"]


def test_a_failed_item_is_tried_again(tmp_path: Path) -> None:
    evaluate(Scaled(fails_on="two"), Items(), tmp_path / "again")
    again = evaluate(Scaled(), Items(), tmp_path / "again")
    assert again == evaluate(Scaled(), Items(), tmp_path / "once")


@pytest.mark.parametrize(
    ("estimate", "message"),
    [(np.zeros(7), "shape (7,), expected (640,)"), (np.full(640, np.nan), "NaN")],
)
def test_an_impossible_estimate_is_a_failure(
    tmp_path: Path, estimate: np.ndarray, message: str
) -> None:
    class Broken(Scaled):
        def __call__(self, item: Item) -> np.ndarray:
            return estimate

    failed = evaluate(Broken(), Items(ids=("one",)), tmp_path).failed
    assert message in failed["one"]


def test_a_run_without_scores_still_has_a_table(tmp_path: Path) -> None:
    summary = evaluate(Scaled(fails_on="one"), Items(ids=("one",)), tmp_path)
    assert "0 of 1 items, 1 failed" in text_table(summary)
    assert "failed one: RuntimeError: out of luck" in text_table(summary)


def test_mixture_improves_nothing_and_leaks_everything(tmp_path: Path) -> None:
    present = evaluate(UnprocessedMixture(), Items(), tmp_path / "present").overall
    absent = evaluate(UnprocessedMixture(), Items(absent=True), tmp_path / "absent").overall
    assert present["si_sdr_i"].mean == 0.0
    assert absent["leakage_db"].mean == 0.0


def test_ideal_mask_of_sounds_that_take_turns_is_nearly_perfect() -> None:
    tone = np.cos(0.3 * np.arange(16384)).astype(np.float32)
    early = np.arange(16384) < 5000
    late = np.arange(16384) >= 9000  # no frame of 2048 samples sees both
    target, rest = tone * early, tone * late
    item = Item("turns", "a tone", "tone", target + rest, target, rest, 32000)
    estimate = IdealRatioMask()(item).numpy()
    assert estimate == pytest.approx(target, abs=1e-6)  # float32 input, float64 transform


def test_ideal_mask_of_two_equal_sounds_halves_the_mixture() -> None:
    sound = np.random.default_rng(10).normal(0, 0.1, 3001).astype(np.float32)
    item = Item("equal", "noise", "noise", 2 * sound, sound, sound, 32000)
    assert IdealRatioMask()(item).numpy() == pytest.approx(sound, abs=1e-6)


def test_table_lists_the_overall_row_then_labels_in_aligned_columns(tmp_path: Path) -> None:
    lines = text_table(evaluate(Scaled(), Items(), tmp_path)).splitlines()
    assert lines[0] == "scaled on custom manifest (plain): 3 of 3 items; dB"
    assert [line.split()[0] for line in lines[3:]] == ["overall", "a", "b"]
    assert lines[3].split()[1:4] == ["3", "20.00", "20.00"]
    assert len({len(line) for line in lines[2:]}) == 1


def test_markdown_table_has_a_rule_and_the_same_rows(tmp_path: Path) -> None:
    lines = markdown_table(evaluate(Scaled(), Items(absent=True), tmp_path)).splitlines()
    assert lines[0] == "|  | n | leakage | 95 % interval | median |"
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: |"
    assert lines[2] == "| overall | 3 | -20.00 | [-20.00, -20.00] | -20.00 |"


def test_plot_is_a_png_without_a_display(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    plot(evaluate(Scaled(), Items(), tmp_path), tmp_path / "scores.png")
    assert (tmp_path / "scores.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
