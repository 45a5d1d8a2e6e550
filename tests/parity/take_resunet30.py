"""How resunet30.npz and resunet30.json were taken, with FOLDER that of the recorded fixtures:

    PYTHONPATH=tests python tests/parity/take_resunet30.py FOLDER

Kept is what test_resunet30_parity.py compares: queries, every seventh sample of each waveform, and
all that the tagger says. Inputs are left out: tests/parity/filling.py makes them again.
"""

import sys
from pathlib import Path

import numpy as np
from parity.keeping import Arrays, keys_of, parts_of, write

CASES = {
    "audiosep": ("separate", {"in.condition": 1, "out.waveform": 7}),
    "dcase": ("separate", {"in.condition": 1, "out.waveform": 7}),
    "uss": ("separate", {"in.condition": 1, "out.waveform": 7}),
    "panns_cnn14": ("tag", {"out.embedding": 1, "out.clipwise_output": 1}),
    "metrics": (
        "audiosep_mixing",
        {
            f"{name}_seed{seed}": 1
            for name in ("in.randint_calls", "out.mixture", "out.segment")
            for seed in ("0_max2", "3_max2", "1_max3")
        }
        | {"in.waveforms": 1},
    ),
}


def main(recorded: Path) -> None:
    arrays: Arrays = {}
    keys = {}
    for system, (case, steps) in CASES.items():
        parts = {name: np.s_[::step] for name, step in steps.items()}
        arrays |= parts_of(recorded / system / f"{case}.npz", parts, f"{system}/")
        if system != "metrics":
            keys[system] = keys_of(recorded / system / "keys.json", constants=False)
    mixing = recorded / "metrics" / "uss_mixing.npz"
    arrays["metrics/uss_mixture"] = parts_of(mixing, {"out.mixture": np.s_[:]})["out.mixture"]
    write("resunet30", arrays, keys)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
