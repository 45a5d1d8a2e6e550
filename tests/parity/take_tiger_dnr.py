"""How tiger_dnr.npz and tiger_dnr.json were taken:

    PYTHONPATH=tests python tests/parity/take_tiger_dnr.py FOLDER

FOLDER holds the authors' package `look2hear`, of which `models/tiger_dnr.py` and the norm that it uses are
needed. These were a transcript of a stored copy, without options that are not used, since the authors'
repository was not at hand. Weights are those of tests/parity/filling.py. Recorded are one window by each
network, and a recording by shortened windows.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity.filling import fall, fill, glide
from parity.keeping import write

SETTINGS: dict[str, Any] = {
    "out_channels": 12,
    "in_channels": 10,
    "num_blocks": 2,
    "upsampling_depth": 4,
    "att_n_head": 2,
    "att_hid_chan": 3,
    "win": 1024,
    "stride": 256,
    "num_sources": 3,
    "sample_rate": 44100,
}
SYSTEM: dict[str, Any] = {"gains": [[r"mask\.\d+\.1\.weight", 2.0]], "fixed": []}
NUM_SAMPLES, RATE = 9001, 44100
WINDOW_SECONDS, STEP_SECONDS = 0.15, 0.05  # 6,615 and 2,205 samples


def main(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    from look2hear.models.tiger_dnr import TIGERDNR

    model = TIGERDNR(**SETTINGS).eval()
    keys = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    model.load_state_dict(fill(SYSTEM | {"keys": keys}))
    mixture = torch.from_numpy(glide(NUM_SAMPLES, RATE) + 0.5 * fall(NUM_SAMPLES, RATE))[None, None]
    # The released windows of 12 s are shortened.
    model.wav_chunk_inference = partial(
        model.wav_chunk_inference, target_length=WINDOW_SECONDS, hop_length=STEP_SECONDS
    )
    with torch.inference_mode():
        window = torch.cat([net(mixture)[0] for net in (model.dialog, model.effect, model.music)])
        stems = torch.cat(model(mixture))
    values = {"window": np.asarray(window)[:, ::3], "stems": np.asarray(stems)[:, ::3]}
    document = {"settings": SETTINGS, "keys": keys} | SYSTEM
    document |= {"window_seconds": WINDOW_SECONDS, "step_seconds": STEP_SECONDS}
    write("tiger_dnr", values, document)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
