"""Reading what is left of a damaged recording, in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .containers.content import Part
from .sample_format import Waveform, sample_dtype
from .sndfile import SndfileSource

MIN_STEP = 1024  # samples; the damage is left out to this precision


class SalvagingSource:
    """A recording with damage, where it is silent, or ends early if nothing after it decodes; see `Source`.

    Where a block cannot be decoded, the next position is sought from which libsndfile decodes again.
    """

    def __init__(self, path: Path, part: Part, source: SndfileSource) -> None:
        """source: of the same part, from its beginning; closed with this."""
        self.path, self.part = path, part
        self.sample_rate, self.num_channels = source.sample_rate, source.num_channels
        self.subtype, self.claimed_samples = source.subtype, source.claimed_samples
        self._source = source
        self._position = self._num_silent = 0  # samples read; of silence to return next
        self._has_ended = False
        self._lost: list[str] = []

    def read(self, num_samples: int) -> Waveform:
        """As `Source.read`."""
        samples = np.zeros((0, self.num_channels), sample_dtype(self.subtype))
        if not (self._num_silent or self._has_ended):
            samples, error = self._source.read_to_damage(num_samples)
            self._position += len(samples)
            if error:
                self._num_silent = self._length_of_damage()
                self._has_ended = not self._num_silent
        if self._num_silent and not len(samples):
            samples = np.zeros(
                (min(self._num_silent, num_samples), self.num_channels), samples.dtype
            )
            self._num_silent -= len(samples)
            self._position += len(samples)
        return samples

    def _length_of_damage(self) -> int:
        """Samples from here to where decoding works again, and a source opened there; 0 if it never does."""
        claimed, start = self.claimed_samples or 0, self._position
        low, high = 0, MIN_STEP
        while start + high < claimed and not self._open_at(start + high):
            low, high = high, 2 * high
        seconds = start / self.sample_rate
        if start + high >= claimed:
            rest = max(claimed - start, 0) / self.sample_rate
            self._lost.append(f"damaged after {seconds:.2f} s, where {rest:.2f} s are lost")
            return 0
        while high - low > MIN_STEP:
            middle = (low + high) // 2
            low, high = (low, middle) if self._open_at(start + middle) else (middle, high)
        self._open_at(start + high)
        gap = high / self.sample_rate
        self._lost.append(f"damaged at {seconds:.2f} s, where {gap:.2f} s are lost and now silent")
        return high

    def _open_at(self, position: int) -> bool:
        """Go on with a source opened at a sample; False, without a change, if it does not decode there."""
        source = SndfileSource(self.path, self.part)
        decodes = source.skip(position) and len(source.read_to_damage(1)[0]) > 0
        if not (decodes and source.skip(position)):
            source.close()
            return False
        self._source.close()
        self._source = source
        return True

    def skip(self, num_samples: int) -> bool:
        """False: the silence of damage has to be counted."""
        return False

    def complaint(self, num_read: int) -> str | None:
        """As `Source.complaint`: where samples were lost."""
        return "; ".join(self._lost) or self._source.complaint(num_read)

    def close(self) -> None:
        """Close the file."""
        self._source.close()
