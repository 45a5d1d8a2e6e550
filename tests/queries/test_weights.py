"""Building networks whose weights will be loaded."""

from typing import Any

import pytest
import torch
from tiny import tiny_separator
from torch import nn

from qsep.queries.files.weights import Unfilled, load_weights


class Shifted(nn.Module):
    """A parameter, and a buffer that no checkpoint holds."""

    ones: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)
        self.register_buffer("ones", torch.empty(7), persistent=False)
        nn.init.ones_(self.ones)


def test_only_parameters_stay_unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, ...]] = []
    uniform = torch.Tensor.uniform_

    def draw(tensor: torch.Tensor, *bounds: float, **settings: Any) -> torch.Tensor:
        drawn.append(tuple(tensor.shape))
        return uniform(tensor, *bounds, **settings)

    monkeypatch.setattr(torch.Tensor, "uniform_", draw)
    with Unfilled():
        built = Shifted()
    assert drawn == []
    assert torch.equal(built.ones, torch.ones(7))
    Shifted()
    assert drawn == [(5, 3), (5,)]


@pytest.mark.parametrize("kind", ["band_unet", "clipsep", "resunet30", "flowsep", "flow_unet"])
def test_a_network_built_unfilled_is_as_the_original_once_loaded(kind: str) -> None:
    original = tiny_separator(kind)
    with Unfilled():
        separator = type(original)(original.config)
    load_weights(separator, original.state_dict(), "test")
    assert {name for name, _ in separator.named_buffers()} == {
        name for name, _ in original.named_buffers()
    }
    for name, buffer in original.named_buffers():  # those that no checkpoint holds as well
        assert torch.equal(separator.get_buffer(name), buffer), name
    for name, weight in original.named_parameters():
        assert torch.equal(separator.get_parameter(name), weight), name
