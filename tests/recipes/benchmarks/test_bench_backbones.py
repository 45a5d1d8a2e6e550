"""The bench of backbones: who takes part, at what cost, and what is made of the scores."""

from pathlib import Path
from typing import Any

import pytest
import torch

from qsep.evaluation.metrics.statistics import describe
from qsep.evaluation.rows import write_rows
from qsep.evaluation.scores import COLUMNS
from qsep.queries.interface import QueryEmbedding
from qsep.recipes.benchmarks.costs.network import count_macs, real_time_factor
from qsep.recipes.benchmarks.quality.backbones import (
    COST_SECONDS,
    Cost,
    Row,
    as_csv,
    as_table,
    averaged_over_seeds,
    entrants,
    plot,
    row_of,
)
from qsep.separation.components import build_separator

BUDGETS = {"small": 3e9, "large": 15e9}
QUERIED = [
    entrant
    for budget in BUDGETS
    for entrant in entrants(budget)
    if entrant.settings["kind"] == "queried"
]


@pytest.mark.parametrize(
    "entrant",
    [
        pytest.param(
            entrant,
            id=f"{entrant.budget}-{entrant.name}",
            marks=[pytest.mark.slow]
            if entrant.name == "tiger"
            else [],  # thousands of small layers
        )
        for entrant in QUERIED
    ],
)
def test_every_queried_entrant_is_within_15_per_cent_of_its_budget(entrant: Any) -> None:
    settings = {name: value for name, value in entrant.settings.items() if name != "kind"}
    # Inverse STFTs are not there on the meta device.
    seconds, device = (0.5, "cpu") if entrant.name == "clearbuds" else (COST_SECONDS, "meta")
    with torch.device(device):
        separator = build_separator("queried", settings)
        assert separator.sample_rate == 32000
        mixture = torch.zeros(1, 1, round(seconds * separator.sample_rate))
        features = separator.analysis.features(separator.analysis.carrier(mixture))
        queries = QueryEmbedding(torch.zeros(1, 1, separator.query_dim))
        macs = count_macs(separator, lambda: separator.maps(features, queries))
    assert macs / seconds == pytest.approx(BUDGETS[entrant.budget], rel=0.15)


def test_the_causal_entrants_have_less_than_40_ms_of_latency() -> None:
    causal = [entrant for entrant in QUERIED if entrant.settings.get("causal")]
    assert {entrant.name for entrant in causal} == {"bsrnn_causal", "tfgridnet", "multidilated"}
    for entrant in causal:
        options = {name: value for name, value in entrant.settings.items() if name != "kind"}
        with torch.device("meta"):
            separator = build_separator("queried", options)
        assert separator.capabilities.streaming
        assert separator.analysis.latency_samples / separator.sample_rate <= 0.040


def test_unknown_names_and_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="no budget is called 'huge'; there are small, large"):
        entrants("huge")
    with pytest.raises(ValueError, match="no separator of small is called 'nothing'"):
        entrants("small", ["nothing"])
    assert [entrant.name for entrant in entrants("small", ["tiger", "bsrnn"])] == ["tiger", "bsrnn"]


def test_a_real_time_factor_is_the_median_run_over_the_seconds_of_sound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 1.0, 10.0, 14.0, 20.0, 22.0])  # runs of 1, 4 and 2 seconds
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    ran: list[int] = []
    assert real_time_factor(lambda: ran.append(1), 8.0) == 2 / 8
    assert len(ran) == 4  # one to warm up


COST = Cost(1_500_000, 3.1e9, 0.25, 0.14, 87.0)


def scored(out: Path, name: str, seed: int, values: dict[str, float]) -> Row:
    """A row, and its items' scores as an evaluation leaves them."""
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    rows = [empty | {"id": item, "si_sdr_i": value} for item, value in values.items()]
    write_rows(out / f"small-{name}-{seed}" / "scores-dev-2" / "items.csv", rows)
    entrant = entrants("small", [name])[0]
    return row_of(entrant, seed, "dev-2", COST, describe(list(values.values())))


@pytest.fixture(name="rows")
def two_separators(tmp_path: Path) -> list[Row]:
    return [
        scored(tmp_path, "bsrnn", 0, {"x": 1.0, "y": 2.0, "z": 6.0}),
        scored(tmp_path, "bsrnn", 1, {"x": 3.0, "y": 2.0, "z": 8.0}),
        scored(tmp_path, "tiger", 0, {"x": 5.0, "y": 5.0, "z": 5.0}),
    ]


def test_seeds_are_averaged_item_by_item_before_the_interval(
    rows: list[Row], tmp_path: Path
) -> None:
    actual = averaged_over_seeds(rows, tmp_path)
    assert list(actual) == [("small", "dev-2", "tiger"), ("small", "dev-2", "bsrnn")]
    assert actual["small", "dev-2", "bsrnn"] == describe([2.0, 2.0, 7.0])
    assert (actual["small", "dev-2", "tiger"].low, actual["small", "dev-2", "tiger"].high) == (5, 5)


def test_the_table_has_the_best_first_and_the_csv_a_line_a_seed(
    rows: list[Row], tmp_path: Path
) -> None:
    lines = as_table(rows, tmp_path).splitlines()
    assert lines[2].startswith("| small | dev-2 | tiger | 5.00 | [5.00, 5.00] | 1 | 1.50 | 3.10 |")
    assert lines[3].startswith("| small | dev-2 | bsrnn | 3.67 |")
    assert "| 2 | 1.50 | 3.10 | 0.250 | 0.140 | 87 |" in lines[3]
    written = as_csv(rows).splitlines()
    assert written[0].startswith("name,budget,seed,manifest,parameters,macs_per_second")
    assert [line.split(",")[:3] for line in written[1:]] == [
        ["bsrnn", "small", "0"],
        ["bsrnn", "small", "1"],
        ["tiger", "small", "0"],
    ]


def test_the_plot_is_an_image(rows: list[Row], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
