"""How deftan.npz and deftan.json were taken:

    PYTHONPATH=tests python tests/parity/take_deftan.py FOLDER

FOLDER holds the authors' `DeFTAN2.py` and `einops`, which it imports. It was a transcript of a stored copy,
with the network between the transforms as a method `core` of its own. Weights are those of
tests/parity/filling.py.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from parity.filling import fill, glide
from parity.keeping import write

SETTINGS: dict[str, Any] = {
    "n_mics": 2,
    "n_srcs": 2,
    "n_layers": 2,
    "att_dim": 5,
    "hidden_dim": 8,
    "n_head": 3,
    "emb_dim": 6,
    "emb_ks": 4,
}
SYSTEM: dict[str, Any] = {"gains": [], "fixed": []}
BATCH, INPUTS, FRAMES, BINS = 2, 4, 11, 9


def features() -> torch.Tensor:
    """(b, i, n, f), as the released code orders them."""
    return 3 * torch.from_numpy(glide(BATCH * INPUTS * FRAMES * BINS, 8000)).reshape(
        BATCH, INPUTS, FRAMES, BINS
    )


def main(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    from DeFTAN2 import DeFTAN2

    network = DeFTAN2(**SETTINGS).eval()
    keys = [[key, list(value.shape)] for key, value in network.state_dict().items()]
    network.load_state_dict(fill(SYSTEM | {"keys": keys}))
    with torch.inference_mode():
        maps = network.core(features()).numpy()
    write("deftan", {"maps": maps}, {"settings": SETTINGS, "keys": keys} | SYSTEM)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
