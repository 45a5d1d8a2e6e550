"""A tiny recipe to run, and the results of a complete run of it."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import StubEncoder
from training_run import state_of, tiny_recipe, write_material

from qsep.queries.cache import CachedEncoder
from qsep.recipes.training import loop
from qsep.recipes.training.config import recipe_from
from qsep.recipes.training.stopping import Stop


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """One thread, as forked processes have, for sums of others are made in another order; no curves, a
    second each."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "plot_curves", lambda log, picture: picture.touch())
        yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def run(material: Path) -> Iterator[Callable[..., Path]]:
    """run(folder, stop_after=None, **train settings): the loop on a tiny recipe; returns folder."""

    def stub_encoder(_: Any) -> tuple[str, Any, CachedEncoder]:
        encoder = StubEncoder()
        return "stub", encoder, CachedEncoder(encoder, material / "cache.sqlite")

    content = tiny_recipe(material, "stub")

    def start(
        folder: Path,
        stop_after: int | None = None,
        separator: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        mix: dict[str, Any] | None = None,
        stop: Stop | None = None,
        devices: int = 1,
        **settings: Any,
    ) -> Path:
        chosen = copy.deepcopy(content)
        chosen["train"] |= settings
        if separator and "kind" in separator:
            chosen["separator"] = separator
        else:
            chosen["separator"] |= separator or {}
        chosen["data"] |= data or {}
        chosen["mix"] |= mix or {}
        recipe = recipe_from(chosen, "tiny")
        loop.train(recipe, chosen, folder, "cpu", devices, stop_after=stop_after, stop=stop)
        return folder

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "build_query_encoder", stub_encoder)
        yield start


@pytest.fixture(scope="module")
def finished(run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    return run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def whole(finished: Path) -> dict[str, Any]:
    """The state at its end."""
    return state_of(finished)
