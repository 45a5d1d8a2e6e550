"""The parts of the training loop, each by hand: schedule, shares of devices, averages, states, curves."""

from pathlib import Path

import pytest
import torch

from qsep.recipes.training.config import TrainConfig
from qsep.recipes.training.learner import learning_rate_factor
from qsep.recipes.training.output.curves import plot_curves
from qsep.recipes.training.output.state import Ema, load_state, save_state
from qsep.recipes.training.sampler import StepSampler, step_generator
from qsep.separation.storage.results import Results


def test_a_run_whose_states_are_all_damaged_is_not_started_over(tmp_path: Path) -> None:
    results = Results(tmp_path, "train")
    results.write_text("training.previous.pt", "not a state")
    results.write_text("training.pt", "not a state")
    with pytest.raises(ValueError, match=r"training\.pt and training\.previous\.pt cannot be read"):
        load_state(results)


def test_an_empty_folder_holds_no_state(tmp_path: Path) -> None:
    assert load_state(Results(tmp_path, "train")) is None


def test_a_state_that_lacks_a_key_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = Results(tmp_path, "train")
    state = {"step": 1, "seed": 0, "model": {}, "ema": {}, "optimizer": {}}
    save_state(results, state)
    save_state(results, {key: value for key, value in state.items() if key != "ema"})
    assert load_state(results) == state
    assert "it lacks ema" in caplog.text


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.25), (2, 0.75), (3, 1.0), (10, 1.0), (15, 1.0), (16, 0.8), (18, 0.4), (19, 0.2)],
)
def test_learning_rate_rises_stays_and_falls_linearly(step: int, factor: float) -> None:
    config = TrainConfig(steps=20, warmup_steps=4, decay_steps=5)
    assert learning_rate_factor(step, config) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("step", "factor"), [(5, 1.0), (6, 1.0), (7, 0.775), (8, 0.55), (10, 0.1), (15, 0.1)]
)
def test_learning_rate_may_end_its_fall_early_and_above_zero(step: int, factor: float) -> None:
    config = TrainConfig(steps=20, warmup_steps=0, decay_steps=4, decay_end=10, final_factor=0.1)
    assert learning_rate_factor(step, config) == pytest.approx(factor)


def test_learning_rate_without_warmup_and_decay_is_constant() -> None:
    config = TrainConfig(steps=3, warmup_steps=0, decay_steps=0)
    assert [learning_rate_factor(step, config) for step in range(3)] == [1.0, 1.0, 1.0]


def test_learning_rate_may_fall_by_a_factor_every_step() -> None:
    config = TrainConfig(steps=9, warmup_steps=2, rate_decay=0.5)
    factors = [learning_rate_factor(step, config) for step in range(4)]
    assert factors == pytest.approx([0.5, 0.5, 0.25, 0.125])


@pytest.mark.parametrize("world", [2, 3])
def test_devices_share_the_draws_that_one_would_have(world: int) -> None:
    alone = list(StepSampler(2, 5, 6, 0, 1))
    shares = [list(StepSampler(2, 5, 6, rank, world)) for rank in range(world)]
    assert alone == [list(range(12, 18)), list(range(18, 24)), list(range(24, 30))]
    for step, draws in enumerate(alone):
        assert sorted(draw for share in shares for draw in share[step]) == draws
        assert {len(share[step]) for share in shares} == {6 // world}


def test_a_sampler_started_later_continues_where_the_first_was() -> None:
    assert list(StepSampler(0, 5, 4, 0, 1))[3:] == list(StepSampler(3, 5, 4, 0, 1))
    assert len(StepSampler(3, 5, 4, 0, 1)) == 2


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 16 cannot be shared by 3 devices"):
        StepSampler(0, 5, 16, 0, 3)


def test_randomness_of_a_step_differs_by_seed_step_and_rank() -> None:
    draws = {
        float(torch.rand(1, generator=step_generator(*key)))
        for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    }
    assert len(draws) == 4
    again = [torch.rand(3, generator=step_generator(5, 6, 7)) for _ in range(2)]
    assert torch.equal(*again)


def test_average_of_weights_follows_its_decay_and_copies_statistics() -> None:
    model = torch.nn.BatchNorm1d(1)  # a weight, a bias, running statistics
    values = [torch.full((1,), float(value)) for value in (1, 5, 2, 8)]
    ema = Ema(model, decay=0.15)
    expected = 1.0
    for step, value in enumerate(values):
        model.weight.data.copy_(value)
        assert model.running_mean is not None
        model.running_mean.copy_(value * 10)
        ema.update(model, step)
        decay = min(0.15, step / (step + 9))  # 0, 0.1, 0.15 (2 / 11 is more), 0.15
        expected = decay * expected + (1 - decay) * float(value)
    assert float(ema.model.weight) == pytest.approx(expected, rel=1e-6)  # float32
    assert expected == pytest.approx(0.15 * (0.15 * (0.1 * 1 + 0.9 * 5) + 0.85 * 2) + 0.85 * 8)
    assert float(ema.model.running_mean) == 80


def test_curves_are_a_png_with_a_panel_for_each_quantity(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n{"step": 2, "sdr": 3.0}\n')
    plot_curves(log, tmp_path / "loss.png")
    header = (tmp_path / "loss.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[20:24]) == pytest.approx(2 * 2 * 90, abs=1)  # 2 panels, 2 inches


def test_no_curves_are_drawn_of_an_empty_log(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    (tmp_path / "log.jsonl").write_text("")
    plot_curves(tmp_path / "log.jsonl", tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()
