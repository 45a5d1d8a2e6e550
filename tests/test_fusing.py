"""Networks rewritten for use compute what they did."""

import numpy as np
import pytest
import scipy.signal
import torch
from tiny import noise, tiny_separator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from qsep.separation.fusing import RaisingConv, fused


def doubling(size: int) -> np.ndarray:
    """(2 size, size): linear interpolation whose first and last points are the input's."""
    places = np.linspace(0, size - 1, 2 * size)
    return np.array([np.interp(places, np.arange(size), row) for row in np.eye(size)]).T


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("num_rows", "num_columns"), [(5, 7), (1, 2), (4, 1), (17, 40)])
def test_raising_and_convolving_is_done_as_by_matrices_and_scipy(
    num_rows: int, num_columns: int, bias: bool
) -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=bias).double()
    hidden = noise(2, 3, num_rows, num_columns).double()
    raised = doubling(num_rows) @ hidden.numpy() @ doubling(num_columns).T
    expected = np.zeros((2, 4, 2 * num_rows, 2 * num_columns))
    kernels = conv.weight.detach().numpy()
    for item, out, num_in in np.ndindex(2, 4, 3):
        expected[item, out] += scipy.signal.correlate2d(
            raised[item, num_in], kernels[out, num_in], mode="same"
        )
    if conv.bias is not None:
        expected += conv.bias.detach().numpy()[:, None, None]
    # 1e-12: sums of float64
    np.testing.assert_allclose(RaisingConv(conv)(hidden), expected, atol=1e-12, rtol=0)


def networks() -> list[tuple[nn.Module, Tensor]]:
    """Networks of separators, and inputs for them."""
    return [
        (tiny_separator("clipsep").network.unet, noise(2, 1, 24, 16, scale=3.0)),
        (tiny_separator("band_unet").unet, noise(2, 3, 32, 48, scale=3.0)),
        (tiny_separator("convtasnet").masker, noise(2, 12, 50, scale=3.0)),
    ]


@pytest.mark.parametrize("index", range(3))
def test_a_fused_network_gives_what_the_network_gives(index: int) -> None:
    network, inputs = networks()[index]
    network, inputs = network.double(), inputs.double()
    expected = network(inputs).detach()
    # 1e-10 of the output: sums of float64 in another order
    torch.testing.assert_close(
        fused(network)(inputs), expected, atol=1e-10 * float(expected.abs().max()), rtol=0
    )


def test_the_network_itself_stays_as_it_was() -> None:
    network, inputs = networks()[0]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fused(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network(inputs).requires_grad


def num_flops(network: nn.Module, inputs: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        network(inputs)
    return counter.get_total_flops()


def test_the_way_up_takes_a_quarter_of_the_multiplications_by_weights_and_no_batch_norms() -> None:
    network, _ = networks()[0]
    rewritten = fused(network)
    for up, raising in zip(network.ups, rewritten.ups, strict=True):
        conv = next(layer for layer in up if isinstance(layer, nn.Conv2d))
        hidden = noise(1, conv.in_channels, 6, 8)
        moved = 2 * conv.out_channels * (3 * 6 * 24 * 16 + 18 * 12 * 16)  # two dense matrices
        assert num_flops(raising, hidden) - moved == num_flops(up, hidden) // 4
    norms = [layer for layer in rewritten.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 1  # of the input, which no convolution comes before
