"""Resumed runs repeat uninterrupted ones bit by bit, whatever stopped them."""

import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_run import (
    STEPS,
    at_step,
    differences,
    entries,
    exit_code_in_child,
    spoil_steps,
    state_of,
)

from qsep.recipes.training import loop
from qsep.recipes.training.config import TrainConfig
from qsep.recipes.training.output import curves
from qsep.recipes.training.output.state import load_state
from qsep.separation.models.band_unet import BandUNet
from qsep.separation.storage.results import Results

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_run_ends_bit_equal_to_an_uninterrupted_one(
    run: Callable[..., Path], whole: dict[str, Any], tmp_path: Path, num_workers: int
) -> None:
    run(tmp_path / "parts", stop_after=3, num_workers=num_workers)
    assert state_of(tmp_path / "parts")["step"] == 3
    parts = state_of(run(tmp_path / "parts", num_workers=num_workers))
    assert parts.keys() == {"step", "seed", "model", "ema", "optimizer", "best"}
    assert differences(parts, whole) == []


def test_a_killed_run_resumes_from_its_last_save(
    run: Callable[..., Path],
    whole: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        at_step(5, lambda: os.kill(os.getpid(), signal.SIGKILL), patched)
        assert exit_code_in_child(run, tmp_path / "killed") == -signal.SIGKILL
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
        assert exit_code_in_child(run, tmp_path / "stopped") == 0
    assert state_of(tmp_path / "stopped")["step"] == 3
    assert (tmp_path / "stopped" / "model" / "model.safetensors").is_file()
    assert differences(state_of(run(tmp_path / "stopped")), whole) == []


def test_a_run_restores_the_signal_handlers(run: Callable[..., Path], tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    run(tmp_path, stop_after=1)
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_second_signal_interrupts_at_once(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    def interrupted() -> None:
        # Whatever pytest's worker made of it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)

    at_step(3, twice, monkeypatch)
    assert exit_code_in_child(interrupted) == 0
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
        resumed = load_state(Results(tmp_path / "parts", "train"))
    assert resumed is not None
    assert "training.pt is damaged" in caplog.text
    assert resumed["step"] == 2
    assert differences(state_of(run(tmp_path / "parts")), whole) == []


def test_a_damaged_older_state_does_not_stop_the_next_save(
    run: Callable[..., Path],
    whole: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(tmp_path, stop_after=4)
    (tmp_path / "training.previous.pt").write_bytes(b"hello")
    with caplog.at_level(logging.WARNING):
        assert differences(state_of(run(tmp_path)), whole) == []
    assert "training.previous.pt is damaged (its checksum does not match); set aside" in caplog.text
    assert (tmp_path / "training.previous.pt.damaged").read_bytes() == b"hello"
    assert torch.load(tmp_path / "training.previous.pt", weights_only=True)["step"] == 4


def test_a_flipped_bit_is_detected(
    run: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, stop_after=4)
    path = tmp_path / "training.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        resumed = load_state(Results(tmp_path, "train"))
    assert resumed is not None
    assert resumed["step"] == 2
    assert "its checksum does not match" in caplog.text


def test_a_run_resumed_with_other_settings_says_so_and_records_both(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, stop_after=2)
    run(tmp_path, stop_after=3, learning_rate=0.25)
    assert (
        "step 2: continued with other settings: train.learning_rate was " in capsys.readouterr().err
    )
    changed = [entry for entry in entries(tmp_path) if "changed" in entry]
    assert [entry["step"] for entry in changed] == [2]
    assert changed[0]["changed"]["train.learning_rate"][1] == 0.25
    run(tmp_path, stop_after=4, learning_rate=0.25)
    provenance = json.loads((tmp_path / "model" / "config.json").read_text())["provenance"]
    assert provenance["changes"] == changed


def test_a_run_stopped_before_its_first_log_entry_continues_with_other_settings(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log then has the changes alone, of which there are no curves."""
    monkeypatch.setattr(loop, "plot_curves", curves.plot_curves)
    quiet: Any = {"log_every": 100, "data": {"num_validation": 0}}
    run(tmp_path, stop_after=1, **quiet)
    run(tmp_path, stop_after=2, learning_rate=1e-4, **quiet)
    assert [sorted(entry) for entry in entries(tmp_path)] == [["changed", "step"]]
    assert not (tmp_path / "loss.png").exists()


def test_a_folder_that_is_not_the_runs_is_refused_untouched(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "network.py").write_text("mine")
    (tmp_path / "recipe.json").write_text("mine too")
    with pytest.raises(ValueError, match="which no earlier qsep train wrote there"):
        run(tmp_path)
    assert (tmp_path / "model" / "network.py").read_text() == "mine"
    assert (tmp_path / "recipe.json").read_text() == "mine too"


def test_a_full_disk_is_named_and_the_state_before_stays(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, stop_after=2)

    def fail(*arguments: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:664] unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=r"training\.pt: cannot be written: free space on the disk"):
        run(tmp_path, stop_after=4)
    monkeypatch.undo()
    assert state_of(tmp_path)["step"] == 2
    assert not list(tmp_path.glob(".qsep-*"))


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
        run(tmp_path, save_every=3, validate_every=6)
    assert state_of(tmp_path)["step"] == 3


def test_by_default_it_gives_up_after_ten_such_steps(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_steps(set(range(13)), monkeypatch)
    with pytest.raises(ValueError, match="not finite 10 steps in a row, the last one step 9;"):
        run(tmp_path, steps=13, save_every=20, validate_every=20, skip_limit=TrainConfig.skip_limit)


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


def test_a_run_leaves_no_temporary_files(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        ".qsep.jsonl",
        "best",
        "log.jsonl",
        "loss.png",
        "model",
        "recipe.json",
        "run.json",
        "training.previous.pt",
        "training.pt",
    ]
