"""The training step's benchmark: what it counts against arithmetic by hand, and a run on the CPU."""

import sys

import pytest
import torch

from qsep.recipes.benchmarks.costs import training
from qsep.recipes.benchmarks.costs.training import (
    Consumption,
    Cost,
    consumption,
    gains,
    peak_of,
    row,
)
from qsep.recipes.training.config import read_recipe


def test_a_gpu_consumes_its_operations_divided_by_an_items() -> None:
    assert Consumption(0.5, 3.0).items_a_second(1000, 0.3) == pytest.approx(600)


def test_longer_mixtures_take_operations_in_proportion() -> None:
    """The smoke network's are almost all in layers over time."""
    one, rate = consumption(read_recipe("smoke")[0])
    two, _ = consumption(read_recipe("smoke", ["mix.segment_samples=20160"])[0])
    assert rate == 8000
    assert two.seconds == 2 * one.seconds == pytest.approx(2.52)
    assert two.tflop / one.tflop == pytest.approx(2, rel=0.03)


def test_a_row_has_items_a_second_and_the_share_of_the_peak() -> None:
    """16 items in 0.25 s are 64 a second, of half a TFLOP each 32 TFLOP/s."""
    cost = Cost("recipe", 16, 0.25, 3.0, 2.5)
    line = "| recipe | 16 | 250.0 | 64 | 2.50 | 32 | 25.6% |"
    assert row(cost, Consumption(0.5, 3.0), 125.0) == line
    other = cost._replace(name="compiled", step_seconds=0.2, start_seconds=31.0)
    assert gains([cost, other]) == ["compiled: 1.25 times as fast; first step 31.0 s"]


@pytest.mark.parametrize(
    ("card", "tflops"),
    [("NVIDIA H100 PCIe", 756.0), ("NVIDIA H100 80GB HBM3", 989.0), ("NVIDIA L40S", 362.0)],
)
def test_a_known_cards_peak_is_its_data_sheets(
    monkeypatch: pytest.MonkeyPatch, card: str, tflops: float
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: card)
    device = torch.device("cuda")
    assert peak_of(device, "bf16-mixed", 0.0) == (tflops, "by its data sheet")
    assert peak_of(device, "bf16-mixed", 77.0) == (77.0, "as given")


@pytest.mark.slow
def test_it_runs_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "SMALL", 64)
    words = "smoke train.batch_size=4 train.accumulate=2 encoder.kind=labels data.phrases=labels"
    options = "--accelerator cpu --steps 2 --compile eager"
    monkeypatch.setattr(sys, "argv", ["training", *words.split(), *options.split()])
    training.main()
    lines = capsys.readouterr().out.splitlines()
    assert "threads; PyTorch 2." in lines[0]
    assert "smoke, " in lines[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[0] == "|"]
    assert [cells[:2] for cells in rows[2:]] == [["recipe", "4"], ["compiled by eager", "4"]]
    for cells in rows[2:]:
        milliseconds, items = map(float, cells[2:4])
        assert items == pytest.approx(4e3 / milliseconds, rel=0.02)  # three digits
    assert lines[-1].startswith("compiled by eager: ")
