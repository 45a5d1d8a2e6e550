"""A tiny recipe to run, and what a whole run of it leaves behind."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny import RATE, SETTINGS, StubEncoder
from training_run import LABELS, STEPS, state_of

from qsep.queries.cache import CachedEncoder
from qsep.recipes.training import loop
from qsep.recipes.training.config import recipe_from
from qsep.recipes.training.stopping import Stop

BOOK = "\n".join(
    [f'[labels.{label}]\nname = "a {label}"\nphrases = ["{label}", "{label}s"]' for label in LABELS]
    + ['[other]\nphrases = ["silence", "traffic"]']
)


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
    """Two recordings of each label for training and one for validation, and a phrase book."""
    folder = tmp_path_factory.mktemp("material")
    rng = np.random.default_rng(0)
    rows = ["file,label,split"]
    for label in LABELS:
        for index, split in enumerate(("train", "train", "dev")):
            soundfile.write(folder / f"{label}{index}.wav", rng.uniform(-0.5, 0.5, 3000), RATE)
            rows.append(f"{label}{index}.wav,{label},{split}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    (folder / "book.toml").write_text(BOOK)
    return folder


@pytest.fixture(scope="module")
def run(material: Path) -> Iterator[Callable[..., Path]]:
    """run(folder, stop_after=None, **train settings): the loop on a tiny recipe; returns folder."""

    def stub_encoder(_: Any) -> tuple[str, Any, CachedEncoder]:
        encoder = StubEncoder()
        return "stub", encoder, CachedEncoder(encoder, material / "cache.sqlite")

    learned = ("class_names", "num_phrases", "query_dim")
    separator = {k: v for k, v in SETTINGS["band_unet"].items() if k not in learned}
    content: dict[str, Any] = {
        "separator": {"kind": "band_unet", **separator, "query_noise": 0.3},
        "encoder": {"kind": "stub"},
        "data": {
            "sounds": "recordings",
            "folder": str(material),
            "phrases": str(material / "book.toml"),
            "num_validation": 2,
        },
        "mix": {"segment_samples": 1024, "num_sources_weights": [1.0, 1.0], "num_queries": 4},
        "train": {
            "steps": STEPS,
            "batch_size": 4,
            "learning_rate": 0.01,
            "warmup_steps": 2,
            "decay_steps": 2,
            "ema_decay": 0.9,
            "precision": "32-true",
            "num_workers": 0,
            "log_every": 1,
            "validate_every": 4,
            "save_every": 2,
            "skip_limit": 3,
        },
    }

    def start(
        folder: Path,
        stop_after: int | None = None,
        separator: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        stop: Stop | None = None,
        **settings: Any,
    ) -> Path:
        chosen = copy.deepcopy(content)
        chosen["train"] |= settings
        chosen["separator"] |= separator or {}
        chosen["data"] |= data or {}
        recipe = recipe_from(chosen, "tiny")
        loop.train(recipe, chosen, folder, "cpu", stop_after=stop_after, stop=stop)
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
