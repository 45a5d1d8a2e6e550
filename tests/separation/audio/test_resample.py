"""qsep.separation.audio.resample against soxr's own whole-file resampling."""

import numpy as np
import pytest
import soxr

from qsep.separation.audio.resample import StreamResampler, resampled_length
from qsep.separation.inference.aligned import SETTLED_SECONDS

RATES = [(44100, 32000), (32000, 44100), (8000, 32000), (192000, 32000), (11025, 48000)]


def stream(
    waveform: np.ndarray, rates: tuple[int, int], block: int, total: int | None = None
) -> np.ndarray:
    resampler = StreamResampler(*rates, waveform.shape[0])
    starts = range(0, waveform.shape[1], block)
    parts = [resampler.process(waveform[:, start : start + block]) for start in starts]
    return np.concatenate([*parts, resampler.flush(total)], axis=1)


def noise(num_channels: int, num_samples: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.uniform(-1, 1, (num_channels, num_samples)).astype(np.float32)


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("block", [97, 1000, 9999])
def test_blocks_joined_equal_the_whole(rates: tuple[int, int], block: int) -> None:
    waveform = noise(3, 6173)
    whole = soxr.resample(waveform.T, *rates, quality="HQ").T
    streamed = stream(waveform, rates, block)
    # 2e-6: the same filter, rounded to float32 in another order; theirs may be a sample shorter
    np.testing.assert_allclose(streamed[:, : whole.shape[1]], whole, atol=2e-6, rtol=0)


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("num_samples", [1, 2, 5, 1237, 6173])
def test_the_length_is_the_exact_ratio_rounded_up(rates: tuple[int, int], num_samples: int) -> None:
    expected = -(-num_samples * rates[1] // rates[0])
    assert resampled_length(num_samples, *rates) == expected >= 1
    assert stream(noise(2, num_samples), rates, 500).shape == (2, expected)


@pytest.mark.parametrize("rates", [*RATES, (32000, 32000)])
@pytest.mark.parametrize("num_samples", [1, 2, 5, 1237, 6173])
def test_there_and_back_keeps_the_length(rates: tuple[int, int], num_samples: int) -> None:
    there = stream(noise(2, num_samples), rates, 500)
    assert stream(there, rates[::-1], 300, num_samples).shape == (2, num_samples)


@pytest.mark.parametrize("rates", [(44100, 32000), (8000, 32000), (192000, 32000)])
def test_a_tone_keeps_its_position(rates: tuple[int, int]) -> None:
    seconds = np.arange(6173) / rates[0]
    tone = np.sin(2 * np.pi * 440 * seconds)[None].astype(np.float32)
    back = stream(stream(tone, rates, 700), rates[::-1], 800, 6173)
    middle = slice(2000, -2000)  # the tone's ends are clicks, which have no band limit
    # 1e-5: two passes of 20 bits
    np.testing.assert_allclose(back[:, middle], tone[:, middle], atol=1e-5, rtol=0)


def test_equal_rates_change_nothing() -> None:
    waveform = noise(3, 1237)
    np.testing.assert_array_equal(stream(waveform, (22050, 22050), 100), waveform)


@pytest.mark.parametrize("rates", [(32000, 1000), (32000, 11025), (16000, 44101), (32000, 768_000)])
def test_what_came_before_is_soon_forgotten_to_the_last_bit(rates: tuple[int, int]) -> None:
    """So a stream can be continued whose beginning is not computed again."""
    assert SETTLED_SECONDS == 2
    waveform = noise(1, 5 * rates[0])
    other = np.concatenate([np.zeros((1, rates[0]), np.float32), waveform[:, rates[0] :]], axis=1)
    whole, continued = (stream(samples, rates, 7001) for samples in (waveform, other))
    settled = (1 + SETTLED_SECONDS // 2) * rates[1]  # half of the time that is granted
    assert (whole[:, : rates[1]] != continued[:, : rates[1]]).any()
    np.testing.assert_array_equal(whole[:, int(settled) :], continued[:, int(settled) :])


def test_samples_before_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(3, t\), got \(1237, 3\)"):
        StreamResampler(8000, 16000, 3).process(noise(1237, 3))
