"""The number format that a run computes in."""

from pathlib import Path

import pytest
import torch

from qsep.recipes.training import precision
from qsep.recipes.training.precision import has_bfloat16, precision_on


def test_a_named_precision_is_kept() -> None:
    assert precision_on("cpu", "16-mixed") == "16-mixed"


@pytest.mark.parametrize(("able", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_used_where_the_device_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, able: bool, expected: str
) -> None:
    devices = []

    def has(device: str) -> bool:
        devices.append(device)
        return able

    monkeypatch.setattr(precision, "has_bfloat16", has)
    assert precision_on("cpu", "auto") == expected
    assert devices == ["cpu"]


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="needs Linux's list of CPU flags")
def test_a_cpu_has_bfloat16_if_the_system_lists_instructions_for_it() -> None:
    flags = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    assert has_bfloat16("cpu") == bool(flags & {"avx512_bf16", "amx_tile"})


def test_a_device_that_is_not_here_is_one_clear_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("has a GPU")
    with pytest.raises(ValueError, match="device 'cuda' cannot be used"):
        precision_on("gpu", "auto")
