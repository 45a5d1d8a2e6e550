"""`smoke.toml` trains a separator that works, on synthetic sounds, in half a minute."""

from dataclasses import replace
from pathlib import Path
from statistics import mean, median

import pytest
from command import process_state_restored
from installed import needs

from qsep.evaluation.metrics.sdr import leakage_db, si_sdr
from qsep.recipes.training.build import build_book, build_data, build_query_encoder, build_task
from qsep.recipes.training.config import read_recipe
from qsep.separation import load
from qsep.separation.api import Model

pytestmark = [
    pytest.mark.slow,  # 20 s of one core, and 10 more where no phrase is cached yet
    needs("lightning_fabric", "pip install 'qsep[train]'"),
]

RECIPE, CONTENT = read_recipe("smoke")
NUM_MIXTURES = 24


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run."""
    from qsep.recipes.training.loop import train

    with process_state_restored():
        folder = train(RECIPE, CONTENT, tmp_path_factory.mktemp("smoke"), accelerator="cpu")
        assert folder is not None
        return folder.parent


@pytest.fixture(scope="module")
def trained(run: Path) -> Model:
    return load(run / "model", "cpu")


@pytest.fixture(scope="module")
def untrained() -> Model:
    _, _, encoder = build_query_encoder(RECIPE)
    separator = build_task(RECIPE, build_book(RECIPE), encoder).model
    return Model(separator.eval(), encoder)


def scores(model: Model) -> tuple[float, float]:
    """On sounds that no run was trained on: mean SI-SDR improvement of present ones, median level of
    the answers to queries for absent ones, both in dB."""
    other = replace(RECIPE, train=replace(RECIPE.train, seed=RECIPE.train.seed + 1000))
    data = build_data(other, build_book(RECIPE), model.separator.sample_rate, validation=True)
    improvements, leaks = [], []
    for draw in range(NUM_MIXTURES):
        sources, queries, _ = data[draw]
        mixture = sources.sum(dim=0)
        for source, query in zip(sources, queries, strict=True):
            if query is None:
                continue
            target = model.separate(mixture, query).target
            if source.any():
                improvement = si_sdr(target, source) - si_sdr(mixture, source)
                improvements.append(float(improvement))
            else:
                leaks.append(float(leakage_db(target, mixture)))
    assert len(improvements) >= 2 * NUM_MIXTURES
    assert len(leaks) >= NUM_MIXTURES // 2
    return mean(improvements), median(leaks)


@pytest.fixture(scope="module")
def scores_after(trained: Model) -> tuple[float, float]:
    return scores(trained)


@pytest.fixture(scope="module")
def scores_before(untrained: Model) -> tuple[float, float]:
    return scores(untrained)


def test_the_trained_model_separates_unseen_mixtures(
    scores_before: tuple[float, float], scores_after: tuple[float, float]
) -> None:
    # measured: 13 dB after training; 0 dB before
    assert scores_before[0] < 1
    assert scores_after[0] > 8


def test_the_trained_model_is_silent_for_absent_sounds(
    scores_before: tuple[float, float], scores_after: tuple[float, float]
) -> None:
    # measured: -20 dB after training; -6 dB before
    assert scores_before[1] > -10
    assert scores_after[1] < -14


def test_the_trained_model_lists_its_classes(trained: Model) -> None:
    assert trained.classes == ("a bass drum", "a clock ticking", "a flute", "rain falling")


def test_the_run_logs_its_validation_and_draws_its_curves(run: Path) -> None:
    assert (run / "loss.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert '"si_sdr_i"' in (run / "log.jsonl").read_text()
