"""Averages of weights: by hand, and of a network that computes what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qsep.recipes.training.initial_weights.average import average, main


def test_float_weights_are_averaged_and_other_entries_are_the_last_checkpoints(
    tmp_path: Path,
) -> None:
    for name, value, count in (("a", 1.0, 7), ("b", 4.0, 9)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"name": "{name}"}}')
        tensors = {"w": torch.full((2, 3), value).half(), "n": torch.tensor(count)}
        save_file(tensors, tmp_path / name / "model.safetensors")
    main([f"{tmp_path / 'a'}=1", f"{tmp_path / 'b'}=2", "-o", str(tmp_path / "out")])
    result = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(result["w"], torch.full((2, 3), 3.0).half())  # (1 + 2 * 4) / 3
    assert result["n"] == 9
    assert (tmp_path / "out" / "config.json").read_text() == '{"name": "b"}'
    with pytest.raises(SystemExit, match="exists: choose a new folder"):
        main([f"{tmp_path / 'a'}=1", "-o", str(tmp_path / "out")])


def test_one_checkpoint_is_stored_anew_with_kernels_in_8_bits(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text("{}")
    kernel = torch.linspace(-1, 1, 2 * 40).reshape(2, 40)
    save_file({"w": kernel, "b": torch.ones(3)}, tmp_path / "a" / "model.safetensors")
    main([f"{tmp_path / 'a'}=1", "-o", str(tmp_path / "out"), "--kernels", "int8"])
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert stored["w"].dtype == torch.int8
    torch.testing.assert_close(
        stored["w.row_scale"] * 127, torch.ones(2)
    )  # the largest of each row
    assert torch.equal(stored["b"], torch.ones(3))


@pytest.mark.parametrize(
    ("second", "shares", "message"),
    [
        ({"w": torch.zeros(3)}, (1.0, 1.0), "different networks"),
        ({"v": torch.zeros(2)}, (1.0, 1.0), "different networks"),
        ({"w": torch.zeros(2)}, (1.0, -1.0), "shares are 1.0, -1.0"),
        ({"w": torch.zeros(2)}, (0.0, 0.0), "shares are 0.0, 0.0"),
    ],
)
def test_checkpoints_that_cannot_be_averaged_are_refused(
    second: dict[str, torch.Tensor], shares: tuple[float, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        average([{"w": torch.ones(2)}, second], shares)
