"""How sound_events.npz was taken, by PANNs' own detector:

    pip install --no-deps --target FOLDER panns-inference==0.1.1 torchlibrosa==0.1.0
    pip install torch torchaudio librosa
    PYTHONPATH=FOLDER:tests python tests/parity/take_sound_events.py

Kept are the probabilities of every 23rd frame and 8th class of 4.3 seconds, with the tagger's filled weights
(resunet30.json), whose keys and shapes are the detector's too.
"""

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity.filling import fall, fill, glide

NUM_SAMPLES, RATE = 137_600, 32000
COMPUTED = ("stft.conv_", "logmel_extractor.melW")


def published() -> Any:
    """The class, without the package's own import, which downloads."""
    root = next(Path(folder) for folder in sys.path if (Path(folder) / "panns_inference").is_dir())
    package = types.ModuleType("panns_inference")
    package.__path__ = [str(root / "panns_inference")]
    sys.modules["panns_inference"] = package
    return importlib.import_module("panns_inference.models").Cnn14_DecisionLevelMax


@torch.inference_mode()
def main() -> None:
    folder = Path(__file__).parent
    document = json.loads((folder / "resunet30.json").read_text())["panns_cnn14"]
    keys = [key for key in document["keys"] if not any(part in key[0] for part in COMPUTED)]
    detector = published()(32000, 1024, 320, 64, 50, 14000, 527)
    shapes = {key: list(value.shape) for key, value in detector.state_dict().items()}
    assert shapes == dict(document["keys"])
    keys_left = detector.load_state_dict(fill(document | {"keys": keys}), strict=False)
    assert all(any(part in key for part in COMPUTED) for key in keys_left.missing_keys)
    assert not keys_left.unexpected_keys
    waveform = torch.from_numpy(glide(NUM_SAMPLES, RATE) + fall(NUM_SAMPLES, RATE))[None]
    embedded = detector.eval()(waveform)
    np.savez_compressed(
        folder / "sound_events.npz",
        framewise=embedded["framewise_output"][0, ::23, ::8].numpy(),
        clipwise=embedded["clipwise_output"][0].numpy(),
    )


if __name__ == "__main__":
    main()
