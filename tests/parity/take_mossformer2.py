"""How mossformer2.npz and mossformer2.json were taken:

    PYTHONPATH=tests python tests/parity/take_mossformer2.py FOLDER

FOLDER holds the packages `clearvoice` 0.1.2, `rotary_embedding_torch` 0.9.1, `einops` and `torchinfo` of the
package index. Only the network is imported, with two layers of 16 channels; what is not configurable is as
released. Weights are those of tests/parity/filling.py. Recorded are the speakers as the network gives them,
and its masks.
"""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity.filling import fall, fill, glide
from parity.keeping import write

SETTINGS: dict[str, Any] = {"in_channels": 16, "out_channels": 16, "num_blocks": 2, "num_spks": 2}
# Positions are no weights. OffsetScale's products of two hundredths would hide the attention.
CONSTANT = ("inv_freq", "freqs")
SYSTEM: dict[str, Any] = {"gains": [[r"qk_offset_scale\.gamma", 8.0]], "fixed": []}
NUM_SAMPLES, RATE = 2400, 16000  # 299 frames, more than a group of 256


def main(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    package = types.ModuleType("clearvoice")  # its own imports much else
    package.__path__ = [str(folder / "clearvoice")]
    sys.modules["clearvoice"] = package
    from clearvoice.models.mossformer2_ss.mossformer2 import MossFormer

    network = MossFormer(kernel_size=16, **SETTINGS).eval()
    state = network.state_dict()
    keys = [[key, list(value.shape)] for key, value in state.items() if not key.endswith(CONSTANT)]
    constants = {key: value for key, value in state.items() if key.endswith(CONSTANT)}
    network.load_state_dict(fill(SYSTEM | {"keys": keys}) | constants)
    mixture = torch.from_numpy(glide(NUM_SAMPLES, RATE) + 0.5 * fall(NUM_SAMPLES, RATE))[None]
    with torch.inference_mode():
        speakers = torch.cat(network(mixture)).numpy()
        masks = network.mask_net(network.enc(mixture))[:, 0].numpy()
    shapes = [[key, list(value.shape)] for key, value in sorted(constants.items())]
    document = {"settings": SETTINGS, "keys": keys, "constants": shapes} | SYSTEM
    write("mossformer2", {"speakers": np.asarray(speakers), "masks": masks[:, :, ::3]}, document)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
