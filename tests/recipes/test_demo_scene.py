"""The committed scene is the script's, and small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.recipes.demo.make_scene import (
    PLACEMENTS,
    SAMPLE_RATE,
    SCENE_FILE,
    SCENE_KINDS,
    SECONDS,
    SENTENCES,
    parts,
    write,
)


def test_the_committed_scene_is_stereo_of_the_stated_rate_and_length() -> None:
    info = soundfile.info(SCENE_FILE)
    assert (info.channels, info.samplerate, info.subtype) == (2, SAMPLE_RATE, "PCM_16")
    assert info.frames == round(SECONDS * SAMPLE_RATE)


def test_the_committed_scene_takes_less_than_850_kilobytes() -> None:
    assert SCENE_FILE.stat().st_size < 850_000


def test_before_the_speech_the_committed_scene_is_the_sum_of_the_synthesised_parts() -> None:
    # speech needs espeak-ng, which a test machine may lack; all else is ours
    silent = round((SENTENCES[0][0] - 0.05) * SAMPLE_RATE)
    scene = soundfile.read(SCENE_FILE, dtype="float32")[0].T
    others = parts(kinds=[kind for kind in SCENE_KINDS if kind != "speech"])
    expected = sum(others.values(), np.zeros_like(scene))
    # half a 16-bit step, and float32 differences between machines
    np.testing.assert_allclose(scene[:, :silent], expected[:, :silent], atol=5e-5)


def test_a_part_does_not_depend_on_the_others() -> None:
    alone = parts(8000, 1, ["flute"])["flute"]
    np.testing.assert_array_equal(alone, parts(8000, 1, ["rain", "flute"])["flute"])


@pytest.mark.parametrize("kind", sorted(PLACEMENTS.keys() - {"speech"}))
def test_every_candidate_for_the_scene_is_audible_and_does_not_clip(kind: str) -> None:
    waveform = parts(kinds=[kind])[kind]
    assert 0.01 < np.abs(waveform).max() < 0.7


def test_panning_to_the_left_makes_the_left_channel_louder() -> None:
    clock = parts(kinds=["clock_tick"])["clock_tick"]
    # (1 - 0.6) 45 degrees: tan(18 degrees) ** 2 = 0.106.
    assert PLACEMENTS["clock_tick"].pan == -0.6
    assert (clock[1] ** 2).sum() / (clock[0] ** 2).sum() == pytest.approx(0.1056, abs=1e-3)


def test_a_scene_that_would_clip_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="peak"):
        write(tmp_path / "loud.flac", np.full((2, 100), 1.5, np.float32), SAMPLE_RATE)
    assert not list(tmp_path.iterdir())
