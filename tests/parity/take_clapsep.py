"""How clapsep.npz and clapsep.json were taken, with FOLDER that of the recorded fixtures:

    PYTHONPATH=tests python tests/parity/take_clapsep.py FOLDER

Kept is what test_clapsep_parity.py compares: every fourth recorded frame and third bin of the mask, and
every 35th sample of the waveform. Inputs come from a rule: tests/parity/filling.py makes them again.
"""

import sys
from pathlib import Path

import numpy as np
from parity.keeping import keys_of, parts_of, write

PARTS = {
    "in.embed": np.s_[:],
    "in.feature_check": np.s_[:],
    "out.mask_every_4th_frame": np.s_[..., ::4, ::3],
    "out.waveform_every_7th": np.s_[::5],
    "mid.skip3.values": np.s_[:],
}
NAMES = {
    "out.mask_every_4th_frame": "out.mask",
    "out.waveform_every_7th": "out.waveform",
    "mid.skip3.values": "mid.skip3",
}


def main(recorded: Path) -> None:
    folder = recorded / "clapsep"
    arrays = parts_of(folder / "decode.npz", PARTS)
    named = {NAMES.get(name, name): values for name, values in arrays.items()}
    write("clapsep", named, keys_of(folder / "keys.json"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
