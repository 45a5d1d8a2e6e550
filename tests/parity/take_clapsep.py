"""How clapsep.npz and clapsep.json were taken: python take_clapsep.py FOLDER_OF_THE_RECORDED_FIXTURES

Kept is what tests/test_clapsep_parity.py compares: every fourth recorded frame and third bin of the mask, and
every 35th sample of the waveform. Inputs come from a rule: tests/parity/filling.py makes them again.
"""

import json
import sys
from pathlib import Path

import numpy as np


def main(recorded: Path) -> None:
    with np.load(recorded / "clapsep" / "decode.npz") as content:
        arrays = {
            "in.embed": content["in.embed"],
            "in.feature_check": content["in.feature_check"],
            "out.mask": content["out.mask_every_4th_frame"][..., ::4, ::3],
            "out.waveform": content["out.waveform_every_7th"][::5],
            "mid.skip3": content["mid.skip3.values"],
        }
    document = json.loads((recorded / "clapsep" / "keys.json").read_text())
    keys = {
        "keys": [[item["key"], item["shape"]] for item in document["keys"]],
        "gains": document["gains"],
        "fixed": document["fixed"],
        "constants": sorted(document["constants"]),
        "first_values": document["first_values"],
    }
    folder = Path(__file__).parent
    np.savez_compressed(folder / "clapsep.npz", **arrays)
    text = json.dumps(keys, separators=(",", ":")).replace("]],", "]],\n")
    (folder / "clapsep.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
