"""queries.files.int8_kernels: what is rounded by hand, how far off it is, and what stays as it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import noise

from qsep.queries.files.arrays import read_arrays
from qsep.queries.files.int8_kernels import restored_from_int8, rounded_to_int8
from qsep.queries.files.weights import read_tensors

COLUMNS = 35


def kernel() -> torch.Tensor:
    """Two rows: integers up to 127 by 0.5, and zeros."""
    rows = torch.zeros(2, COLUMNS)
    rows[0, :4] = torch.tensor([63.5, -0.5, 1.0, 0.7])
    return rows


def test_rows_are_integers_up_to_127_times_a_scale() -> None:
    stored = rounded_to_int8("w", kernel())
    assert {name: value.dtype for name, value in stored.items()} == {
        "w": torch.int8,
        "w.row_scale": torch.float32,
    }
    assert stored["w.row_scale"].tolist() == [0.5, 0]
    assert stored["w"][0, :5].tolist() == [127, -1, 2, 1, 0]
    restored = restored_from_int8(stored)
    assert restored.keys() == {"w"}
    assert restored["w"][0, :5].tolist() == [63.5, -0.5, 1.0, 0.5, 0]
    assert restored["w"][1].abs().sum() == 0


@pytest.mark.parametrize("shape", [(3, 40), (5, 4, 3, 7)])
def test_a_weight_is_off_by_at_most_half_a_step_of_its_row(shape: tuple[int, ...]) -> None:
    original = noise(*shape) * torch.logspace(-3, 3, shape[0]).view(-1, *[1] * (len(shape) - 1))
    restored = restored_from_int8(rounded_to_int8("w", original))["w"]
    assert restored.shape == shape
    off = (restored - original).flatten(1).abs().amax(dim=1)
    largest = original.flatten(1).abs().amax(dim=1)
    assert (off <= largest / 254 * (1 + 1e-5)).all()  # float32
    assert (off > largest / 1000).all()


def test_kernels_of_short_rows_are_stored_in_float16() -> None:
    original = noise(5, 1, 3, 3)
    stored = rounded_to_int8("w", original)
    assert stored.keys() == {"w"}
    assert torch.equal(stored["w"], original.half())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_scale_tells_of_what_is_not_finite(value: float) -> None:
    broken = kernel()
    broken[1, 3] = value
    assert rounded_to_int8("w", broken)["w.row_scale"].isfinite().tolist() == [True, False]


def test_storing_what_was_restored_changes_nothing() -> None:
    once = restored_from_int8(rounded_to_int8("w", noise(3, 5, 7)))["w"]
    twice = restored_from_int8(rounded_to_int8("w", once))["w"]
    torch.testing.assert_close(twice, once, rtol=1e-6, atol=0)  # the scale in float32


def test_files_are_read_so_with_and_without_torch(tmp_path: Path) -> None:
    others = {"bias": noise(3), "count": torch.arange(4, dtype=torch.int8)}
    save_file(rounded_to_int8("w", noise(3, 5, 7)) | others, tmp_path / "a.safetensors")
    tensors = read_tensors(tmp_path / "a.safetensors")
    arrays = restored_from_int8(read_arrays(tmp_path / "a.safetensors"))
    assert tensors.keys() == arrays.keys() == {"w", "bias", "count"}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(arrays[name], tensor.numpy(), strict=True)
    assert tensors["w"].dtype == torch.float32
    assert torch.equal(tensors["count"], others["count"])


def test_scales_of_another_number_of_rows_stay_for_the_check_of_the_names() -> None:
    stored = rounded_to_int8("w", noise(3, 40)) | {"w.row_scale": torch.ones(2)}
    assert restored_from_int8(stored).keys() == {"w", "w.row_scale"}
