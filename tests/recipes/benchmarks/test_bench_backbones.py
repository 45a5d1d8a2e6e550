"""The bench of backbones: who takes part, at what cost, and what is made of the scores."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qsep.evaluation.items.manifest import parse_manifest
from qsep.evaluation.metrics.statistics import describe
from qsep.evaluation.rows import write_rows
from qsep.evaluation.scores import COLUMNS
from qsep.queries.interface import QueryEmbedding
from qsep.recipes.benchmarks.costs.network import count_macs, peak_megabytes, real_time_factor
from qsep.recipes.benchmarks.quality import backbones, backbones_report
from qsep.recipes.benchmarks.quality.backbones import (
    COST_SECONDS,
    MANIFESTS,
    Bench,
    Entrant,
    StoppedError,
    entrants,
    results_of,
    row_of,
)
from qsep.recipes.benchmarks.quality.backbones_report import (
    Cost,
    Row,
    as_csv,
    as_table,
    averaged_over_seeds,
    plot,
    read_results,
    write_results,
)
from qsep.recipes.benchmarks.quality.label_pairs import pairs_manifest
from qsep.recipes.data.mixtures.classes import ClassMixConfig
from qsep.recipes.training.config import read_recipe
from qsep.separation.components import build_separator

BUDGETS = {"small": 3e9, "large": 15e9, "stereo": 3e9}
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
        num_channels = separator.num_channels or 1
        mixture = torch.zeros(1, num_channels, round(seconds * separator.sample_rate))
        features = separator.analysis.features(separator.analysis.carrier(mixture))
        queries = QueryEmbedding(torch.zeros(1, 1, separator.query_dim))
        macs = count_macs(separator, lambda: separator.maps(features, queries))
    assert macs / seconds == pytest.approx(BUDGETS[entrant.budget], rel=0.15)


def test_conv_tasnet_is_within_15_per_cent_of_its_budget() -> None:
    (entrant,) = entrants("small", ["convtasnet"])
    settings = {name: value for name, value in entrant.settings.items() if name != "kind"}
    separator = build_separator("convtasnet", settings).eval()
    mixture, queries = torch.zeros(1, 1, 16000), QueryEmbedding(torch.zeros(1, 1, 384))

    def run() -> None:
        with torch.no_grad():
            separator.separate(mixture, queries, torch.Generator())

    assert separator.sample_rate == 32000
    assert count_macs(separator, run) / 0.5 == pytest.approx(BUDGETS["small"], rel=0.15)


def test_costs_are_those_of_the_separator_with_the_recipes_encoder(tmp_path: Path) -> None:
    settings = {"sample_rate": 8000, "num_filters": 24, "num_blocks": 2}
    separator = build_separator("convtasnet", settings | {"query_dim": 384}).eval()
    mixture = torch.zeros(1, 1, 4 * 8000)
    queries = QueryEmbedding(torch.zeros(1, 1, 384))

    def run() -> None:
        with torch.no_grad():
            separator.separate(mixture, queries, torch.Generator())

    mine = Entrant("mine", "small", {"kind": "convtasnet", **settings})
    recipe = Bench(tmp_path, tmp_path, "smoke").recipe_of(mine)
    cost = backbones.cost_in_this_process(recipe, 4.0)
    assert cost.macs_per_second == count_macs(separator, run) / 4
    assert cost.parameters == sum(weight.numel() for weight in separator.parameters())
    assert 0 < cost.real_time_factor_2
    assert 0 < cost.real_time_factor


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
    with pytest.raises(
        ValueError, match="no budget is called 'huge'; there are small, large, stereo"
    ):
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
    assert lines[2].startswith(
        "| small | dev-2 | tiger | no | 5.00 | [5.00, 5.00] | 1 | 1.50 | 3.10 |"
    )
    assert lines[3].startswith("| small | dev-2 | bsrnn | no | 3.67 |")
    assert "| 2 | 1.50 | 3.10 | 0.250 | 0.140 | 87 |" in lines[3]
    written = as_csv(rows).splitlines()
    assert written[0].startswith("name,budget,seed,manifest,causal,parameters,macs_per_second")
    assert [line.split(",")[:3] for line in written[1:]] == [
        ["bsrnn", "small", "0"],
        ["bsrnn", "small", "1"],
        ["tiger", "small", "0"],
    ]


def test_the_plot_is_an_image(rows: list[Row], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    plot(rows, tmp_path, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_states_the_recipe_as_it_was_used_and_marks_causal_separators(
    tmp_path: Path,
) -> None:
    overrides = ("train.steps=400", "mix.segment_samples=32000")
    described = Bench(tmp_path, tmp_path, overrides=overrides).description
    assert described == (
        "Recipe backbones with train.steps=400 mix.segment_samples=32000: "
        "400 steps of 4 mixtures of 32000 samples and 2 queries."
    )
    row = scored(tmp_path, "bsrnn_causal", 0, {"x": 1.0, "y": 2.0})
    backbones.keep_recipe(tmp_path, described)
    lines = as_table([row], tmp_path).splitlines()
    assert lines[0] == described
    assert lines[4].startswith("| small | dev-2 | bsrnn_causal | yes | 1.50 |")


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    for _ in range(2):
        Bench(tmp_path, tmp_path, overrides=("train.steps=400",)).run([])
    with pytest.raises(ValueError, match=r"holds results of another recipe .*400 steps"):
        Bench(tmp_path, tmp_path, overrides=("train.steps=500",)).run([])


@pytest.mark.parametrize("recipe", ["backbones", "backbones-few", "backbones-stereo"])
def test_the_recipes_have_as_many_queries_as_sources(recipe: str) -> None:
    mix = read_recipe(recipe)[0].mix
    sources = 1 + len(mix["num_sources_weights"])
    assert mix["num_queries"] == sources == 2
    assert len(ClassMixConfig().num_sources_weights) > 1  # so the recipe has to say it


def test_results_are_read_back_as_written_and_a_later_row_replaces_an_earlier(
    rows: list[Row], tmp_path: Path
) -> None:
    write_results(rows, tmp_path)
    assert read_results(tmp_path) == rows
    write_results([*rows, scored(tmp_path, "tiger", 0, {"x": 2.5})], tmp_path)
    again = read_results(tmp_path)
    assert again[:2] == rows[:2]
    assert (again[2].si_sdr_i, again[2].low) == (2.5, None)


def test_costs_measured_again_replace_those_of_the_results(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(rows, tmp_path)
    quiet = Cost(1_500_000, 3.1e9, 0.125, 0.07, 86.0)
    monkeypatch.setattr(Bench, "recipe_of", lambda *_: None)
    monkeypatch.setattr(backbones, "measure_cost", lambda _: quiet)
    bench = Bench(tmp_path, tmp_path)
    bench.measure_costs(entrants("small", ["bsrnn"]))
    factors = [row.real_time_factor for row in read_results(tmp_path)]
    assert factors == [0.125, 0.125, 0.25]
    assert "| 0.125 | 0.070 | 86 |" in (tmp_path / "backbones.md").read_text()
    assert bench.stored_cost(entrants("small", ["bsrnn"])[0]) == quiet


def test_recipes_that_list_their_kinds_are_scored_on_pairs_of_them(tmp_path: Path) -> None:
    assert Bench(tmp_path, tmp_path).scored_on == ("dev-2", "dev-families")
    few = Bench(tmp_path, tmp_path, "backbones-few")
    assert few.scored_on == ("pairs",)
    rows = parse_manifest(few.pairs_file().read_bytes(), "pairs")
    labels = read_recipe("backbones-few")[0].data.labels
    assert len(rows) == len(labels) * (len(labels) - 1) == 132
    assert Bench(tmp_path, tmp_path, "backbones-few", manifests=("dev-3",)).scored_on == ("dev-3",)


def test_scores_are_taken_at_as_many_microphones_as_in_training(tmp_path: Path) -> None:
    conditions = {
        recipe: Bench(tmp_path, tmp_path, recipe).condition
        for recipe in ("backbones", "backbones-few", "backbones-stereo")
    }
    assert conditions == {
        "backbones": "plain",
        "backbones-few": "plain",
        "backbones-stereo": "two-microphones",
    }


def test_every_pair_of_kinds_is_one_mixture_that_is_asked_for_both() -> None:
    labels = ("rain", "flute", "siren")
    rows = {row.id: row for row in parse_manifest(pairs_manifest(labels).encode(), "pairs")}
    assert set(rows) == {f"{first}-{second}" for first, second in permutations(labels, 2)}
    for first, second in permutations(labels, 2):
        row, other = rows[f"{first}-{second}"], rows[f"{second}-{first}"]
        assert (row.targets, row.interferers) == (other.interferers, other.targets)
        assert (row.label, row.labels, row.snr_db) == (first, (second,), 0)
        assert row.targets[0].path.startswith(f"audio/dev/{first}/")
    assert rows["rain-flute"].query == "rain falling"
    with pytest.raises(ValueError, match="dev-2 and dev-3 of sounds150 have no theremin"):
        pairs_manifest([*labels, "theremin"])


def test_results_written_at_the_same_time_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbones_report, "plot", lambda *_: None)
    rows = [scored(tmp_path, "bsrnn", seed, {"x": 1.0 + seed}) for seed in range(5)]

    def add(row: Row) -> None:
        with results_of(tmp_path) as results:
            time.sleep(0.02)  # without a lock, all would have read by now
            results.append(row)

    with ThreadPoolExecutor(len(rows)) as pool:
        list(pool.map(add, rows))
    assert sorted(row.seed for row in read_results(tmp_path)) == [0, 1, 2, 3, 4]


def without_training(monkeypatch: pytest.MonkeyPatch, errors: dict[str, Exception]) -> list[str]:
    """Replaces costs, training and scores; these separators fail in training. Returns the others."""
    trained: list[str] = []

    def train_one(bench: Bench, entrant: Entrant, *_: Any) -> None:
        if entrant.name in errors:
            raise errors[entrant.name]
        trained.append(entrant.name)

    def score_one(bench: Bench, folder: Path, manifest: str) -> Any:
        empty: dict[str, Any] = dict.fromkeys(COLUMNS)
        rows = [empty | {"id": "x", "si_sdr_i": 3.0}]
        write_rows(folder / f"scores-{manifest}" / "items.csv", rows)
        return describe([3.0])

    monkeypatch.setattr(Bench, "recipe_of", lambda *_: None)
    monkeypatch.setattr(Bench, "scored_on", MANIFESTS)
    monkeypatch.setattr(backbones, "measure_cost", lambda _: COST)
    monkeypatch.setattr(Bench, "train_one", train_one)
    monkeypatch.setattr(Bench, "score_one", score_one)
    return trained


def test_one_failing_separator_is_one_line_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = without_training(monkeypatch, {"tiger": ValueError("no finite loss")})
    chosen = entrants("small", ["bsrnn", "tiger", "demucs"])
    assert Bench(tmp_path, tmp_path).run(chosen) == ["tiger"]
    assert trained == ["bsrnn", "demucs"]
    assert capsys.readouterr().err == "qsep: error: tiger: no finite loss\n"
    kept = [(row.name, row.manifest) for row in read_results(tmp_path)]
    assert kept == [(name, manifest) for name in trained for manifest in MANIFESTS]


def test_a_signal_ends_the_bench_and_scores_nothing_half_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = without_training(monkeypatch, {"tiger": StoppedError("stopped")})
    with pytest.raises(StoppedError):
        Bench(tmp_path, tmp_path).run(entrants("small", ["bsrnn", "tiger", "demucs"]))
    assert trained == ["bsrnn"]
    assert {row.name for row in read_results(tmp_path)} == {"bsrnn"}


def test_peak_memory_is_that_of_the_process_and_not_of_the_one_that_started_it() -> None:
    """A child of a process that has held 300 MB, and allocates 40 MB itself."""
    held = np.ones(300 * 2**20, np.uint8)
    program = (
        "import numpy; from qsep.recipes.benchmarks.costs.network import peak_megabytes as peak;"
        "before = peak(); held = numpy.ones(40 * 2**20, numpy.uint8); print(peak() - before)"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert 39 < float(child.stdout) < 60
    assert peak_megabytes() > len(held) / 2**20
