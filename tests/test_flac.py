"""`qsep separate --format flac`."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import Run, names, record


@pytest.mark.parametrize(
    ("subtype", "written"), [("PCM_U8", "PCM_16"), ("PCM_16", "PCM_16"), ("PCM_24", "PCM_24")]
)
def test_flac_holds_the_samples_of_the_wav_and_the_parts_sum_to_the_input(
    qsep: Run, tiny_model: Path, folder: Path, subtype: str, written: str
) -> None:
    record(folder / "a.wav", 70001, num_channels=2, subtype=subtype)  # more than one block
    command = ("separate", "a.wav", "-q", "rain", "--residual", "-m", tiny_model)
    assert qsep(*command, "--format", "flac").code == 0
    assert names(folder) == {"a.wav", "a.rain.flac", "a.rain.residual.flac"}
    assert soundfile.info(folder / "a.rain.flac").subtype == written
    target, rest, whole = (
        soundfile.read(folder / name)[0]
        for name in ("a.rain.flac", "a.rain.residual.flac", "a.wav")
    )
    np.testing.assert_array_equal(target + rest, whole)
    assert qsep(*command).code == 0
    step = 2.0 ** -(7 if subtype == "PCM_U8" else 15)  # of the coarser of the two files
    np.testing.assert_allclose(target, soundfile.read(folder / "a.rain.wav")[0], atol=step)


def test_floats_become_24_bits(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav", subtype="FLOAT")
    command = ("separate", "a.wav", "-q", "rain", "-m", tiny_model)
    assert qsep(*command, "--format", "flac").code == qsep(*command).code == 0
    flac, wav = (soundfile.read(folder / f"a.rain.{ending}")[0] for ending in ("flac", "wav"))
    np.testing.assert_allclose(flac, wav, rtol=0, atol=2**-24 + 1e-8)  # half a step of 24 bits


def test_what_flac_cannot_hold_costs_one_line(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav", num_channels=9)
    command = ("separate", "a.wav", "-q", "rain", "-m", tiny_model)
    done = qsep(*command, "--format", "flac", "--quiet")
    assert (done.code, done.out) == (1, "")
    assert "a.wav: FLAC holds up to 8 channels" in done.error
    assert "--format ogg: expected wav or flac" in qsep(*command, "--format", "ogg").error
    assert names(folder) == {"a.wav"}
