"""The vocoder's activation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import noise

from qsep.separation.networks.mel.bigvgan import SnakeBeta, half_band, squared_sine


@torch.no_grad()
def test_snakes_in_two_phases_are_those_of_the_doubled_signal() -> None:
    """Against the direct form: upsampled by a transposed convolution, activated, downsampled at stride 2."""
    taps = half_band().double().expand(3, 1, -1)
    for num_samples in (1, 2, 3, 17):
        snake, hidden = SnakeBeta(3).double(), noise(2, 3, num_samples, scale=1.0).double()
        alpha, beta = (torch.tensor(row).double() for row in ([0.5, 1.0, 2.0], [0.7, 1.1, 0.3]))
        snake.log_alpha.copy_(alpha.log())
        snake.log_beta.copy_(beta.log())
        held = F.pad(hidden, (5, 5), mode="replicate")
        raised = 2 * F.conv_transpose1d(held, taps, stride=2, groups=3)[..., 15:-15]
        bent = raised + (alpha[:, None] * raised).sin().square() / (beta[:, None] + 1e-9)
        held = F.pad(bent, (5, 6), mode="replicate")
        expected = F.conv1d(held, taps, stride=2, groups=3)
        # 1e-12: sums of float64
        torch.testing.assert_close(snake(hidden), expected, atol=1e-12, rtol=0)


def test_the_sine_of_graphs_is_a_sine(monkeypatch: pytest.MonkeyPatch) -> None:
    angle = torch.linspace(-400, 400, 100_003)
    monkeypatch.setattr("torch.compiler.is_exporting", lambda: True)
    actual = squared_sine(angle).numpy()
    # 5e-7: float32 of angles up to 400, whose last bit is 3e-5, reduced without loss
    np.testing.assert_allclose(actual, np.sin(angle.double().numpy()) ** 2, atol=5e-7, rtol=0)
