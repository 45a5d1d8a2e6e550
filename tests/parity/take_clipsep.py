"""How clipsep.npz and clipsep.json were taken, with FOLDER that of the recorded fixtures:

    PYTHONPATH=tests python tests/parity/take_clipsep.py FOLDER

Kept is what test_clipsep_parity.py compares: every scalar, every query, and every seventh row and
fifth frame of each mask, or every seventh sample. Inputs are left out, for tests/parity/filling.py and
the test make them again; the recorded ones agree with those to 8e-6 at magnitudes up to 40.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from parity.keeping import Arrays, keys_of, write

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
    arrays: Arrays = {}
    keys = {}
    for system in SYSTEMS:
        keys[system] = keys_of(recorded / system / "keys.json", constants=False)
        for file in sorted((recorded / system).glob("*.npz")):
            with np.load(file) as content:
                for name in content.files:
                    if name.startswith("out.") or (
                        "query" in name and (system, file.stem) in FIRST_USE
                    ):
                        arrays[f"{system}/{file.stem}/{name}"] = thinned(name, content[name])
    write("clipsep", arrays, keys)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
