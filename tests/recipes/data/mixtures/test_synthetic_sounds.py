"""Synthesised sound as training material."""

import numpy as np
import pytest

from qsep.recipes.data.mixtures.synthetic import SyntheticSounds
from qsep.recipes.data.synthetic import KINDS


@pytest.mark.parametrize("label", KINDS)
@pytest.mark.parametrize("num_samples", [400, 20011])
def test_every_draw_sounds_and_has_the_length(label: str, num_samples: int) -> None:
    sounds = SyntheticSounds((label,), 8000)
    for seed in range(3):
        waveform = sounds.draw(label, num_samples, np.random.default_rng(seed))
        assert waveform.shape == (num_samples,)
        assert waveform.dtype == np.float32
        assert np.isfinite(waveform).all()
        assert np.sqrt(np.mean(np.square(waveform))) > 1e-3


def test_the_generator_alone_decides_the_sound() -> None:
    first = SyntheticSounds(("rain", "flute"), 8000)
    first.draw("rain", 500, np.random.default_rng(1))
    second = SyntheticSounds(("flute",), 8000)
    later, at_once = (
        sounds.draw("flute", 500, np.random.default_rng(2)) for sounds in (first, second)
    )
    assert np.array_equal(later, at_once)


def test_each_draw_is_another_sound() -> None:
    rng = np.random.default_rng(3)
    sounds = SyntheticSounds(("flute",), 8000)
    assert not np.allclose(sounds.draw("flute", 500, rng), sounds.draw("flute", 500, rng))


def test_a_label_without_synthesis_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"data\.labels: no synthesis of 'snow'; known: .*rain"):
        SyntheticSounds(("rain", "snow"), 8000)
