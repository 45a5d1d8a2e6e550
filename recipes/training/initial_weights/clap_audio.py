"""LAION-CLAP's audio encoder as initial weights for training CLAPSep.

    python -m qsep.recipes.training.initial_weights.clap_audio FILE -o FOLDER

Use the folder as train.start_from, with train.start_parts = ["encoder"].
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from qsep.queries.files.weights import check_weights, read_state_dict
from qsep.separation.networks.clapsep.htsat import HTSAT, HTSATConfig
from qsep.separation.published.converters.clapsep import audio_encoder_weights
from qsep.separation.storage.temporary import write_atomically
from qsep.separation.storage.weights import save_weights

from ...errors import run_script


def write_audio_encoder(checkpoint: Path, folder: Path, config: HTSATConfig | None = None) -> None:
    """Write the audio encoder of a CLAP checkpoint as a checkpoint folder; LoRA weights start afresh.

    Raises ValueError for weights of another network.
    """
    network = HTSAT(config or HTSATConfig())
    fresh = {
        f"encoder.{key}": value for key, value in network.state_dict().items() if "lora" in key
    }
    weights = fresh | audio_encoder_weights(read_state_dict(checkpoint), checkpoint)
    encoder = {key.removeprefix("encoder."): value for key, value in weights.items()}
    check_weights(network, encoder, str(checkpoint))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous().clone() for key, value in weights.items()}
    write_atomically(folder / "model.safetensors", lambda path: save_weights(path, tensors))
    description = json.dumps({"converted_from": checkpoint.name})
    write_atomically(folder / "config.json", lambda path: path.write_text(description))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="music_audioset_epoch_15_esc_90.14.pt")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    write_audio_encoder(arguments.checkpoint, arguments.out)
    print(f"audio encoder: {arguments.out}")


if __name__ == "__main__":
    run_script(main)
