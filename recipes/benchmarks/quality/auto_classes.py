"""Detection scores of `qsep auto` with a model of sound classes.

    python -m qsep.recipes.benchmarks.quality.auto_classes --data DIR [MANIFEST…]

DIR is the folder of sounds150; MANIFEST: names of manifests that come with the package, by default
dev-2 and dev-3. A detected class or family is correct if a class in it is present; a class that is present is
found if it is detected, or a family of it. F1 is the harmonic mean of both rates over all mixtures,
given for families of at most --family-size classes too, and for classes alone.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from qsep.evaluation.items.rendering import SAMPLE_RATE, render_mixture
from qsep.evaluation.protocols.sounds150 import load
from qsep.separation.api import load as load_model
from qsep.separation.detection.nodes import NodeSeparator

from ...errors import run_script

MANIFESTS = ("dev-2", "dev-3")
FAMILY_SIZE = 25
Detections = list[frozenset[str]]  # the classes of each detected sound of a mixture


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="*", default=MANIFESTS)
    parser.add_argument("--data", type=Path, required=True, help="folder of sounds150")
    parser.add_argument("-m", "--model", default="sounds150")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--family-size", type=int, default=FAMILY_SIZE)
    arguments = parser.parse_args()
    logging.getLogger("qsep").setLevel(logging.ERROR)
    separator = NodeSeparator(load_model(arguments.model, "cpu"), threshold=arguments.threshold)
    for manifest in arguments.manifests:
        rows = load(arguments.data, Path(manifest), "plain").rows
        detected: list[Detections] = []
        for row in rows:
            waveform = render_mixture(row, arguments.data)[0]
            activity = separator.detect([waveform[None]], SAMPLE_RATE)
            detected.append(
                [frozenset(activity.sounds[number].members) for number in activity.active()]
            )
        present = [{row.label, *row.labels} for row in rows]
        print(f"{manifest}, {len(rows)} mixtures")
        print(f"  classes and families: {scores(detected, present)}")
        for name, size in ("small families", arguments.family_size), ("classes alone", 1):
            kept = [[sound for sound in sounds if len(sound) <= size] for sounds in detected]
            print(f"  {name}: {scores(kept, present)}", flush=True)


def scores(detected: Sequence[Detections], present: Sequence[Collection[str]]) -> str:
    """F1, precision and recall, as defined above, of mixtures with these detections and classes."""
    num_detected = sum(map(len, detected))
    num_present = sum(map(len, present))
    correct = recalled = 0
    for sounds, labels in zip(detected, present, strict=True):
        correct += sum(not sound.isdisjoint(labels) for sound in sounds)
        recalled += sum(any(label in sound for sound in sounds) for label in labels)
    precision, recall = correct / max(1, num_detected), recalled / max(1, num_present)
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return f"F1 {f1:.3f}, precision {precision:.3f}, recall {recall:.3f}"


if __name__ == "__main__":
    run_script(main)
