"""How htdemucs.npz and htdemucs.json were taken:

    PYTHONPATH=tests python tests/parity/take_htdemucs.py FOLDER

FOLDER holds the package `demucs` of the source distribution of version 4.0.1. Libraries that it imports and
the network does not use are replaced by empty modules. Weights are those of tests/parity/filling.py.
"""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity.filling import fall, fill, glide
from parity.keeping import write

UNUSED = {
    "openunmix": {},
    "openunmix.filtering": {"wiener": None},
    "omegaconf": {"OmegaConf": None},
    "dora": {},
    "dora.log": {"fatal": None},
    "julius": {},
    "demucs.utils": {"center_trim": None, "unfold": None},
}
SETTINGS: dict[str, Any] = {
    "sources": ["drums", "bass", "vocals"],
    "audio_channels": 2,
    "channels": 8,
    "depth": 3,
    "nfft": 1024,
    "dconv_mode": 3,
    "bottom_channels": 24,
    "t_layers": 3,
    "t_heads": 2,
    "samplerate": 8000,
    "segment": 1,
    "use_train_segment": False,
}
# LayerScale starts at 1e-3 and 1e-4, which would hide what it scales.
SYSTEM: dict[str, Any] = {"gains": [], "fixed": []}
NUM_SAMPLES = 5003


def main(folder: Path) -> None:
    for name, content in UNUSED.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module
    sys.path.insert(0, str(folder))
    from demucs.htdemucs import HTDemucs

    network = HTDemucs(**SETTINGS).eval()
    keys = [[key, list(value.shape)] for key, value in network.state_dict().items()]
    network.load_state_dict(fill(SYSTEM | {"keys": keys}))
    left, right = glide(NUM_SAMPLES, 8000), fall(NUM_SAMPLES, 8000)
    mixture = torch.from_numpy(np.stack([left + 0.3 * right, 0.5 * left - right]))[None]
    with torch.inference_mode():
        stems = network(mixture)[0].numpy()
    document = {"settings": SETTINGS, "keys": keys} | SYSTEM
    write("htdemucs", {"stems": stems[..., ::3]}, document)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
