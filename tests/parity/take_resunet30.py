"""How resunet30.npz and resunet30.json were taken: python take_resunet30.py FOLDER_OF_THE_RECORDED_FIXTURES

Kept is what tests/test_resunet30_parity.py compares: queries, every seventh sample of each waveform, and
all that the tagger says. Inputs are left out: tests/parity/filling.py makes them again.
"""

import json
import sys
from pathlib import Path

import numpy as np

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
    arrays, keys = {}, {}
    for system, (case, names) in CASES.items():
        with np.load(recorded / system / f"{case}.npz") as content:
            arrays |= {f"{system}/{name}": content[name][::step] for name, step in names.items()}
        if system != "metrics":
            document = json.loads((recorded / system / "keys.json").read_text())
            keys[system] = {
                "keys": [[item["key"], item["shape"]] for item in document["keys"]],
                "gains": document["gains"],
                "fixed": document["fixed"],
                "first_values": document["first_values"],
            }
    with np.load(recorded / "metrics" / "uss_mixing.npz") as content:
        arrays["metrics/uss_mixture"] = content["out.mixture"]
    folder = Path(__file__).parent
    np.savez_compressed(folder / "resunet30.npz", **arrays)
    text = json.dumps(keys, separators=(",", ":")).replace("]],", "]],\n")
    (folder / "resunet30.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
