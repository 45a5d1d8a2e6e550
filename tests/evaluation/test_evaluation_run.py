"""qsep.evaluation.run, the text table and audio examples, on items made in memory."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import names
from items_in_memory import Items, Scaled, WordModel, rows_of

from qsep.evaluation.estimators.ideal_masks import IdealMask, UnprocessedMixture
from qsep.evaluation.interface import Item
from qsep.evaluation.report.write import text_table
from qsep.evaluation.run import evaluate
from qsep.evaluation.scores import COLUMNS


class PeakEmbedder:
    """(peak, rate in kHz) of a recording, (1, 0) of a text."""

    fingerprint = "peak"

    def embed_audio(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        return np.array([np.abs(waveform).max(), sample_rate / 1000], dtype=np.float64)

    def embed_text(self, text: str) -> np.ndarray:
        return np.array([1.0, 0.0])


def test_summary_holds_the_closed_form_scores(tmp_path: Path) -> None:
    overall = evaluate(Scaled(error=0.1), Items(), tmp_path).overall
    # float32 tones: 1e-4 dB of 20 dB
    for metric in ("si_sdr", "si_sdr_i", "sdr", "sdr_i"):
        assert overall[metric].mean == pytest.approx(20.0, abs=1e-4)
    assert "leakage_db" not in overall


def test_families_average_over_the_items_of_all_their_labels(tmp_path: Path) -> None:
    families = {"a": ("vowel", "letter"), "b": ("letter",), "c": ("unheard",)}
    actual = evaluate(Scaled(0.1), Items(families=families), tmp_path).families
    assert {name: values["sdr"].count for name, values in actual.items()} == {
        "letter": 3,
        "vowel": 1,
    }
    assert actual["vowel"]["sdr"].mean == pytest.approx(20, abs=1e-4)


def test_labels_have_their_own_counts(tmp_path: Path) -> None:
    labels = evaluate(Scaled(), Items(), tmp_path).labels
    assert [(label, values["sdr"].count) for label, values in labels.items()] == [
        ("a", 1),
        ("b", 2),
    ]


def test_a_model_gets_the_items_query_and_rate(tmp_path: Path) -> None:
    model = WordModel()
    summary = evaluate(model, Items(), tmp_path)
    assert model.calls == [("a tone", 32000)] * 3
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
    one, two = stored["labels"]["a"]["sdr"], stored["labels"]["b"]["sdr"]
    assert (one["count"], one["low"], one["high"]) == (1, None, None)  # one item has no interval
    assert two["low"] <= two["mean"] <= two["high"]
    assert names(tmp_path) == {"items.csv", "summary.json"}


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


def test_a_run_killed_before_its_first_row_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise SystemExit

    monkeypatch.setattr("qsep.evaluation.run._add_rows", killed)
    monkeypatch.setattr("qsep.evaluation.run._write", killed)
    with pytest.raises(SystemExit):
        evaluate(Scaled(), Items(), tmp_path / "cut")
    monkeypatch.undo()
    assert evaluate(Scaled(), Items(), tmp_path / "cut") == evaluate(
        Scaled(), Items(), tmp_path / "whole"
    )


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


def test_overwrite_discards_the_earlier_run(tmp_path: Path) -> None:
    evaluate(Scaled(), Items(), tmp_path)
    summary = evaluate(Scaled(error=0.01, fingerprint="3"), Items(), tmp_path, overwrite=True)
    assert summary.overall["sdr"].mean == pytest.approx(40.0, abs=1e-3)
    assert len(rows_of(tmp_path)) == 4


def test_items_of_an_unknown_run_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("mine\n")
    with pytest.raises(ValueError, match=r"holds items\.csv, which no earlier qsep evaluate wrote"):
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
def test_an_invalid_estimate_fails_its_item(
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


def test_ideal_mask_of_alternating_sounds_is_nearly_perfect() -> None:
    tone = np.cos(0.3 * np.arange(16384)).astype(np.float32)
    early = np.arange(16384) < 5000
    late = np.arange(16384) >= 9000  # no frame of 2048 samples sees both
    target, rest = tone * early, tone * late
    item = Item("turns", "a tone", "tone", target + rest, target, rest, 32000)
    estimate = IdealMask("irm")(item).numpy()
    assert estimate == pytest.approx(target, abs=1e-6)  # float32 input, float64 transform


def test_ideal_mask_of_two_equal_sounds_halves_the_mixture() -> None:
    sound = np.random.default_rng(10).normal(0, 0.1, 3001).astype(np.float32)
    item = Item("equal", "noise", "noise", 2 * sound, sound, sound, 32000)
    assert IdealMask("irm")(item).numpy() == pytest.approx(sound, abs=1e-6)


def test_table_lists_the_overall_row_then_labels_in_aligned_columns(tmp_path: Path) -> None:
    lines = text_table(evaluate(Scaled(), Items(), tmp_path)).splitlines()
    assert lines[0] == "scaled on custom manifest (plain): 3 of 3 items; dB"
    assert [line.split()[0] for line in lines[3:]] == ["overall", "a", "b"]
    assert lines[3].split()[1:4] == ["3", "20.00", "20.00"]
    assert len({len(line) for line in lines[2:]}) == 1


def test_no_row_of_the_table_repeats_another(tmp_path: Path) -> None:
    """All items are animals; those of label a are the only birds; the queries are the labels' names."""
    families = {"a": ("animal", "bird"), "b": ("animal",)}
    items = Items(families=families)
    lines = text_table(evaluate("irm", items, tmp_path, baselines=True)).splitlines()
    first_words = [line.split("  ")[0] for line in lines[3:-1]]
    assert first_words == [
        *("overall", "unprocessed mixture", "ideal binary mask", "ideal phase-sensitive mask"),
        *("a", "b"),
    ]
    assert lines[-1] == "same as overall: ideal ratio mask, family animal"


def test_table_lists_baselines_silence_and_the_distance(tmp_path: Path) -> None:
    silent = Scaled(error=0.0, gain=0.0)
    summary = evaluate(silent, Items(), tmp_path, baselines=True, embedder=PeakEmbedder())
    lines = text_table(summary).splitlines()
    assert [line[:26].strip() for line in lines[4:7]] == [
        "ideal binary mask",
        "ideal ratio mask",
        "ideal phase-sensitive mask",
    ]
    assert lines[-3:] == [
        "same as overall: unprocessed mixture",  # silence has 0 dB, as the mixture of equal tones
        "silent: 3 of the estimates",
        "Fréchet audio distance: 1.0000",
    ]


def test_silent_estimates_and_targets_are_counted(tmp_path: Path) -> None:
    silent = Scaled(error=0.0, gain=0.0)
    present = evaluate(silent, Items(), tmp_path / "present")
    assert present.num_silent == {"target": 0, "estimate": 3}
    assert present.overall["si_sdr"].mean == 0.0  # as sdr.py defines it
    absent = evaluate(silent, Items(absent=True), tmp_path / "absent")
    assert absent.num_silent == {"target": 3, "estimate": 3}


def test_source_aggregated_sdr_counts_target_and_rest(tmp_path: Path) -> None:
    # target and rest of equal energy E, an error of 0.01 E in either: 2 E / 0.02 E
    summary = evaluate(Scaled(error=0.1), Items(), tmp_path)
    assert summary.overall["sa_sdr"].mean == pytest.approx(20.0, abs=1e-4)


def test_the_best_and_the_worst_items_are_kept_as_audio(tmp_path: Path) -> None:
    class Uneven(Scaled):
        def __call__(self, item: Item) -> np.ndarray:
            self.error = {"one": 0.1, "two": 0.001, "three": 3.0}[item.id]
            return super().__call__(item)

    evaluate(Uneven(), Items(), tmp_path, keep_audio=1)
    stems = json.loads((tmp_path / "audio" / "audio.json").read_text())
    assert stems == {"two": "000001", "three": "000002"}
    item = Items().render(2)
    expected = [item.mixture, item.target, item.target + 3 * item.rest]
    peak = max(np.abs(waveform).max() for waveform in expected)
    for role, waveform in zip(("mixture", "target", "estimate"), expected, strict=True):
        kept, rate = soundfile.read(tmp_path / "audio" / f"000002.{role}.flac")
        assert rate == 32000
        assert kept == pytest.approx(waveform / peak, abs=1.01 / 32768)  # 16 bits


def test_embeddings_give_similarities_and_the_distance_of_the_run(tmp_path: Path) -> None:
    estimator = Scaled(error=0.0, gain=0.5)
    summary = evaluate(estimator, Items(), tmp_path, embedder=PeakEmbedder())
    # Peaks of 1 and 0.5, and rates of 32000 beside them: cos of (1, 32) and (0.5, 32), in (peak, kHz)
    cosine = (0.5 + 32**2) / np.sqrt((1 + 32**2) * (0.25 + 32**2))
    assert summary.overall["audio_score"].mean == pytest.approx(cosine, abs=1e-6)
    assert summary.overall["text_score"].mean == pytest.approx(0.5 / np.hypot(0.5, 32), abs=1e-6)
    assert summary.frechet_distance == pytest.approx(0.25, abs=1e-6)  # both without spread
    again = evaluate(estimator, Items(), tmp_path, embedder=PeakEmbedder())
    assert again == summary
    with pytest.raises(ValueError, match="different embedding"):
        evaluate(estimator, Items(), tmp_path)
