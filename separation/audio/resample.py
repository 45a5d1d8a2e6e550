"""Change of sample rate for waveforms of any length that arrive in blocks."""

from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray


def resampled_length(num_samples: int, input_rate: int, output_rate: int) -> int:
    """Samples after resampling, rounded up: one sample never becomes none.

    There and back is never shorter than the original, so that returning only trims.
    """
    return -(-num_samples * output_rate // input_rate)


class StreamResampler:
    """Resamples (c, t) blocks of any lengths; the blocks joined equal the whole at once.

    soxr's "HQ": passband to 91 % of the lower Nyquist frequency, error below -120 dB, no delay
    left in the output. Equal rates pass through unchanged. Output is float32.
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
        """block: (c, t), t >= 0. Returns (c, t'): what is ready, often later than it came in."""
        if block.ndim != 2 or block.shape[0] != self.num_channels:
            raise ValueError(f"expected ({self.num_channels}, t), got {block.shape}")
        self._num_in += block.shape[1]
        return self._resample(block, last=False)

    def flush(self, total_samples: int | None = None) -> NDArray[np.float32]:
        """The end, (c, t'), which makes all output together exactly total_samples long.

        Default: resampled_length of what came in. Give the original length on the way back.
        """
        if total_samples is None:
            total_samples = resampled_length(self._num_in, self.input_rate, self.output_rate)
        missing = total_samples - self._num_out
        assert missing >= 0, f"{self._num_out} samples are out, {total_samples} were wanted"
        # Silence after the end: soxr rounds its own total, which may be one sample short of ours.
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
    """At most so many samples have gone into a `StreamResampler` without having come out, by trial: soxr
    filters long blocks at once, whose lengths it does not tell."""
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
