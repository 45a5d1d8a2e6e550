"""How bimodal.npz and bimodal.json were taken: python take_bimodal.py FOLDER_OF_THE_RECORDED_FIXTURES

Kept is what tests/test_bimodal_parity.py compares: scalars, loss weights, the embeddings of separated sounds,
and every seventh row and fifth frame, or sample, of what is large. Inputs that come from a rule are left
out: tests/parity/filling.py makes them again.
"""

import json
import sys
from pathlib import Path

import numpy as np

KEPT = {  # files, their arrays, and of each which part
    "mask": {
        "out.logits": np.s_[..., ::7, ::5],
        "out.waveform": np.s_[::7],
        "mid.self_attention4.values": np.s_[:],
    },
    "loss": {
        "in.audios": np.s_[:],
        "in.source_weights": np.s_[:],
        "out.audio_embed_mixture0": np.s_[:],
        "out.audio_embed_mixture1": np.s_[:],
    },
    "loss_functions": dict.fromkeys(
        (
            "in.audio_embed",
            "in.text_embed",
            "out.contrastive",
            "in.pred",
            "in.target",
            "in.weight",
            "out.weighted_l1",
        ),
        np.s_[...],
    ),
}


def main(recorded: Path) -> None:
    arrays = {}
    for file, kept in KEPT.items():
        with np.load(recorded / "bimodal" / f"{file}.npz") as content:
            arrays |= {f"{file}/{name}": content[name][part] for name, part in kept.items()}
            scalars = [name for name in content.files if content[name].ndim == 0]
            arrays |= {f"{file}/{name}": content[name] for name in scalars if name[:3] == "out"}
    document = json.loads((recorded / "bimodal" / "keys.json").read_text())
    keys = {
        "keys": [[item["key"], item["shape"]] for item in document["keys"]],
        "gains": document["gains"],
        "fixed": document["fixed"],
        "constants": sorted(document["constants"]),
        "first_values": document["first_values"],
    }
    folder = Path(__file__).parent
    np.savez_compressed(folder / "bimodal.npz", **arrays)
    text = json.dumps(keys, separators=(",", ":")).replace("]],", "]],\n")
    (folder / "bimodal.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
