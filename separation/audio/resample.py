"""Resampling of waveforms that arrive in blocks."""

from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray


def resampled_length(num_samples: int, input_rate: int, output_rate: int) -> int:
    """Length after resampling, rounded up, so that one sample never becomes none.

    Resampling there and back is never shorter than the original: the way back only trims.
    """
    return -(-num_samples * output_rate // input_rate)


class StreamResampler:
    """Resamples (c, t) blocks of any lengths, with the same result as for the whole waveform at once.

    By soxr's "HQ": passband to 91 % of the lower Nyquist frequency, errors below -120 dB, output aligned
    with the input. With equal rates, samples pass through unchanged. Rates in Hz; output float32.
    """

    def __init__(self, input_rate: int, output_rate: int, num_channels: int) -> None:
        self.input_rate, self.output_rate = input_rate, output_rate
        self.num_channels = num_channels
        self._num_in = self._num_out = 0
        self._stream = None
        if input_rate != output_rate:
            self._stream = soxr.ResampleStream(
                input_rate, output_rate, num_channels, dtype="float32", quality="HQ"
            )

    def process(self, block: NDArray[np.floating]) -> NDArray[np.float32]:
        """block: (c, t), t >= 0. Returns the samples that are ready, (c, t'), t' >= 0.

        Raises ValueError for another number of channels.
        """
        if block.ndim != 2 or block.shape[0] != self.num_channels:
            raise ValueError(f"expected ({self.num_channels}, t), got {block.shape}")
        self._num_in += block.shape[1]
        return self._resample(block, last=False)

    def flush(self, total_samples: int | None = None) -> NDArray[np.float32]:
        """The remaining samples, (c, t'), so that the whole output is exactly total_samples long.

        total_samples: by default resampled_length of the input; give the original length when resampling
        back to the original rate.
        """
        if total_samples is None:
            total_samples = resampled_length(self._num_in, self.input_rate, self.output_rate)
        missing = total_samples - self._num_out
        assert missing >= 0, f"{self._num_out} samples are out, expected {total_samples}"
        # Silence is appended, since soxr's own total may be one sample less.
        needed = resampled_length(total_samples + 1, self.output_rate, self.input_rate)
        silence = np.zeros((self.num_channels, max(1, needed - self._num_in + 1)), np.float32)
        return self._resample(silence, last=True)[:, :missing]

    def _resample(self, block: NDArray[np.floating], last: bool) -> NDArray[np.float32]:
        samples = block.astype(np.float32, copy=False)
        if self._stream is not None:
            interleaved = np.ascontiguousarray(samples.T)
            samples = np.ascontiguousarray(self._stream.resample_chunk(interleaved, last=last).T)
        self._num_out += samples.shape[1]
        return samples


TRIAL_SECONDS, TRIAL_BLOCK = 1.0, 64


@lru_cache
def lateness(input_rate: int, output_rate: int) -> int:
    """Maximum number of input samples that a `StreamResampler` holds back, measured by running it: soxr
    filters long blocks at once and does not report their length."""
    if input_rate == output_rate:
        return 0
    resampler = StreamResampler(input_rate, output_rate, 1)
    block = np.zeros((1, TRIAL_BLOCK), np.float32)
    num_in = num_out = worst = 0
    while num_in < TRIAL_SECONDS * input_rate:
        num_in += TRIAL_BLOCK
        num_out += resampler.process(block).shape[1]
        worst = max(worst, num_in - num_out * input_rate // output_rate)
    return worst + TRIAL_BLOCK
