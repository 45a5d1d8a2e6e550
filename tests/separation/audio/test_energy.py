"""Energy: added block by block, without a recorder's DC offset."""

import numpy as np
import pytest

from qsep.separation.audio.arrays import Energy


@pytest.mark.parametrize("block_samples", [1, 700, 5001])
def test_it_is_the_variance_times_the_number_of_samples(block_samples: int) -> None:
    waveform = np.random.default_rng(1).uniform(-1, 1, (3, 5001)).astype(np.float32)
    waveform += np.array([[0.5], [-0.1], [0]], np.float32)
    energy = Energy()
    for start in range(0, 5001, block_samples):
        energy.add(waveform[:, start : start + block_samples])
    expected = 5001 * waveform.astype(np.float64).var(axis=1).sum()
    assert energy.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.3, -1e-5])
def test_a_constant_has_none(value: float) -> None:
    assert Energy().add(np.full((2, 70001), value, np.float32)).value == 0
    assert Energy().value == 0
