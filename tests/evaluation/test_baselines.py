"""qsep.evaluation.estimators.ideal_masks's masks and .baselines, by hand and against runs of their own."""

from pathlib import Path

import numpy as np
import pytest
from items_in_memory import ManyItems, WordModel

from qsep.evaluation.baselines import draw_query
from qsep.evaluation.estimators.ideal_masks import IdealMask, named_estimator
from qsep.evaluation.interface import Item, ItemQuery
from qsep.evaluation.run import evaluate

SOUND = np.random.default_rng(10).normal(0, 0.1, 5001).astype(np.float32)


def shares(share: float) -> Item:
    """A sound of which `share` is the target and what is left the rest."""
    target = (share * SOUND).astype(np.float32)
    return Item("one", "a sound", "sound", SOUND, target, SOUND - target, 16000)


@pytest.mark.parametrize(
    ("mask", "share", "expected"),
    [
        ("ibm", 0.7, 1.0),
        ("ibm", 0.3, 0.0),
        ("irm", 0.3, 0.3),
        ("irm", -0.25, 0.25 / 1.5),  # |S| = 0.25, |R| = 1.25
        ("psm", 0.3, 0.3),
        ("psm", -0.25, 0.0),  # opposite phase
        ("psm", 1.25, 1.0),
    ],
)
def test_ideal_masks_of_scaled_copies_of_one_sound_have_a_closed_form(
    mask: str, share: float, expected: float
) -> None:
    estimate = IdealMask(mask)(shares(share)).numpy()
    assert estimate == pytest.approx(expected * SOUND, abs=1e-6)  # float32 input


def test_masks_of_silence_are_silent() -> None:
    zeros = np.zeros(700, dtype=np.float32)
    item = Item("silent", "a sound", "sound", zeros, zeros, zeros, 16000)
    for mask in ("ibm", "irm", "psm"):
        assert not IdealMask(mask)(item).any()


def test_masks_have_names_and_fingerprints_of_their_own() -> None:
    estimators = [named_estimator(name) for name in ("mixture", "ibm", "irm", "psm")]
    assert len({estimator.fingerprint for estimator in estimators}) == 4
    with pytest.raises(ValueError, match="'iam'; there are mixture, ibm, irm, psm"):
        named_estimator("iam")


def test_baselines_score_as_runs_of_their_own(tmp_path: Path) -> None:
    summary = evaluate(WordModel(filtered=True), ManyItems(), tmp_path / "all", baselines=True)
    assert list(summary.baselines) == [
        *("mixture", "random_query", "label_query"),
        *("ibm", "irm", "psm"),
    ]
    for name in ("mixture", "ibm", "irm", "psm"):
        run = evaluate(name, ManyItems(), tmp_path / name)
        for metric in ("si_sdr", "si_sdr_i", "sdr", "sdr_i"):
            # 2e-6 dB: rows are rounded to 1e-6
            assert summary.baselines[name][metric].mean == pytest.approx(
                run.overall[metric].mean, abs=2e-6
            )
    assert summary.baselines["mixture"]["si_sdr_i"].high == 0


def test_a_model_is_also_scored_with_a_random_query_and_with_the_label_as_query(
    tmp_path: Path,
) -> None:
    model = WordModel()
    evaluate(model, ManyItems(), tmp_path, baselines=True)
    queries = [query for query, _ in model.calls]
    items = [item for item in range(11) if item != 3]
    for index, item in enumerate(items):
        plain_query, other, label = queries[3 * index : 3 * index + 3]
        assert plain_query == f"query {item % 3}"
        assert other in {f"query {number}" for number in range(3)} - {plain_query}
        assert label == f"label {item % 3}"
    assert len(set(queries[1::3])) == 3  # not always the same one


def test_a_query_of_another_label_may_not_exist() -> None:
    assert (
        draw_query("one", "rain", [ItemQuery("rain", "rain"), ItemQuery("it rains", "rain")])
        is None
    )
