"""Errors of the disk while libsndfile writes are raised, whichever byte does not fit."""

import errno
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from qsep.separation.audio import encoding as module
from qsep.separation.audio.encoding import Sink, encode_file

FORMATS = [
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("AIFF", "PCM_24")),
    ("MP3", "MPEG_LAYER_III"),
]


def waveform() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).normal(size=(3000, 2))


class SmallDisk(io.BytesIO):
    """A file of at most `size` bytes."""

    size = 0

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_the_file_equals_libsndfiles_own(tmp_path: Path, container: str, subtype: str) -> None:
    encode_file(tmp_path / "ours", waveform(), 48000, subtype, container)
    soundfile.write(tmp_path / "reference", waveform(), 48000, subtype, format=container)
    ours, reference = (soundfile.read(tmp_path / name)[0] for name in ("ours", "reference"))
    np.testing.assert_array_equal(ours, reference)


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_no_byte_that_does_not_fit_goes_unnoticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, subtype: str
) -> None:
    encode_file(tmp_path / "whole", waveform(), 48000, subtype, container)
    num_bytes = (tmp_path / "whole").stat().st_size
    for size in (0, 10, num_bytes // 2, num_bytes - 1):
        disk = SmallDisk()
        disk.size = size
        monkeypatch.setattr(module, "Sink", lambda _, disk=disk: Sink(disk))
        with pytest.raises(OSError, match="No space left"):
            encode_file(tmp_path / str(size), waveform(), 48000, subtype, container)
