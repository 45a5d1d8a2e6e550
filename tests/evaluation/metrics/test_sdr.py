"""qsep.evaluation.metrics.sdr against hand calculations and the project's yardstick."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from repository import SHARED

from qsep.evaluation.metrics.sdr import leakage_db, sdr, si_sdr

BENCH = SHARED / "bench" / "bench.py"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """bench.py as a module; it runs its command line on import, so it gets nothing to render."""
    if not BENCH.is_file():
        pytest.skip(f"the yardstick {BENCH} is not on this machine")
    (tmp_path / "empty.csv").write_text("id\n")
    arguments = ["render", str(tmp_path / "empty.csv"), str(tmp_path), str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
    spec = importlib.util.spec_from_file_location("bench", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("noise_gain", [0.0, 1e-6, 0.3, 40.0])
def test_both_metrics_equal_the_reference(bench: ModuleType, noise_gain: float) -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(0.05, 0.2, 997)
    estimate = reference + noise_gain * rng.normal(0.1, 0.2, 997)
    # 1e-9 dB: the same formulas in float64, summed in another order
    assert float(si_sdr(estimate, reference)) == pytest.approx(
        bench.si_sdr(estimate, reference), abs=1e-9
    )
    assert float(sdr(estimate, reference)) == pytest.approx(
        bench.snr(estimate, reference), abs=1e-9
    )


@pytest.mark.parametrize("silent", ["estimate", "reference", "both"])
def test_silence_scores_as_by_the_reference(bench: ModuleType, silent: str) -> None:
    sound, zeros = np.sin(np.arange(331.0)), np.zeros(331)
    estimate = zeros if silent in ("estimate", "both") else sound
    reference = zeros if silent in ("reference", "both") else sound
    for ours, theirs in ((si_sdr, bench.si_sdr), (sdr, bench.snr)):
        assert float(ours(estimate, reference)) == pytest.approx(
            theirs(estimate, reference), abs=1e-9
        )


def test_silent_estimate_scores_zero_decibels() -> None:
    reference = np.sin(np.arange(331.0))
    for metric in (si_sdr, sdr):
        assert float(metric(np.zeros(331), reference)) == pytest.approx(0.0, abs=1e-9)


def test_perfect_estimate_scores_its_energy_over_the_floor() -> None:
    reference = torch.tensor([5.0, -5.0, 5.0, -5.0], dtype=torch.float64)  # zero mean, energy 100
    for metric in (si_sdr, sdr):
        assert float(metric(reference, reference)) == pytest.approx(140.0, abs=1e-9)


def test_si_sdr_of_orthogonal_noise_is_the_ratio_of_energies() -> None:
    phase = 2 * math.pi * torch.arange(480, dtype=torch.float64) / 480
    target, noise = (3 * phase).cos(), (7 * phase).cos()  # orthogonal, zero mean, equal energy
    estimate = 0.5 * target + 0.05 * noise  # |0.5|^2 / |0.05|^2 = 100
    assert float(si_sdr(estimate, target)) == pytest.approx(20.0, abs=1e-9)


def test_sdr_of_half_the_reference_is_six_decibels() -> None:
    reference = torch.tensor([3.0, -1.0, 2.0])
    assert float(sdr(0.5 * reference, reference)) == pytest.approx(20 * math.log10(2), abs=1e-9)


def test_si_sdr_ignores_scale_and_offset_of_the_estimate() -> None:
    generator = torch.Generator().manual_seed(2)
    reference, noise = torch.randn(2, 701, generator=generator, dtype=torch.float64)
    estimate = reference + 0.4 * noise
    # 1e-9: only the 1e-12 beside energies of about 700 remains
    assert float(si_sdr(3 * estimate - 0.7, reference)) == pytest.approx(
        float(si_sdr(estimate, reference)), abs=1e-9
    )


def test_every_leading_dimension_keeps_its_own_value() -> None:
    generator = torch.Generator().manual_seed(3)
    reference, noise = torch.randn(2, 3, 2, 53, generator=generator)
    estimate = reference + noise * torch.tensor([0.1, 1.0, 5.0])[:, None, None]
    for metric in (si_sdr, sdr, leakage_db):
        together = metric(estimate, reference)
        assert together.shape == (3, 2)
        assert together.dtype == torch.float64
        alone = metric(estimate[2, 1], reference[2, 1])
        assert float(together[2, 1]) == pytest.approx(float(alone), abs=1e-9)


def test_leakage_of_a_tenth_of_the_mixture_is_minus_twenty_decibels() -> None:
    mixture = np.sin(np.arange(211.0))
    assert float(leakage_db(0.1 * mixture, mixture)) == pytest.approx(-20.0, abs=1e-9)


def test_leakage_of_silence_is_a_hundred_decibels_down() -> None:
    for mixture in (np.ones(17), np.zeros(17)):
        assert float(leakage_db(np.zeros(17), mixture)) == pytest.approx(-100, abs=1e-9)


def test_waveforms_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(5,\) and \(6,\)"):
        si_sdr(np.ones(5), np.ones(6))
