"""Detection scores of `qsep auto` with a model of sound classes.

    python -m qsep.recipes.benchmarks.quality.auto_classes --data DIR [MANIFEST…] [--background 10]

DIR is the folder of sounds150; MANIFEST: names of manifests that come with the package, by default
dev-2 and dev-3. A detected class or family is correct if a class in it is present; a class that is present is
found if it is detected, or a family of it. F1 is the harmonic mean of both rates over all mixtures,
given for families of at most --family-size classes too, and for classes alone.

With --background, a steady sound of one more class, a target of the manifest, lies so many dB below each
mixture; how many of these are found is given too.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from qsep.evaluation.items.manifest import MixtureRow
from qsep.evaluation.items.rendering import SAMPLE_RATE, Waveform, render_mixture
from qsep.evaluation.protocols.sounds150 import load
from qsep.separation.api import load as load_model
from qsep.separation.detection.nodes import NodeSeparator

from ...errors import run_script

MANIFESTS = ("dev-2", "dev-3")
FAMILY_SIZE = 25
BACKGROUNDS = (
    *("rain", "sea_waves", "wind", "stream", "fire_crackling", "leaves_rustling", "crickets"),
    *("vacuum_cleaner", "washing_machine", "engine", "machine_hum", "train", "crowd"),
    *("airplane", "jet_engine", "helicopter"),
)
Detections = list[frozenset[str]]  # the classes of each detected sound of a mixture


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="*", default=MANIFESTS)
    parser.add_argument("--data", type=Path, required=True, help="folder of sounds150")
    parser.add_argument("-m", "--model", default="sounds150")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--family-size", type=int, default=FAMILY_SIZE)
    parser.add_argument(
        "--background", type=float, metavar="DB", help="add one, DB below the mixture"
    )
    parser.add_argument("--every", type=int, default=1, help="use every so many mixtures")
    arguments = parser.parse_args()
    logging.getLogger("qsep").setLevel(logging.ERROR)
    separator = NodeSeparator(load_model(arguments.model, "cpu"), threshold=arguments.threshold)
    for manifest in arguments.manifests:
        rows = load(arguments.data, Path(manifest), "plain").rows
        detected: list[Detections] = []
        present: list[set[str]] = []
        backgrounds: list[set[str]] = []
        for index in range(0, len(rows), arguments.every):
            row = rows[index]
            waveform = render_mixture(row, arguments.data)[0]
            present.append({row.label, *row.labels})
            if arguments.background is not None:
                under = background_for(rows, index)
                sound = render_mixture(under, arguments.data)[1]
                waveform = waveform + at_level(sound, waveform, -arguments.background)
                present[-1].add(under.label)
                backgrounds.append({under.label})
            activity = separator.detect([waveform[None]], SAMPLE_RATE)
            detected.append(
                [frozenset(activity.sounds[number].members) for number in activity.active()]
            )
        print(f"{manifest}, {len(detected)} mixtures")
        print(f"  classes and families: {scores(detected, present)}")
        for name, size in ("small families", arguments.family_size), ("classes alone", 1):
            kept = [[sound for sound in sounds if len(sound) <= size] for sounds in detected]
            print(f"  {name}: {scores(kept, present)}", flush=True)
        if backgrounds:
            print(f"  backgrounds: {num_found(detected, backgrounds) / len(backgrounds):.3f} found")


def background_for(rows: Sequence[MixtureRow], index: int) -> MixtureRow:
    """A row whose target is a background of a class that is not in the mixture of row `index`."""
    present = {rows[index].label, *rows[index].labels}
    pool = [row for row in rows if row.label in BACKGROUNDS and row.label not in present]
    return pool[7 * index % len(pool)]  # 7: neighbours get other classes


def at_level(sound: Waveform, mixture: Waveform, level_db: float) -> Waveform:
    """The sound (t,), level_db above a mixture (t,) in power."""
    gain = np.sqrt(10 ** (level_db / 10) * np.square(mixture).mean() / np.square(sound).mean())
    return (gain * sound).astype(np.float32)


def scores(detected: Sequence[Detections], present: Sequence[Collection[str]]) -> str:
    """F1, precision and recall, as defined above, of mixtures with these detections and classes."""
    num_detected = sum(map(len, detected))
    num_present = sum(map(len, present))
    correct = sum(
        not sound.isdisjoint(labels)
        for sounds, labels in zip(detected, present, strict=True)
        for sound in sounds
    )
    precision = correct / max(1, num_detected)
    recall = num_found(detected, present) / max(1, num_present)
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return f"F1 {f1:.3f}, precision {precision:.3f}, recall {recall:.3f}"


def num_found(detected: Sequence[Detections], present: Sequence[Collection[str]]) -> int:
    """How many of the present classes are in a detected sound of their mixture."""
    return sum(
        any(label in sound for sound in sounds)
        for sounds, labels in zip(detected, present, strict=True)
        for label in labels
    )


if __name__ == "__main__":
    run_script(main)
