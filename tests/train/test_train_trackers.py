"""Runs that also log to TensorBoard and to Weights & Biases."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_settings import RATE
from training_run import entries

from qsep.recipes.training.config import recipe_from
from qsep.recipes.training.output import trackers
from qsep.recipes.training.output.examples import Example, level_db
from qsep.recipes.training.output.trackers import trackers_known

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")


def example(seconds: float = 0.5) -> Example:
    """A sine of 1000 Hz, a target of half its amplitude, and a mask that is open below the middle."""
    time = np.arange(round(seconds * RATE), dtype=np.float32) / RATE
    mixture = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    mask = np.zeros((20, 30), np.float32)
    mask[:10] = 1
    half, quarter = np.float32(0.5) * mixture, np.float32(0.25) * mixture
    return Example({"mixture": mixture, "target": half, "estimate": quarter}, RATE, mask)


def test_the_level_is_highest_at_the_sines_frequency_and_halving_costs_6_db() -> None:
    waveforms = example().waveforms
    levels = level_db(waveforms["mixture"])
    assert levels.shape[0] == 513
    assert levels[:, levels.shape[1] // 2].argmax() == round(1000 / RATE * 1024)
    assert levels.max() - level_db(waveforms["target"]).max() == pytest.approx(6.02, abs=0.01)


def test_a_picture_shows_three_spectrograms_and_the_mask() -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    picture = example().picture()
    assert picture.shape == (300, 1200, 3)
    assert picture.dtype == np.uint8
    quarters = np.split(picture, 4, axis=1)
    assert all(len(np.unique(quarter.reshape(-1, 3), axis=0)) > 2 for quarter in quarters)


@pytest.mark.slow
def test_tensorboard_gets_what_is_logged_with_audio_and_pictures_and_drops_what_is_repeated(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="needs pip install qsep[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings: Any = {"loggers": ["tensorboard"], "num_examples": 1, "validate_every": 2}
    run(tmp_path, stop_after=3, **settings)
    run(tmp_path, **settings)
    events = EventAccumulator(
        str(tmp_path / "tensorboard"), {"scalars": 0, "images": 0, "audio": 0}
    )
    events.Reload()
    logged = [(entry["step"], entry["loss"]) for entry in entries(tmp_path) if "loss" in entry]
    logged_to_file = [(scalar.step, scalar.value) for scalar in events.Scalars("loss")]
    assert logged_to_file == [(step, pytest.approx(loss, abs=1e-5)) for step, loss in logged]
    assert [image.step for image in events.Images("item 0")] == [2, 4, 6]
    for name in ("mixture", "target", "estimate"):
        assert {sound.sample_rate for sound in events.Audio(f"item 0/{name}")} == {RATE}


@pytest.mark.slow
def test_weights_and_biases_gets_it_offline(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs pip install qsep[wandb]")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run(tmp_path, loggers=["wandb"], num_examples=1)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (stored,) = folder.glob("*.wandb")
    deadline = time.monotonic() + 60
    while b"si_sdr_i" not in stored.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.05)  # the package's own process may still be writing after the run is finished
    content = stored.read_bytes()
    assert b"si_sdr_i" in content
    assert b"band_unet" in content  # the configuration
    kinds = sorted(path.suffix for path in folder.rglob("media/**/*") if path.is_file())
    assert kinds == [".png"] * 2 + [".wav"] * 6  # validated twice


def test_unknown_trackers_and_missing_packages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content: dict[str, Any] = json.loads(
        """{"separator": {"kind": "band_unet"}, "encoder": {"kind": "labels"},
        "data": {"sounds": "synthetic", "phrases": "sounds21"}, "train": {"steps": 1}}"""
    )
    assert trackers_known(recipe_from(content, "tiny")) == ""
    content["train"]["loggers"] = ["wandb", "mlflow"]
    with pytest.raises(ValueError, match="'mlflow' is not one of tensorboard, wandb"):
        trackers_known(recipe_from(content, "tiny"))
    content["train"]["loggers"] = ["wandb"]
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"wandb needs more packages: pip install 'qsep\[wandb\]'"):
        trackers_known(recipe_from(content, "tiny"))


@pytest.mark.slow
def test_without_a_key_weights_and_biases_is_refused_and_reports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command, before any work."""
    pytest.importorskip("wandb", reason="needs pip install qsep[wandb]")
    settings = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_ERROR_REPORTING"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    words = ["train", "smoke", 'train.loggers=["wandb"]', "-o", str(tmp_path / "run")]
    words += ["encoder.kind=labels", "data.phrases=labels"]
    command = [sys.executable, "-m", "qsep", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr == (
        "qsep: error: train.loggers: wandb knows no API key: run `wandb login`, or set "
        "WANDB_MODE=offline\n"
    )
    assert not (tmp_path / "run" / "log.jsonl").exists()
