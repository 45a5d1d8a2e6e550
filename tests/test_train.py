"""The training loop: resumed runs repeat uninterrupted ones bit by bit, whatever stopped them."""

import copy
import json
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command import process_state_restored
from safetensors.torch import load_file
from tiny import RATE, SETTINGS, StubEncoder
from torch import Tensor

from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import QueryEmbedding
from qsep.recipes import train as loop
from qsep.recipes.config import recipe_from
from qsep.recipes.data.mix_and_separate import MixAndSeparate
from qsep.recipes.state import load_state
from qsep.recipes.validation import validate
from qsep.separation.interface import Separated
from qsep.separation.models.band_unet import BandUNet

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")

LABELS = ("hum", "hiss", "beep")
BOOK = "\n".join(
    [f'[labels.{label}]\nname = "a {label}"\nphrases = ["{label}", "{label}s"]' for label in LABELS]
    + ['[other]\nphrases = ["silence", "traffic"]']
)
STEPS = 6


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Forked processes have one, and sums of others are made in another order."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
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

    learned = ("concepts", "num_phrases", "query_dim")
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
        **settings: Any,
    ) -> Path:
        chosen = copy.deepcopy(content)
        chosen["train"] |= settings
        chosen["separator"] |= separator or {}
        with process_state_restored():
            loop.train(recipe_from(chosen, "tiny"), chosen, folder, "cpu", stop_after=stop_after)
        return folder

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "build_query_encoder", stub_encoder)
        patched.setattr(loop, "plot_curves", lambda log, picture: None)  # a second each
        yield start


@pytest.fixture(scope="module")
def finished(run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    return run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def whole(finished: Path) -> dict[str, Any]:
    """The state at its end."""
    return state_of(finished)


def state_of(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "training.pt", weights_only=True)


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two states are not equal bit by bit."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [d for key in first for d in differences(first[key], second[key], f"{path}/{key}")]
    if isinstance(first, list):
        pairs = enumerate(zip(first, second, strict=True))
        return [d for i, pair in pairs for d in differences(*pair, f"{path}/{i}")]
    same = torch.equal(first, second) if isinstance(first, Tensor) else first == second
    return [] if same else [path]


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def at_step(step: int, action: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something in the middle of a step: when the loop asks for its generator."""
    original = loop.step_generator

    def generator(seed: int, current: int, rank: int) -> torch.Generator:
        if current == step:
            action()
        return original(seed, current, rank)

    monkeypatch.setattr(loop, "step_generator", generator)


def spoil_steps(steps: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The recordings of these steps turn out to be NaN."""
    original = MixAndSeparate.__getitem__

    def item(data: MixAndSeparate, draw: int) -> Any:
        sources, queries, item_id = original(data, draw)
        return (sources * torch.nan if draw // 4 in steps else sources), queries, item_id

    monkeypatch.setattr(MixAndSeparate, "__getitem__", item)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_run_ends_bit_equal_to_an_uninterrupted_one(
    run: Callable[..., Path], whole: dict[str, Any], tmp_path: Path, num_workers: int
) -> None:
    run(tmp_path / "parts", stop_after=3, num_workers=num_workers)
    assert state_of(tmp_path / "parts")["step"] == 3
    parts = state_of(run(tmp_path / "parts", num_workers=num_workers))
    assert parts.keys() == {"step", "seed", "model", "ema", "optimizer"}
    assert differences(parts, whole) == []


@pytest.mark.parametrize(("precision", "expected"), [("bf16-mixed", True), ("32-true", False)])
def test_the_loss_is_computed_in_the_precision_asked_for(
    run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    expected: bool,
) -> None:
    found: list[bool] = []
    original = BandUNet.loss

    def loss(model: BandUNet, *arguments: Any) -> Any:
        found.append(torch.is_autocast_enabled("cpu"))
        return original(model, *arguments)

    monkeypatch.setattr(BandUNet, "loss", loss)
    run(tmp_path, stop_after=1, precision=precision)
    assert found == [expected]


def test_the_query_encoder_computes_where_the_training_does(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = []
    original = loop.build_query_encoder

    def kept(recipe: Any) -> Any:
        placed.append(original(recipe))
        return placed[0]

    monkeypatch.setattr(loop, "build_query_encoder", kept)
    run(tmp_path, stop_after=0)
    assert placed[0][1].device == torch.device("cpu")


def test_training_changes_every_weight(run: Callable[..., Path], tmp_path: Path) -> None:
    first = state_of(run(tmp_path / "a", stop_after=1))["model"]
    last = state_of(run(tmp_path / "a"))["model"]
    changed = {path.split("/")[1] for path in differences(first, last)}
    assert changed == {key for key in last if not key.startswith("reader.")}


def test_a_killed_run_goes_on_from_its_last_save(
    run: Callable[..., Path],
    whole: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        at_step(5, lambda: os.kill(os.getpid(), signal.SIGKILL), patched)
        child = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path / "killed",))
        child.start()
        child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert state_of(tmp_path / "killed")["step"] == 4
    assert max(entry["step"] for entry in entries(tmp_path / "killed")) == 5
    assert differences(state_of(run(tmp_path / "killed")), whole) == []
    logged = [(entry["step"], "lr" in entry) for entry in entries(tmp_path / "killed")]
    validated = [(4, False), (6, False)]  # after the line of the same step
    assert logged == sorted([(step, True) for step in range(1, 7)] + validated, key=lambda e: e[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_step_with_a_save(
    run: Callable[..., Path],
    whole: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    with monkeypatch.context() as patched:
        at_step(2, lambda: os.kill(os.getpid(), number), patched)
        run(tmp_path / "stopped")
    assert state_of(tmp_path / "stopped")["step"] == 3
    assert (tmp_path / "stopped" / "model" / "model.safetensors").is_file()
    assert differences(state_of(run(tmp_path / "stopped")), whole) == []


def test_a_second_signal_interrupts_at_once(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    at_step(3, twice, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert state_of(tmp_path)["step"] == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_state_falls_back_to_the_one_before(
    run: Callable[..., Path],
    whole: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    run(tmp_path / "parts", stop_after=4)
    path = tmp_path / "parts" / "training.pt"
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-1000], "empty": b"", "other": b"not a state"}[damage])
    with caplog.at_level(logging.WARNING):
        resumed = load_state(tmp_path / "parts")
    assert resumed is not None
    assert "training.pt is damaged" in caplog.text
    assert resumed["step"] == 2
    assert differences(state_of(run(tmp_path / "parts")), whole) == []


def test_a_run_of_another_seed_is_refused(run: Callable[..., Path], tmp_path: Path) -> None:
    run(tmp_path, stop_after=1)
    with pytest.raises(ValueError, match="holds a run with seed 0; choose another folder"):
        run(tmp_path, seed=1)


def test_a_run_of_another_network_is_refused_in_one_line(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    run(tmp_path, stop_after=1)
    with pytest.raises(ValueError, match=r"holds a run of another separator .*choose another") as e:
        run(tmp_path, separator={"mask_features": 4})
    assert "\n" not in str(e.value)


def test_a_step_with_a_loss_that_is_not_finite_leaves_no_trace(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_steps({2}, monkeypatch)
    before = state_of(run(tmp_path / "a", stop_after=2))
    after = state_of(run(tmp_path / "a", stop_after=3))
    assert after.pop("step") == before.pop("step") + 1
    assert differences(before, after) == []


def test_a_run_with_a_skipped_step_ends_with_finite_weights(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_steps({2, 3, STEPS - 1}, monkeypatch)
    state = state_of(run(tmp_path))
    assert state["step"] == STEPS
    weights = [*state["model"].values(), *state["ema"].values()]
    assert all(bool(value.isfinite().all()) for value in weights)


def test_a_step_with_gradients_that_are_not_finite_is_skipped(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_of(run(tmp_path / "a", stop_after=2))
    original = BandUNet.loss

    def steep(model: BandUNet, *arguments: Any) -> Any:
        output = original(model, *arguments)
        weight = model.concept_masks.weight.sum()
        infinite_slope = (weight - weight.detach()).abs().sqrt()  # 0, whose derivative is NaN
        return type(output)(output.total + infinite_slope, output.terms)

    monkeypatch.setattr(BandUNet, "loss", steep)
    after = state_of(run(tmp_path / "a", stop_after=3))
    assert after.pop("step") == before.pop("step") + 1
    assert differences(before, after) == []


def test_a_run_without_a_finite_loss_gives_up_and_keeps_the_last_good_state(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_steps({3, 4, 5}, monkeypatch)
    with pytest.raises(ValueError, match=r"not finite 3 steps in a row, .*train\.learning_rate"):
        run(tmp_path, save_every=3)
    assert state_of(tmp_path)["step"] == 3


def test_half_a_line_of_log_is_dropped_on_resume(run: Callable[..., Path], tmp_path: Path) -> None:
    run(tmp_path, stop_after=2)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 2, "pres')
    run(tmp_path, stop_after=3)
    assert [entry["step"] for entry in entries(tmp_path)] == [1, 2, 3]


def test_entries_after_the_resumed_step_are_dropped(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    run(tmp_path, stop_after=2)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 3, "present": 99.0}\n')
    run(tmp_path, stop_after=3)
    assert [entry["step"] for entry in entries(tmp_path)] == [1, 2, 3]
    assert entries(tmp_path)[-1]["present"] != 99.0


def test_a_finished_run_stays_as_it_is_when_started_again(
    run: Callable[..., Path], whole: dict[str, Any], finished: Path
) -> None:
    log = (finished / "log.jsonl").read_text()
    assert differences(state_of(run(finished)), whole) == []
    assert (finished / "log.jsonl").read_text() == log


def test_the_checkpoint_holds_the_averaged_weights(whole: dict[str, Any], finished: Path) -> None:
    ema = whole["ema"]
    stored = load_file(finished / "model" / "model.safetensors")
    assert differences({key: ema[key] for key in stored}, stored) == []
    config = json.loads((finished / "model" / "config.json").read_text())
    assert config["provenance"]["step"] == STEPS
    assert config["provenance"]["content"]["train"]["batch_size"] == 4
    assert config["separator"]["config"]["concepts"] == [f"a {label}" for label in LABELS]


def test_kernels_may_be_stored_in_half_precision_while_the_run_keeps_all_digits(
    run: Callable[..., Path], finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    stored = load_file(run(tmp_path / "run", half_kernels=True) / "model" / "model.safetensors")
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


def test_a_run_leaves_no_temporary_files(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        "log.jsonl",
        "model",
        "recipe.json",
        "training.previous.pt",
        "training.pt",
    ]


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
    data = loop.build_data(recipe, loop.build_book(recipe), RATE, validation=True)
    found = validate(Echo(0.1), StubEncoder(), data, 4)
    assert found["si_sdr_i"] == pytest.approx(0, abs=1e-3)  # float32
    assert found["absent_db"] == pytest.approx(-20, abs=1e-3)
