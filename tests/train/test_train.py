"""The training loop: what it trains, what it starts from, what it writes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import StubEncoder, mixture_batch, rng, tiny_separator
from tiny_settings import RATE
from torch import Tensor
from training_run import LABELS, STEPS, differences, entries, state_of

from qsep.queries.interface import QueryEmbedding
from qsep.recipes.data.corpus.shards import write_shards
from qsep.recipes.training import loop
from qsep.recipes.training.build import build_book, build_data
from qsep.recipes.training.config import TrainConfig, recipe_from
from qsep.recipes.training.learner import Learner
from qsep.recipes.training.tasks.validation import validate
from qsep.separation.interface import LossOutput, Separated
from qsep.separation.models.band_unet import BandUNet

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")


@pytest.mark.parametrize(("precision", "expected"), [("bf16-mixed", True), ("32-true", False)])
def test_the_loss_is_computed_in_the_configured_precision(
    run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    expected: bool,
) -> None:
    collected: list[bool] = []
    original = BandUNet.loss

    def loss(model: BandUNet, *arguments: Any) -> Any:
        collected.append(torch.is_autocast_enabled("cpu"))
        return original(model, *arguments)

    monkeypatch.setattr(BandUNet, "loss", loss)
    run(tmp_path, stop_after=1, precision=precision)
    assert collected == [expected]


def test_the_query_encoder_runs_on_the_device_of_the_training(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = []
    original = vars(loop)["build_query_encoder"]  # the stub that `run` put there

    def kept(recipe: Any) -> Any:
        placed.append(original(recipe))
        return placed[0]

    monkeypatch.setattr(loop, "build_query_encoder", kept)
    run(tmp_path, stop_after=0)
    assert placed[0][1].device == torch.device("cpu")


def test_by_default_weights_decay_by_a_hundredth_of_the_learning_rate_a_step() -> None:
    """Loshchilov and Hutter (2019), decoupled: without gradients, w falls to w (1 - lr decay)."""
    from lightning_fabric import Fabric

    config = TrainConfig(steps=1, learning_rate=0.5, warmup_steps=0)
    network = torch.nn.Linear(3, 2, bias=False)
    before = network.weight.detach().clone()
    learner = Learner(network, config, Fabric(accelerator="cpu"))
    learner.improve([lambda model: LossOutput(0 * model.weight.sum()[None], {})], 1, 0)
    torch.testing.assert_close(network.weight.detach(), before * (1 - 0.5 * 1e-2))


@pytest.mark.parametrize("kind", ["band_unet", "class_unet", "flow_unet"])
def test_masks_are_softened_in_use_and_not_in_training(kind: str) -> None:
    losses, targets = [], []
    for exponent in (1.0, 0.5):
        separator = tiny_separator(kind, mask_exponent=exponent)
        batch, queries = mixture_batch()
        with torch.no_grad():
            targets.append(separator.separate(batch.mixture, queries, rng(3)).target)
            losses.append(separator.train().loss(batch, queries, rng(3)).total)
    assert torch.equal(*losses)
    assert (targets[1] - targets[0]).abs().max() > 0.01 * targets[0].abs().max()


def test_training_changes_every_weight(run: Callable[..., Path], tmp_path: Path) -> None:
    first = state_of(run(tmp_path / "a", stop_after=1))["model"]
    last = state_of(run(tmp_path / "a"))["model"]
    changed = {path.split("/")[1] for path in differences(first, last)}
    assert changed == {key for key in last if not key.startswith("reader.")}


def test_the_checkpoint_holds_the_averaged_weights(whole: dict[str, Any], finished: Path) -> None:
    ema = whole["ema"]
    stored = load_file(finished / "model" / "model.safetensors")
    assert differences({key: ema[key] for key in stored}, stored) == []
    config = json.loads((finished / "model" / "config.json").read_text())
    assert config["provenance"]["step"] == STEPS
    assert config["provenance"]["content"]["train"]["batch_size"] == 4
    assert config["separator"]["config"]["class_names"] == [f"a {label}" for label in LABELS]


def test_checkpoints_may_be_half_precision_while_the_run_keeps_float32(
    run: Callable[..., Path], finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    stored = load_file(run(tmp_path / "run", kernels="float16") / "model" / "model.safetensors")
    ema = state_of(tmp_path / "run")["ema"]
    kernels = [key for key, value in ema.items() if value.ndim > 1 and key in stored]
    assert kernels
    for key, value in stored.items():
        assert torch.equal(value, ema[key].half() if key in kernels else ema[key])


def test_a_run_may_start_from_the_weights_of_a_checkpoint(
    run: Callable[..., Path], finished: Path, tmp_path: Path
) -> None:
    run(tmp_path, stop_after=0, start_from=str(finished / "model"))
    expected = load_file(finished / "model" / "model.safetensors")
    state = state_of(tmp_path)
    for name in ("model", "ema"):
        assert differences({key: state[name][key] for key in expected}, expected) == []


def test_a_run_may_start_from_a_part_of_a_checkpoint(
    run: Callable[..., Path], finished: Path, tmp_path: Path
) -> None:
    stored = load_file(finished / "model" / "model.safetensors")
    names = [key for key in stored if key.endswith(".weight")]
    part, other = names[0].partition(".")[0], names[-1].partition(".")[0]
    assert part != other
    start = {"start_from": str(finished / "model"), "start_parts": [part]}
    run(tmp_path, stop_after=0, **start)
    model = state_of(tmp_path)["model"]
    assert all(torch.equal(model[key], stored[key]) for key in names if key.startswith(f"{part}."))
    assert not all(torch.equal(model[key], stored[key]) for key in names)
    with pytest.raises(ValueError, match="has no part 'nobody'"):
        run(tmp_path / "other", **(start | {"start_parts": ["nobody"]}))


def test_a_start_from_another_separator_is_refused(
    run: Callable[..., Path], finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="another separator"):
        run(tmp_path, start_from=str(finished / "model"), separator={"mask_features": 9})


def test_the_log_shows_the_schedule(finished: Path) -> None:
    rates = [entry["lr"] for entry in entries(finished) if "lr" in entry]
    # warm-up of 2, decay over the last 2 of 6 steps, from 0.01
    assert rates == pytest.approx([0.005, 0.01, 0.01, 0.01, 0.01, 0.005])


class Echo(torch.nn.Module):
    """Answers every query with the mixture, scaled."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))

    def separate(self, mixture: Tensor, queries: QueryEmbedding) -> Separated:
        target = self.gain * mixture[:, None].expand(-1, queries.pooled.shape[1], -1, -1)
        return Separated(target, mixture[:, None] - target)


def test_validation_of_the_scaled_mixture_shows_its_level_and_no_improvement(
    material: Path,
) -> None:
    content = {
        "separator": {"kind": "band_unet"},
        "encoder": {"kind": "stub"},
        "data": {
            "sounds": "recordings",
            "folder": str(material),
            "phrases": str(material / "book.toml"),
        },
        "mix": {"segment_samples": 1024, "num_sources_weights": [1.0], "num_queries": 3},
        "train": {"steps": 1},
    }
    recipe = recipe_from(content, "tiny")
    data = build_data(recipe, build_book(recipe), RATE, validation=True)
    actual = validate(Echo(0.1), StubEncoder(), data, 4)
    assert actual.scores["si_sdr_i"] == pytest.approx(0, abs=1e-3)  # float32
    assert actual.merit == actual.scores["si_sdr_i"]
    assert actual.scores["absent_db"] == pytest.approx(-20, abs=1e-3)


def test_a_run_on_shards_equals_one_on_the_corpus(
    run: Callable[..., Path], material: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    write_shards(material, tmp_path / "shards", 20_000)
    packed = run(tmp_path / "run", data={"folder": str(tmp_path / "shards")})
    assert differences(whole, state_of(packed)) == []
