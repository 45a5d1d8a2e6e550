"""How mossformer2.npz and mossformer2.json were taken:

    PYTHONPATH=tests python tests/parity/take_mossformer2.py FOLDER

FOLDER holds the packages `clearvoice` 0.1.2, `rotary_embedding_torch` 0.9.1, `einops` and `torchinfo` of the
package index. Only the mask network is imported, with two layers of 16 channels; what is not configurable is
as released. Weights are those of tests/parity/filling.py.
"""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity.filling import fill, glide
from parity.keeping import write

SETTINGS: dict[str, Any] = {"in_channels": 16, "out_channels": 16, "num_blocks": 2, "num_spks": 2}
# Positions are no weights. OffsetScale's products of two hundredths would hide the attention.
CONSTANT = ("inv_freq", "freqs")
SYSTEM: dict[str, Any] = {"gains": [[r"qk_offset_scale\.gamma", 8.0]], "fixed": []}
NUM_FRAMES = 300  # more than a group of 256


def features() -> torch.Tensor:
    """Non-negative, as filters give them: (1, 16, n)."""
    rows = glide(16 * NUM_FRAMES, 16000).reshape(1, NUM_FRAMES, 16)
    return torch.from_numpy(np.ascontiguousarray(rows.transpose(0, 2, 1))).relu()


def main(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    package = types.ModuleType("clearvoice")  # its own imports much else
    package.__path__ = [str(folder / "clearvoice")]
    sys.modules["clearvoice"] = package
    from clearvoice.models.mossformer2_ss.mossformer2 import MossFormer_MaskNet

    network = MossFormer_MaskNet(**SETTINGS).eval()
    state = network.state_dict()
    keys = [[key, list(value.shape)] for key, value in state.items() if not key.endswith(CONSTANT)]
    constants = {key: value for key, value in state.items() if key.endswith(CONSTANT)}
    network.load_state_dict(fill(SYSTEM | {"keys": keys}) | constants)
    with torch.inference_mode():
        masks = network(features())[:, 0].numpy()
    document = {"settings": SETTINGS, "keys": keys, "constants": sorted(constants)} | SYSTEM
    write("mossformer2", {"masks": masks[:, :, ::3]}, document)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
