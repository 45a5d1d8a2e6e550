"""Numbers of training items of every data set of mixtures.

python tests/support/golden_mixtures.py > tests/support/golden_mixtures.json

A shipped recipe must draw the same items after a change, else runs cannot be repeated or continued.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qsep.queries.interface import Query
from qsep.recipes.data.captions.scenes import LabelledScenes
from qsep.recipes.data.index import VideoClip
from qsep.recipes.data.mixtures.augment import AugmentConfig
from qsep.recipes.data.mixtures.captioned import CaptionedMixConfig, CaptionedMixtures
from qsep.recipes.data.mixtures.classes import ClassMixConfig, ClassMixtures, ClassSounds
from qsep.recipes.data.mixtures.clips import Take
from qsep.recipes.data.mixtures.mix_and_separate import MixAndSeparate, MixConfig, RecordedSounds
from qsep.recipes.data.mixtures.segments import CaptionedClip, SegmentMixConfig, SegmentMixtures
from qsep.recipes.data.mixtures.videos import QueryChooser, VideoMixConfig, VideoMixtures
from qsep.recipes.data.wording import PhraseBook

RATE, SAMPLES, DRAWS = 8000, 6000, 6
LABELS = ("bell", "dog", "rain", "siren", "violin", "wind")
BOOK = PhraseBook(
    LABELS,
    LABELS,
    {label: (f"a {label}", f"the sound of a {label}", f"some {label}") for label in LABELS},
    ("a frog", "a saw"),
)
AUGMENT = AugmentConfig(0.7, 3.0, 0.6, 4.0, 0.5, 0.3, 6.0)


def recording(number: int) -> np.ndarray:
    """Noise of 2 s whose level rises and falls."""
    rng = np.random.default_rng(number)
    level = 0.1 + np.sin(np.linspace(0, 9, 2 * RATE)) ** 2
    return (0.1 * level * rng.standard_normal(2 * RATE)).astype(np.float32)


def recordings() -> dict[str, list[np.ndarray]]:
    return {
        label: [recording(3 * index + take) for take in range(3)]
        for index, label in enumerate(LABELS)
    }


def labelled() -> MixAndSeparate:
    config = MixConfig(SAMPLES, num_queries=5, augment=AUGMENT)
    return MixAndSeparate(RecordedSounds(recordings(), AUGMENT), BOOK, config, RATE, 11)


def classes() -> ClassMixtures:
    config = ClassMixConfig(
        SAMPLES,
        families={"animal": ["dog"], "weather": ["rain", "wind"], "alarm": ["bell", "siren"]},
        overlaps={"siren": ["bell"]},
        favoured=("dog",),
        favoured_probability=0.3,
        augment=AUGMENT,
    )
    takes = {
        label: [Take((32767 * each).astype(np.int16), f"{n}") for n, each in enumerate(waveforms)]
        for label, waveforms in recordings().items()
    }
    return ClassMixtures(ClassSounds(takes, config, RATE), config, RATE, 12)


def captioned() -> CaptionedMixtures:
    config = CaptionedMixConfig(SAMPLES, supervised_share=0.5)
    scenes = LabelledScenes(recordings(), recordings(), BOOK, 2, config.levels(), AUGMENT, RATE)
    return CaptionedMixtures(scenes, config, RATE, 13)


def segments(folder: Path, rule: str) -> SegmentMixtures:
    clips = [CaptionedClip(f"{label}.wav", (f"a {label}",)) for label in LABELS]
    config = SegmentMixConfig(SAMPLES, rule, 2 if rule == "uss" else 3)
    return SegmentMixtures(folder, clips, config, False, 4, RATE, 14)


def videos(folder: Path) -> VideoMixtures:
    clips = [VideoClip(f"{label}.wav", label, 9, label) for label in LABELS]
    chooser = QueryChooser("text", 15, 4, False)
    config = VideoMixConfig(SAMPLES)
    return VideoMixtures(folder, clips, BOOK, config, chooser, RATE, 15, False)


def data_sets(folder: Path) -> Iterator[tuple[str, Any]]:
    """All data sets by name, on recordings that are written to the folder."""
    for index, label in enumerate(LABELS):
        waveform = np.tile(recording(3 * index), 5)[: 9 * RATE]
        soundfile.write(folder / f"{label}.wav", waveform, RATE, "FLOAT")
    yield from {"recordings": labelled(), "classes": classes(), "captioned": captioned()}.items()
    for rule in ("audiosep", "uss", "exact"):
        yield f"captions {rule}", segments(folder, rule)
    yield "videos", videos(folder)


def numbers(item: Any) -> dict[str, Any]:
    """What identifies an item: levels of its sources, a projection of each, queries and id."""
    sources, queries = item[0].double().numpy()[:, 0], item[1]
    direction = np.random.default_rng(0).standard_normal(sources.shape[1])
    return {
        "rms": np.sqrt(np.square(sources).mean(axis=1)).tolist(),
        "projected": (sources @ direction).tolist(),
        "queries": [words(query) for query in queries],
        "id": item[-1],
    }


def words(query: Query | None) -> str:
    return "" if query is None else f"{query.kind}: {query.name}"


def golden(folder: Path) -> dict[str, Any]:
    return {
        name: [numbers(data[draw]) for draw in range(DRAWS)] for name, data in data_sets(folder)
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        json.dump(golden(Path(name)), sys.stdout, indent=1)
