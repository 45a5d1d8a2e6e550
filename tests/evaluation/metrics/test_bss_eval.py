"""qsep.evaluation.metrics.bss_eval against museval, and where museval refuses."""

import itertools
import math

import numpy as np
import pytest
import scipy.signal
import torch

from qsep.evaluation.metrics.bss_eval import bss_eval, bss_eval_sources
from qsep.evaluation.metrics.bss_scores import import_museval
from qsep.recipes.benchmarks.costs.bss_eval import compare

WINDOWS = ((math.inf, math.inf), (300, 100), (257.5, 99.3), (700, 350), (2000, 400))


def theirs(
    references: np.ndarray,
    estimates: np.ndarray,
    window: float = math.inf,
    hop: float = math.inf,
    filters_len: int = 512,
) -> np.ndarray:
    """(4, s, w): SDR, ISR, SIR, SAR."""
    result = import_museval().metrics.bss_eval(
        references, estimates, window=window, hop=hop, filters_len=filters_len
    )
    return np.array(result[:4])


def scene(
    rng: np.random.Generator, shape: tuple[int, ...], noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Noise through differing filters, and estimates with some of the others and of more noise."""
    references = rng.standard_normal(shape)
    taps = rng.standard_normal((shape[0], 6, 1))
    references = np.stack(
        [
            scipy.signal.lfilter(tap[:, 0], 1, r, axis=0)
            for tap, r in zip(taps, references, strict=True)
        ]
    )
    leaked = rng.uniform(0.01, 0.5) * (references.sum(axis=0) - references)
    filtered = references + 0.2 * np.roll(references, 3, axis=1)
    return references, filtered + leaked + noise * rng.standard_normal(shape)


@pytest.mark.parametrize(("num_sources", "num_channels"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2)])
def test_ratios_are_musevals(num_sources: int, num_channels: int) -> None:
    rng = np.random.default_rng(10 * num_sources + num_channels)
    for num_samples, filters_len in itertools.product((701, 3001), (1, 21)):
        noise = 10 ** rng.uniform(-4, 0)
        references, estimates = scene(rng, (num_sources, num_samples, num_channels), noise)
        for window, hop in WINDOWS:
            ratios = np.array(bss_eval(references, estimates, window, hop, filters_len))
            expected = theirs(references, estimates, window, hop, filters_len)
            # The limit. The interference of a single source is a rounding error in both.
            kept = [0, 1, 3] if num_sources == 1 else [0, 1, 2, 3]
            assert ratios[kept] == pytest.approx(expected[kept], abs=1e-3)


def test_ratios_with_512_taps_are_musevals() -> None:
    references, estimates = scene(np.random.default_rng(1), (2, 16001, 1), 0.1)
    ratios = np.array(bss_eval(references, estimates, 8000, 4000))
    assert ratios.shape == (4, 2, 3)
    assert ratios == pytest.approx(theirs(references, estimates, 8000, 4000), abs=1e-3)


def test_near_perfect_estimates_keep_their_accuracy() -> None:
    """Artefacts 140 dB under the estimate are lost in correlations, so they come from waveforms."""
    references, _ = scene(np.random.default_rng(2), (2, 3001, 1), 0)
    estimates = references + 1e-7 * np.random.default_rng(3).standard_normal(references.shape)
    ratios, expected = np.array(bss_eval(references, estimates)), theirs(references, estimates)
    assert expected[0].min() > 130
    assert ratios == pytest.approx(expected, abs=1e-3)


def test_references_that_are_alike_are_solved_as_museval_does() -> None:
    """The normal equations are singular; what of the estimate any reference explains is not."""
    rng = np.random.default_rng(4)
    references, estimates = scene(rng, (2, 2001, 1), 0.3)
    references[1] = references[0]
    ratios = np.array(bss_eval(references, estimates, filters_len=16))
    expected = theirs(references, estimates, filters_len=16)
    assert ratios[[0, 1, 3]] == pytest.approx(expected[[0, 1, 3]], abs=1e-3)


def test_low_passed_references_as_16_bits_are_musevals() -> None:
    """Little energy at most frequencies: near-singular equations, as of real recordings."""
    rng = np.random.default_rng(5)
    low = scipy.signal.butter(8, 0.2, output="sos")
    loud = 0.1 * scipy.signal.sosfilt(low, rng.standard_normal((3, 16001, 1)), axis=1)
    references = np.round(loud[:2] * 32768) / 32768
    estimates = np.round((loud[:2] + 0.3 * loud[1::-1] + 0.1 * loud[2]) * 32768) / 32768
    ratios = np.array(bss_eval(references, estimates, 8000, 4000, 128))
    assert ratios == pytest.approx(theirs(references, estimates, 8000, 4000, 128), abs=1e-3)


def test_items_of_a_batch_are_scored_independently() -> None:
    rng = np.random.default_rng(6)
    pairs = [scene(rng, (2, 1001, 1), 0.1) for _ in range(6)]
    references, estimates = (
        np.stack(s).reshape(3, 2, 2, 1001, 1) for s in zip(*pairs, strict=True)
    )
    ratios = np.array(bss_eval(references, torch.from_numpy(estimates), 500, 250, 8))
    assert ratios.shape == (4, 3, 2, 2, 3)
    for index, (reference, estimate) in enumerate(pairs):
        single = np.array(bss_eval(reference, estimate, 500, 250, 8))
        assert np.array_equal(ratios[:, index // 2, index % 2], single)


def test_sources_without_channels_are_of_one() -> None:
    references, estimates = scene(np.random.default_rng(7), (3, 900, 1), 0.1)
    flat = bss_eval(references[..., 0], estimates[..., 0], filters_len=8)
    assert np.array_equal(flat, bss_eval(references, estimates, filters_len=8))


def test_windows_with_silence_are_nan_as_in_museval() -> None:
    references, estimates = scene(np.random.default_rng(8), (2, 3000, 2), 0.1)
    references[1, 900:2100] = 0
    estimates[0, 2500:, 0] = -estimates[0, 2500:, 1]  # channels that cancel count as silent there
    ratios = np.array(bss_eval(references, estimates, 500, 500, 8))
    expected = theirs(references, estimates, 500, 500, 8)
    assert np.isnan(expected[0, 0]).tolist() == [False, False, True, True, False, True]
    assert ratios == pytest.approx(expected, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize("silent", ["reference", "estimate"])
def test_silent_sources_are_nan_where_museval_refuses(silent: str) -> None:
    references, estimates = scene(np.random.default_rng(9), (2, 2, 700, 1), 0.1)
    (references if silent == "reference" else estimates)[0, 1] = 0
    with pytest.raises(ValueError, match="non-silent"):
        theirs(references[0], estimates[0])
    for ratio in (*bss_eval(references, estimates), *bss_eval_sources(references, estimates)):
        assert np.isnan(ratio[0]).all()
        assert np.isfinite(ratio[1]).all()


def test_a_perfect_estimate_has_an_infinite_sdr() -> None:
    references, _ = scene(np.random.default_rng(11), (2, 700, 1), 0)
    assert np.isposinf(bss_eval(references, references, filters_len=4).sdr).all()


def test_sources_version_is_mir_evals() -> None:
    references, estimates = scene(np.random.default_rng(12), (2, 4001, 1), 0.1)
    import mir_eval

    with pytest.warns(FutureWarning, match="Deprecated"):  # mir_eval 0.9 is without it
        expected = mir_eval.separation.bss_eval_sources(
            references[..., 0], estimates[..., 0], False
        )
    ratios = np.array(bss_eval_sources(references, estimates))
    assert ratios == pytest.approx(np.array(expected[:3]), abs=1e-3)


@pytest.mark.parametrize(
    ("shapes", "window", "hop", "message"),
    [
        (((2, 9), (2, 8)), math.inf, math.inf, r"one shape.*got \(2, 9\) and \(2, 8\)"),
        (((2, 0), (2, 0)), math.inf, math.inf, "nothing empty"),
        (((2, 9), (2, 9)), 4, math.inf, "finite hop, got 4, inf"),
        (((2, 9), (2, 9)), 4, 0, "finite hop, got 4, 0"),
        (((2, 9), (2, 9)), 0, 1, "window of 1 sample"),
    ],
)
def test_invalid_arguments_are_refused(
    shapes: tuple[tuple[int, int], ...], window: float, hop: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bss_eval(np.ones(shapes[0]), np.ones(shapes[1]), window, hop)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        bss_eval(np.full((2, 9), np.nan), np.ones((2, 9)))


def test_benchmark_compares_in_one_run() -> None:
    line = compare(threads=1, runs=1)
    assert "10 s, 2 sources, 16000 Hz" in line
    assert "times as fast" in line
