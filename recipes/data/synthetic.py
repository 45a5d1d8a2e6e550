"""Synthesised sounds by label: to train without recordings, and to make the demo's scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .synthesis.engines import chainsaw, helicopter
from .synthesis.nature import fire_crackling, rain, sea_waves
from .synthesis.percussion import bass_drum, clock_tick, hi_hat, snare_drum
from .synthesis.plucked import acoustic_guitar, double_bass
from .synthesis.shaping import coloured_noise, normalize_peak
from .synthesis.speech import speech
from .synthesis.sustained import cello, clarinet, flute, saxophone, violin
from .synthesis.vocal import baby_cry, dog_bark, rooster, sneeze

Kind = Callable[[np.random.Generator, int, int], np.ndarray]

# label -> (generator, num_samples, sample_rate) -> (t,) float32, peak 0.9, no noise beside it;
# a clip too short to reach the first bark, tick or blow is silent
KINDS: dict[str, Kind] = {
    "acoustic_guitar": acoustic_guitar,
    "baby_cry": baby_cry,
    "bass_drum": bass_drum,
    "cello": cello,
    "chainsaw": chainsaw,
    "clarinet": clarinet,
    "clock_tick": clock_tick,
    "dog_bark": dog_bark,
    "double_bass": double_bass,
    "fire_crackling": fire_crackling,
    "flute": flute,
    "helicopter": helicopter,
    "hi_hat": hi_hat,
    "rain": rain,
    "rooster": rooster,
    "saxophone": saxophone,
    "sea_waves": sea_waves,
    "snare_drum": snare_drum,
    "sneeze": sneeze,
    "speech": speech,
    "violin": violin,
}


def synthesize(
    label: str, generator: np.random.Generator, num_samples: int, sample_rate: int
) -> np.ndarray:
    """A new sound of the kind as if recorded: (num_samples,) float32, peak 0.9, never all zero.

    Its parameters (pitch, tempo, colour …) are drawn from generator, so each call differs. The
    room and the microphone add noise, loudest at low frequencies, 45 to 85 dB below the peak.
    """
    if label not in KINDS:
        raise ValueError(f"no synthesis of {label!r}; known: {', '.join(KINDS)}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    sound = KINDS[label](generator, num_samples, sample_rate)
    colour = ((40, generator.uniform(0, 24)), (500, 0), (16000, generator.uniform(-16, 0)))
    noise = coloured_noise(generator, num_samples, sample_rate, colour)
    return normalize_peak(sound + noise * 10 ** (generator.uniform(-85, -45) / 20))
