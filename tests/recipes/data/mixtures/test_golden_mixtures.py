"""Items of every data set of mixtures are those of earlier versions, with the same seeds."""

import json
from pathlib import Path
from typing import Any

import golden_mixtures
import pytest

STORED = json.loads(Path(golden_mixtures.__file__).with_suffix(".json").read_text("utf-8"))


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return golden_mixtures.golden(tmp_path_factory.mktemp("recordings"))


@pytest.mark.parametrize("name", STORED)
def test_a_seed_draws_the_items_that_it_always_drew(name: str, items: Any) -> None:
    assert len(items[name]) == len(STORED[name]) == golden_mixtures.DRAWS
    for item, expected in zip(items[name], STORED[name], strict=True):
        assert item["queries"] == expected["queries"]
        assert item["id"] == expected["id"]
        # Fourier transforms and resampling in float32 round differently on other processors
        assert item["rms"] == pytest.approx(expected["rms"], rel=1e-4, abs=1e-9)
        scale = max(expected["rms"]) * golden_mixtures.SAMPLES**0.5
        assert item["projected"] == pytest.approx(expected["projected"], abs=1e-4 * scale)


def test_every_data_set_has_stored_items(items: Any) -> None:
    assert items.keys() == STORED.keys()
