"""How flowsep.npz and flowsep.json were taken, with FOLDER that of the recorded fixtures:

    PYTHONPATH=tests python tests/parity/take_flowsep.py FOLDER

Kept are the inputs that cannot be made again (tests/parity/filling.py makes audio and weights) and, of what
came out, what test_flowsep_parity.py compares: every third row or so of what is large.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from parity.keeping import Arrays, keys_of, parts_of, write

KEPT: dict[str, dict[str, Any]] = {  # files, their arrays, and of each which part
    "mel": {"out.log_mel": np.s_[::3]},
    "mel_plain": {"out.log_mel_bands_by_frames": np.s_[:]},
    "vae": {
        "in.log_mel": np.s_[:],
        "in.z": np.s_[:],
        "in.posterior_noise": np.s_[:],
        "out.mean": np.s_[:],
        "out.logvar": np.s_[:, :, ::3],
        "out.sample_times_scale_factor_0.9": np.s_[:, :, ::3],
        "out.decoded_z": np.s_[:, :, ::3],
        "out.decoded_mean": np.s_[:, :, ::3],
    },
    "velocity": {
        "in.x_t": np.s_[:],
        "in.z_mix": np.s_[:],
        "in.t": np.s_[:],
        "in.mask": np.s_[:],
    },
    "euler4_ema": {
        "in.x0": np.s_[:],
        "in.context": np.s_[:],  # the 12 tokens that the mask lets through
        "out.velocity_ema_for_velocity_inputs": np.s_[:],
        "out.x_at_step1": np.s_[:, :, ::3],
        "out.x_at_step2": np.s_[:, :, ::3],
        "out.x_at_step3": np.s_[:, :, ::3],
        "out.x1": np.s_[:],
    },
    "vocoder": {
        "out.waveform": np.s_[:],
        "out.waveform_weight_norm_file": np.s_[:],
        "out.filter": np.s_[:],
    },
}


def main(recorded: Path) -> None:
    folder = recorded / "flowsep"
    arrays: Arrays = {}
    for file, parts in KEPT.items():
        arrays |= parts_of(folder / f"{file}.npz", parts, f"{file}/")
    names = ("keys", "keys_vocoder_generator")
    write("flowsep", arrays, {name: keys_of(folder / f"{name}.json") for name in names})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
