"""How clipsep.npz and clipsep.json were taken: python take_clipsep.py FOLDER_OF_THE_RECORDED_FIXTURES

Kept is what tests/test_clipsep_parity.py compares: every scalar, every query, and every seventh row and
fifth frame of each mask, or every seventh sample. Inputs are left out, for tests/parity/filling.py and
the test make them again; the recorded ones agree with those to 8e-6 at magnitudes up to 40.
"""

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SYSTEMS = ("clipsep", "clipsep_nit", "clipsep_early", "clipsep_middle", "labelsep", "pitsep")

# Queries recorded elsewhere are the same.
FIRST_USE = {("clipsep", "mask"), ("clipsep", "loss"), ("clipsep_early", "mask")}


def thinned(name: str, values: NDArray[np.generic]) -> NDArray[np.generic]:
    if name.startswith("in.") or values.size < 1000:
        return values
    if name.startswith("out.wave"):
        return values[::7]
    if values.shape[-2:] == (86, 43):  # mask1, of which only every third row and frame was recorded
        return values[..., ::3, ::2]
    return values[..., ::7, ::5]


def main(recorded: Path) -> None:
    arrays, keys = {}, {}
    for system in SYSTEMS:
        document = json.loads((recorded / system / "keys.json").read_text())
        keys[system] = {
            "keys": [[item["key"], item["shape"]] for item in document["keys"]],
            "gains": document["gains"],
            "fixed": document["fixed"],
            "first_values": document["first_values"],
        }
        for file in sorted((recorded / system).glob("*.npz")):
            with np.load(file) as content:
                for name in content.files:
                    if name.startswith("out.") or (
                        "query" in name and (system, file.stem) in FIRST_USE
                    ):
                        arrays[f"{system}/{file.stem}/{name}"] = thinned(name, content[name])
    folder = Path(__file__).parent
    np.savez_compressed(folder / "clipsep.npz", **arrays)
    text = json.dumps(keys, separators=(",", ":")).replace("]],", "]],\n")
    (folder / "clipsep.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
