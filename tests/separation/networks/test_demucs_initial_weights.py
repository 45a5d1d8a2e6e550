import pytest
import torch
from torch import nn

from qsep.separation.networks.backbones import demucs
from qsep.separation.networks.demucs.initial_scale import scale_initial_weights


def test_deviations_become_their_geometric_mean_with_a_tenth() -> None:
    generator = torch.Generator().manual_seed(1)
    network = nn.Sequential(
        nn.Conv1d(5, 70, 3), nn.Linear(7, 11), nn.Sequential(nn.ConvTranspose2d(6, 90, 4))
    )
    for number, weights in enumerate(network.parameters(), start=1):
        weights.data.normal_(0, 0.01 * number, generator=generator)
    before = [weights.detach().clone() for weights in network.parameters()]
    scale_initial_weights(network)
    weight, bias, linear, linear_bias, last, last_bias = network.parameters()
    # (0.1 * 0.01)^0.5, and (0.1 * 0.05)^0.5 for the fifth.
    torch.testing.assert_close(weight.std().item(), 0.0316, rtol=0.05, atol=0)
    torch.testing.assert_close(last.std().item(), 0.0707, rtol=0.05, atol=0)
    torch.testing.assert_close(bias / before[1], (weight / before[0])[0, 0, 0].expand(70))
    torch.testing.assert_close(last_bias / before[5], (last / before[4])[0, 0, 0, 0].expand(90))
    assert torch.equal(linear, before[2])
    assert torch.equal(linear_bias, before[3])


def effect_of_the_lowest_level() -> float:
    """How much of a new network's output changes, relatively, with the features of its lowest level."""
    torch.manual_seed(2)
    network = demucs.build(demucs.Config(channels=8, num_levels=4), 1, 1, 2, causal=False)
    waveform = torch.randn(1, 1, 1, 4001, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        plain = network(waveform, lambda site, hidden: hidden)
        shifted = network(waveform, lambda site, hidden: hidden + 1)
    return float((shifted - plain).square().mean().sqrt() / plain.square().mean().sqrt())


def test_the_lowest_level_of_a_new_demucs_is_heard_better(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled = effect_of_the_lowest_level()
    monkeypatch.setattr(demucs, "scale_initial_weights", lambda network: None)
    assert scaled > 3 * effect_of_the_lowest_level()
