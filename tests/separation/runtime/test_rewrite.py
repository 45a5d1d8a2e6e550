"""Networks rewritten for use compute what they did."""

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from tiny import noise, tiny_separator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from qsep.separation.runtime.rewrite import (
    BilinearUpsampleConv,
    NearestUpsampleConv,
    SubpixelConv,
    fused,
    transposed,
)


def doubling(size: int) -> np.ndarray:
    """(2 size, size): linear interpolation whose first and last points are the input's."""
    places = np.linspace(0, size - 1, 2 * size)
    return np.array([np.interp(places, np.arange(size), row) for row in np.eye(size)]).T


def convolved(images: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """By SciPy: (b, num_in, k, n) to (b, num_out, k, n)."""
    num_items, num_in, *size = images.shape
    output = np.zeros((num_items, conv.out_channels, *size))
    kernels = conv.weight.detach().numpy()
    for item, out, channel in np.ndindex(num_items, conv.out_channels, num_in):
        kernel = kernels[out, channel]
        output[item, out] += scipy.signal.correlate2d(images[item, channel], kernel, mode="same")
    if conv.bias is not None:
        output += conv.bias.detach().numpy()[:, None, None]
    return output


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("num_rows", "num_columns"), [(5, 7), (1, 2), (4, 1), (17, 40)])
def test_raising_and_convolving_is_done_as_by_matrices_and_scipy(
    num_rows: int, num_columns: int, bias: bool
) -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=bias).double()
    hidden = noise(2, 3, num_rows, num_columns).double()
    raised = doubling(num_rows) @ hidden.numpy() @ doubling(num_columns).T
    # 1e-12: sums of float64
    expected = convolved(raised, conv)
    np.testing.assert_allclose(BilinearUpsampleConv(conv)(hidden), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("num_rows", "num_columns"), [(5, 7), (1, 2), (4, 1)])
def test_repeating_and_convolving_is_done_as_by_numpy_and_scipy(
    num_rows: int, num_columns: int, bias: bool
) -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=bias).double()
    hidden = noise(2, 3, num_rows, num_columns).double()
    repeated = hidden.numpy().repeat(2, axis=2).repeat(2, axis=3)
    expected = convolved(repeated, conv)
    np.testing.assert_allclose(NearestUpsampleConv(conv)(hidden), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "rate"), [(16, 5), (16, 4), (4, 2), (3, 2), (5, 5), (7, 3)])
def test_spreading_is_a_convolution_of_what_has_zeros_between(
    kernel: int, rate: int, bias: bool
) -> None:
    trim = (kernel - rate) // 2
    conv = nn.ConvTranspose1d(3, 4, kernel, rate, trim, bias=bias).double()
    hidden = noise(2, 3, 6).double()
    spread = np.zeros((2, 3, 5 * rate + 1))
    spread[..., ::rate] = hidden
    expected = np.zeros((2, 4, 5 * rate + kernel - 2 * trim))
    kernels = conv.weight.detach().numpy()
    for item, num_in, out in np.ndindex(2, 3, 4):
        whole = scipy.signal.convolve(spread[item, num_in], kernels[num_in, out], method="direct")
        expected[item, out] += whole[trim : len(whole) - trim]
    if conv.bias is not None:
        expected += conv.bias.detach().numpy()[:, None]
    np.testing.assert_allclose(SubpixelConv(conv)(hidden), expected, atol=1e-12, rtol=0)


def networks() -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Networks of separators, and inputs for them."""
    flowsep = tiny_separator("flowsep")
    channels, num_frames, num_bands = flowsep.latent_shape(flowsep.size)
    latents = noise(2, 2, channels, num_frames, num_bands, scale=1.0)
    words = noise(2, 5, flowsep.query_dim, scale=1.0), torch.arange(5) < torch.tensor([[3], [5]])
    return {
        "clipsep": (tiny_separator("clipsep").network.unet, (noise(2, 1, 24, 16, scale=3.0),)),
        "band_unet": (tiny_separator("band_unet").unet, (noise(2, 3, 32, 48, scale=3.0),)),
        "convtasnet": (tiny_separator("convtasnet").masker, (noise(2, 12, 50, scale=3.0),)),
        "velocity": (flowsep.unet, (*latents, torch.tensor([0.2, 0.7]), *words)),
        "decoder": (flowsep.codec.vae.decoder, (latents[0],)),
        "vocoder": (flowsep.codec.vocoder, (noise(2, flowsep.config.mel.num_bands, 20),)),
    }


@pytest.mark.parametrize("name", networks())
def test_a_fused_network_gives_the_output_of_the_original(name: str) -> None:
    network, inputs = networks()[name]
    for weight in network.parameters():
        if not weight.any():  # begun at zero, where nothing shows
            nn.init.normal_(weight, std=0.1)
    network = network.double()
    inputs = tuple(part.double() if part.is_floating_point() else part for part in inputs)
    expected = network(*inputs).detach()
    # 1e-10 of the output: sums of float64 in another order
    limit = 1e-10 * float(expected.abs().max())
    torch.testing.assert_close(fused(network)(*inputs), expected, atol=limit, rtol=0)
    again = fused(transposed(network))(*inputs)
    torch.testing.assert_close(again, expected, atol=limit, rtol=0)


def test_the_original_network_is_not_modified() -> None:
    network, inputs = networks()["clipsep"]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fused(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network(*inputs).requires_grad


def num_flops(network: nn.Module, inputs: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        network(inputs)
    return counter.get_total_flops()


def test_the_way_up_takes_a_quarter_of_the_multiplications_by_weights_and_no_batch_norms() -> None:
    network: Any = networks()["clipsep"][0]
    rewritten: Any = fused(network)
    for up, raising in zip(network.ups, rewritten.ups, strict=True):
        conv = next(layer for layer in up if isinstance(layer, nn.Conv2d))
        hidden = noise(1, conv.in_channels, 6, 8)
        moved = 2 * conv.out_channels * (3 * 6 * 24 * 16 + 18 * 12 * 16)  # two dense matrices
        assert num_flops(raising, hidden) - moved == num_flops(up, hidden) // 4
    norms = [layer for layer in rewritten.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 1  # of the input, which no convolution comes before


def test_places_that_repeat_or_spread_cost_no_multiplications() -> None:
    conv, spreading = nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose1d(3, 4, 8, 4, 2)
    hidden = noise(1, 3, 6, 8)
    assert (
        num_flops(NearestUpsampleConv(conv), hidden)
        == num_flops(conv, noise(1, 3, 12, 16)) * 4 // 9
    )
    between = num_flops(SubpixelConv(spreading), noise(1, 3, 20))
    assert between == 2 * 3 * 4 * 8 * 21  # each of 20 + 1 places by a tap of all eight
