"""The checkpoint with the best validation score is kept beside the newest one."""

import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from training_run import STEPS, differences, state_of

from qsep.recipes.training import loop
from qsep.recipes.training.output.state import Best, save_state
from qsep.recipes.training.tasks.interface import Validation
from qsep.separation.storage.config import read_config

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")

SCORES = {1: -3.0, 2: 4.0, 3: 4.0, 4: 1.0, 5: 2.0, 6: -7.0}  # of the validation after each step


@pytest.fixture
def scored(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """As `run`, validated after every step and saved after the third and the last, with SCORES."""

    def validate(whole_run: loop.Run) -> Validation:
        merit = SCORES[whole_run.step]
        return Validation({"si_sdr_i": 0.0}, [merit - 1, merit + 1])

    monkeypatch.setattr(loop.Run, "validate", validate)

    def start(folder: Path, **settings: Any) -> Path:
        return run(folder, **({"validate_every": 1, "save_every": 3} | settings))

    return start


def weights_of(checkpoint: Path) -> dict[str, Any]:
    return load_file(checkpoint / "model.safetensors")


def step_of(checkpoint: Path) -> int:
    step: int = read_config(checkpoint)["provenance"]["step"]
    return step


def test_best_holds_the_weights_of_the_step_that_scored_highest_first(
    scored: Callable[..., Path], tmp_path: Path
) -> None:
    scored(tmp_path / "whole")
    scored(tmp_path / "two", stop_after=2)
    assert (step_of(tmp_path / "whole" / "model"), step_of(tmp_path / "whole" / "best")) == (
        STEPS,
        2,
    )
    best, then = weights_of(tmp_path / "whole" / "best"), weights_of(tmp_path / "two" / "model")
    assert differences(best, then) == []
    assert differences(best, weights_of(tmp_path / "whole" / "model")) != []


@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_a_resumed_run_keeps_the_same_best(
    scored: Callable[..., Path], tmp_path: Path, stop_after: int
) -> None:
    scored(tmp_path / "whole")
    scored(tmp_path / "parts", stop_after=stop_after)
    scored(tmp_path / "parts")
    first, second = (weights_of(tmp_path / name / "best") for name in ("whole", "parts"))
    assert differences(first, second) == []
    assert state_of(tmp_path / "parts")["best"] == {"step": 2, "merit": 4.0}


def test_a_run_killed_between_its_state_and_its_checkpoints_writes_them_on_resume(
    scored: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:

        def save(results: Any, state: dict[str, Any]) -> None:
            save_state(results, state)
            if state["step"] == 2:
                die()

        patched.setattr(loop, "save_state", save)
        child = get_context("fork").Process(target=scored, args=(tmp_path / "killed",))
        child.start()
        child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert step_of(tmp_path / "killed" / "best") == 1
    scored(tmp_path / "killed")
    scored(tmp_path / "whole")
    assert step_of(tmp_path / "killed" / "best") == 2
    first, second = (weights_of(tmp_path / name / "best") for name in ("whole", "killed"))
    assert differences(first, second) == []


@pytest.mark.parametrize("name", ["config.json", "README.md"])
@pytest.mark.parametrize("stop_after", [4, STEPS])
def test_a_damaged_file_beside_the_best_weights_is_written_again(
    scored: Callable[..., Path], tmp_path: Path, name: str, stop_after: int
) -> None:
    scored(tmp_path / "whole")
    best = scored(tmp_path / "damaged", stop_after=stop_after) / "best"
    whole = (best / name).read_bytes()
    (best / name).write_bytes(whole[:100])
    scored(tmp_path / "damaged")
    assert (best / name).read_bytes() == whole == (tmp_path / "whole/best" / name).read_bytes()
    assert differences(weights_of(best), weights_of(tmp_path / "whole" / "best")) == []


def test_damaged_best_weights_are_set_aside_and_the_next_validated_ones_kept(
    scored: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = scored(tmp_path, stop_after=3) / "best" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    scored(tmp_path)
    assert (tmp_path / "best.damaged" / "model.safetensors").read_bytes() == damaged
    assert step_of(tmp_path / "best") == 5  # of those after step 3
    assert "best is lost" in capsys.readouterr().err


def test_without_validation_mixtures_nothing_is_validated_and_none_is_best(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(loop.Run, "validate")
    run(tmp_path, data={"num_validation": 0})
    assert (tmp_path / "model").is_dir()
    assert not (tmp_path / "best").exists()


def test_a_score_that_is_not_a_number_is_never_best() -> None:
    best = Best().or_better(1, float("nan"))
    assert best == Best()
    assert best.or_better(2, -1e9) == Best(2, -1e9)


def test_what_is_not_scored_has_no_merit() -> None:
    merit = Validation({}, []).merit
    assert merit != merit
