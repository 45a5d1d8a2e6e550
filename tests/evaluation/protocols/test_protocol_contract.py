"""What every protocol promises: each file in evaluation/protocols, found by scanning the folder."""

import csv
import importlib
import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniatures import MINIATURES

from qsep.evaluation import protocols
from qsep.evaluation.interface import NO_PUBLICATION, Item, ItemSet
from qsep.evaluation.protocols import load_items, protocol_names
from qsep.evaluation.run import evaluate
from qsep.evaluation.scores import COLUMNS, MIXTURE_BSS, PUBLISHED

# Every file, whether or not it has a miniature (it then fails).
pytestmark = pytest.mark.parametrize("protocol", protocol_names())


class Leaky:
    """An estimator that leaves a third of the rest. fails: on these ids."""

    name, fingerprint, model = "leaky", "1", None

    def __init__(self, fails: Sequence[str] = ()) -> None:
        self.fails = fails

    def __call__(self, item: Item) -> np.ndarray:
        if item.id in self.fails:
            raise RuntimeError("out of luck")
        noise = np.random.default_rng(3).standard_normal(item.target.shape)
        return 0.9 * item.target + 0.3 * item.rest + 1e-3 * noise


@pytest.fixture(name="sets")
def item_sets(protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ItemSet]:
    """The protocol's miniature under each of its conditions."""
    if protocol not in MINIATURES:
        pytest.fail(
            f"evaluation/protocols/{protocol}.py: give tests/support/miniatures.py data for it"
        )
    module = importlib.import_module(f"{protocols.__name__}.{protocol}")
    for name, value in MINIATURES[protocol].patches.items():
        monkeypatch.setattr(module, name, value)
    data = tmp_path / "data"
    data.mkdir()
    arguments = MINIATURES[protocol].make(data)
    return {
        condition: load(protocol, data, condition, **arguments.get(condition, {}))
        for condition in module.CONDITIONS
    }


def load(
    protocol: str,
    folder: Path,
    condition: str,
    data: Path | None = None,
    manifest: Path | None = None,
    **settings: str,
) -> ItemSet:
    return load_items(protocol, data or folder, manifest, condition, settings)


def test_it_declares_its_conditions_and_how_it_is_loaded(protocol: str) -> None:
    module = importlib.import_module(f"{protocols.__name__}.{protocol}")
    assert module.__doc__
    assert module.CONDITIONS[0] == "plain"
    assert len(set(module.CONDITIONS)) == len(module.CONDITIONS)
    parameters = dict(inspect.signature(module.load).parameters)
    assert list(parameters)[:3] == ["data", "manifest", "condition"]
    assert (parameters["manifest"].default, parameters["condition"].default) == (None, "plain")
    assert all(isinstance(p.default, str) for p in list(parameters.values())[3:])


def test_queries_are_known_before_anything_is_rendered(
    protocol: str, sets: dict[str, ItemSet]
) -> None:
    for items in sets.values():
        assert items.name
        assert len(items.manifest_sha256) == 64
        assert 0 < len(items.ids) == len(set(items.ids)) == len(items.item_queries)
        assert all(isinstance(families, tuple) for families in items.families.values())
    plain = sets["plain"]
    assert all(
        item_query.query and item_query.label not in item_query.others
        for item_query in plain.item_queries
    )
    fingerprints = {items.fingerprint for items in sets.values()}
    assert len(fingerprints) == len(sets)


def test_rendered_items_match_their_queries_and_their_parts_sum_to_the_mixture(
    protocol: str, sets: dict[str, ItemSet]
) -> None:
    for items in sets.values():
        for index, (item_id, item_query) in enumerate(
            zip(items.ids, items.item_queries, strict=True)
        ):
            item, again = items.render(index), items.render(index)
            assert (item.id, item.query, item.label, item.others) == (item_id, *item_query)
            assert item.sample_rate > 0
            assert item.mixture.ndim == 1
            parts = (item.mixture, item.target, item.rest, *item.rest_sources, *item.target_sources)
            for part in parts:
                assert part.dtype == np.float32
                assert part.shape == item.mixture.shape
            # one rounding of float32 values under 2
            np.testing.assert_allclose(item.target + item.rest, item.mixture, atol=2e-7)
            np.testing.assert_array_equal(again.mixture, item.mixture)
            np.testing.assert_array_equal(again.target, item.target)


def test_every_condition_is_scored_and_published_figures_are_finite(
    protocol: str, sets: dict[str, ItemSet], tmp_path: Path
) -> None:
    for condition, items in sets.items():
        summary = evaluate(Leaky(), items, tmp_path / condition)
        assert (summary.num_scored, summary.failed) == (len(items.ids), {})
        assert all(math.isfinite(value) for value in summary.published.values())
        assert bool(summary.published) == (items.publication != NO_PUBLICATION)


def test_it_measures_columns_that_are_declared(protocol: str, sets: dict[str, ItemSet]) -> None:
    for items in sets.values():
        item = items.render(0)
        measured = items.publication.measure(item, Leaky()(item).astype(np.float64))
        assert measured.keys() <= {*PUBLISHED, *MIXTURE_BSS}


def test_a_run_that_began_before_a_metric_existed_resumes(
    protocol: str, sets: dict[str, ItemSet], tmp_path: Path
) -> None:
    """Each of the columns measured is taken out of the first rows, as if it were new now."""
    items, scores = sets["plain"], tmp_path / "scores"
    first = evaluate(Leaky(fails=items.ids[1:]), items, scores)
    assert (first.num_scored, first.num_failed) == (1, len(items.ids) - 1)
    rows = read(scores / "items.csv")
    measured = [name for name in COLUMNS[COLUMNS.index("silent") + 1 :] if rows[0][name]]
    assert measured
    kept = [name for name in COLUMNS if name not in measured]
    with (scores / "items.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    summary = evaluate(Leaky(), items, scores)
    assert (summary.num_scored, summary.failed) == (len(items.ids), {})
    rows = read(scores / "items.csv")
    with_target = [row for row in rows if "target" not in row["silent"]]
    assert summary.overall["si_sdr"].count == len(with_target) - ("si_sdr" in measured)
    assert list(rows[0]) == list(COLUMNS)


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
