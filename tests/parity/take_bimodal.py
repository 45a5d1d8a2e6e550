"""How bimodal.npz and bimodal.json were taken, with FOLDER that of the recorded fixtures:

    PYTHONPATH=tests python tests/parity/take_bimodal.py FOLDER

Kept is what test_bimodal_parity.py compares: scalars, loss weights, the embeddings of separated sounds,
and every seventh row and fifth frame, or sample, of what is large. Inputs that come from a rule are left
out: tests/parity/filling.py makes them again.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from parity.keeping import Arrays, keys_of, parts_of, write

KEPT: dict[str, dict[str, Any]] = {  # files, their arrays, and of each which part
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
    folder = recorded / "bimodal"
    arrays: Arrays = {}
    for file, parts in KEPT.items():
        path = folder / f"{file}.npz"
        with np.load(path) as content:
            scalars = [name for name in content.files if content[name].ndim == 0]
        outputs = {name: np.s_[...] for name in scalars if name.startswith("out")}
        arrays |= parts_of(path, parts | outputs, f"{file}/")
    write("bimodal", arrays, keys_of(folder / "keys.json"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
