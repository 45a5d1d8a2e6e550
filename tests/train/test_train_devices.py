"""Several processes and parts of a batch: the same items and losses as one process with the whole batch."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tiny import mixture_batch, rng, tiny_separator
from tiny_settings import SETTINGS
from training_run import entries, in_two_processes

from qsep.recipes.training.acceleration import checkpoint_activations, compile_networks
from qsep.recipes.training.devices import cluster_size
from qsep.recipes.training.learner import sum_and_number
from qsep.recipes.training.output.log import duration, means, shown
from qsep.recipes.training.output.record import read_sessions
from qsep.recipes.training.sampler import StepSampler

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")

LONG = {"steps": 20, "batch_size": 8, "learning_rate": 1e-3, "validate_every": 20, "save_every": 20}
QUERIED = {"kind": "queried", **SETTINGS["queried"]}
del QUERIED["query_dim"]  # the encoder's


def losses_of(folder: Path) -> list[float]:
    return [entry["loss"] for entry in entries(folder) if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize(("separator", "num_exact"), [(QUERIED, 20), ({"query_noise": 0.0}, 3)])
def test_two_processes_have_the_losses_of_one_with_the_same_batch(
    run: Callable[..., Path], tmp_path: Path, separator: dict[str, Any], num_exact: int
) -> None:
    """The second has batch norms. AdamW makes whole steps of gradients that are rounding alone, as those of
    layers before a norm partly are, so that its losses drift apart after three steps."""
    settings: Any = LONG | {"separator": separator}
    run(tmp_path / "one", **settings)
    together = partial(run, tmp_path / "two", devices=2, **settings)
    assert in_two_processes(together) == [0, 0]
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert len(one) == 20
    assert max(one) - min(one) > 0.01  # it learns
    assert two[:num_exact] == pytest.approx(one[:num_exact], abs=1e-5)  # sums in another order
    assert two == pytest.approx(one, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        (("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"), ()),
        pytest.param((), ("--devices", "2"), marks=pytest.mark.nightly),
    ],
    ids=["torchrun", "fabric"],
)
def test_the_command_runs_on_two_processes(
    tmp_path: Path, launcher: tuple[str, ...], options: tuple[str, ...]
) -> None:
    changes = ["encoder.kind=labels", "data.phrases=labels", "data.num_validation=1"]
    changes += ["train.steps=2", "train.log_every=1"]
    words = ["train", "smoke", *changes, "-o", str(tmp_path / "run"), "--accelerator", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "qsep", *words, *options],
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr
    assert [session["devices"] for session in read_sessions(tmp_path / "run")] == ["2 cpu"]
    lines = done.stdout.splitlines()
    for start in ("recipe smoke, ", "estimate: ", "step 1/2: ", "step 2/2: ", "checkpoint: "):
        assert [line.startswith(start) for line in lines].count(True) == 1, start


def test_accumulated_parts_have_the_losses_of_the_whole_batch(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    """Of a separator without batch norms."""
    settings: Any = {"separator": QUERIED, "batch_size": 6}
    run(tmp_path / "whole", **settings)
    run(tmp_path / "parts", accumulate=3, **settings)
    whole, parts = losses_of(tmp_path / "whole"), losses_of(tmp_path / "parts")
    assert parts == pytest.approx(whole, abs=1e-5)  # sums in another order


@pytest.mark.parametrize(("world", "accumulate"), [(1, 4), (2, 2), (4, 1)])
def test_parts_of_a_batch_do_not_depend_on_who_has_them(world: int, accumulate: int) -> None:
    by_rank = [list(StepSampler(1, 3, 12, rank, world, accumulate)) for rank in range(world)]
    parts = [
        [
            by_rank[rank][step * accumulate + number]
            for number in range(accumulate)
            for rank in range(world)
        ]
        for step in range(2)
    ]
    assert parts == [[list(range(12 * s + p, 12 * s + 12, 4)) for p in range(4)] for s in (1, 2)]
    assert len(StepSampler(1, 3, 12, 0, world, accumulate)) == 2 * accumulate


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 12 cannot be shared by 2 devices in 5 parts"):
        StepSampler(0, 5, 12, 0, 2, accumulate=5)


def test_a_terms_mean_is_over_the_items_of_all_devices_then_over_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two devices: one has 1, 2 and NaN, the other 6; in the second step only the other has a term, 10."""
    first = [{"present": sum_and_number(torch.tensor([1.0, 2.0, torch.nan]))}, {}]
    second = [{"present": [6.0, 1.0]}, {"present": [30.0, 3.0]}]

    def gather(devices: list[Any], gathered: Any) -> None:
        devices[:] = [gathered, second]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    means_of_both = means(first, SimpleNamespace(world_size=2))
    assert means_of_both == {"present": pytest.approx((3.0 + 10.0) / 2)}
    assert means(first, SimpleNamespace(world_size=1)) == {"present": 1.5}


def test_values_are_shown_with_their_units() -> None:
    values = {"loss": 0.12345, "items_per_second": 38.21, "gpu_gb": 2.04}
    assert shown(values) == "loss 0.1235  38.2 items/s  2.0 GB"
    assert [duration(s) for s in (7.6, 59, 60, 3599, 3600, 7384)] == (
        ["8 s", "59 s", "1 min", "59 min", "1 h 00 min", "2 h 03 min"]
    )


def test_one_line_shows_loss_terms_pace_and_time_left(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, stop_after=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["step 1/6", "step 2/6"]
    for sign in (" loss ", "  present ", "  lr 0.01", " items/s  ", " left"):
        assert sign in lines[1]


@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, (None, None), (1, 1)),
        ({}, (2, 3), (2, 3)),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (None, None), (4, 2)),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (1, None), (1, 2)),
        ({"WORLD_SIZE": "2"}, (None, None), (1, 1)),  # of another launcher
    ],
)
def test_devices_are_those_of_torchrun_unless_told(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    arguments: tuple[int | None, int | None],
    expected: tuple[int, int],
) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    assert cluster_size(*arguments) == expected


@pytest.mark.parametrize(
    ("name", "text"), [("WORLD_SIZE", "abc"), ("LOCAL_WORLD_SIZE", "0"), ("RANK", "-1")]
)
def test_nonsense_of_a_launcher_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv(name, text)
    with pytest.raises(ValueError, match=f"{name}={text} in the environment: expected a number"):
        cluster_size(None, None)


def gradients(separator: Any) -> dict[str, torch.Tensor]:
    batch, queries = mixture_batch()
    separator.train().loss(batch, queries, rng(3)).total.mean().backward()
    return {name: weight.grad for name, weight in separator.named_parameters()}


def test_checkpointed_activations_give_the_same_gradients_and_keep_less() -> None:
    kept = []
    gradients_of_runs = []
    for anew in (False, True):
        separator = tiny_separator("queried")
        if anew:
            checkpoint_activations(separator)
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            gradients_of_runs.append(gradients(separator))
        kept.append(sum(sizes))
    assert all(
        torch.equal(gradients_of_runs[0][name], gradients_of_runs[1][name])
        for name in gradients_of_runs[0]
    )
    assert kept[1] < kept[0]


def test_models_without_blocks_or_networks_refuse_the_settings() -> None:
    with pytest.raises(ValueError, match="checkpoint_activations: BandUNet has no blocks"):
        checkpoint_activations(tiny_separator("band_unet"))
    with pytest.raises(ValueError, match="compile: Linear has no network"):
        compile_networks(torch.nn.Linear(3, 2), "eager")


@pytest.mark.slow
def test_compiled_networks_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    plain = gradients(tiny_separator("band_unet"))
    separator = tiny_separator("band_unet")
    compile_networks(separator, cast(str, backend))  # torch takes functions too
    compiled = gradients(separator)
    assert graphs
    for name, gradient in plain.items():
        torch.testing.assert_close(compiled[name], gradient, rtol=1e-4, atol=1e-6)  # fused sums
