"""Image sources of a rectangular room by pyroomacoustics (Scheibler et al. 2018), which must be installed.

python tests/parity/take_rooms.py > tests/parity/rooms.json
"""

import importlib.metadata
import json
import sys

import numpy as np
import pyroomacoustics

SIZE, LISTENER, SOURCE = [6.1, 4.3, 2.9], [2.0, 1.1, 1.3], [4.4, 3.0, 1.7]
ABSORPTION = 0.23  # of energy at each wall
REACH, MAX_ORDER = 10.0, 12  # metres; no image within reach has more reflections


def main() -> None:
    room = pyroomacoustics.ShoeBox(
        SIZE,
        fs=16000,
        materials=pyroomacoustics.Material(ABSORPTION),
        max_order=MAX_ORDER,
        air_absorption=False,
    )
    room.add_source(SOURCE)
    room.add_microphone(LISTENER)
    room.image_source_model()
    images = room.sources[0].images
    distances = np.linalg.norm(images - np.array(LISTENER)[:, None], axis=0)
    gains = np.atleast_2d(room.sources[0].damping)[0]
    near = distances < REACH
    order = np.argsort(distances[near])
    json.dump(
        {
            "pyroomacoustics": importlib.metadata.version("pyroomacoustics"),
            "size": SIZE,
            "listener": LISTENER,
            "source": SOURCE,
            "absorption": ABSORPTION,
            "reach": REACH,
            "distances": np.round(distances[near][order], 9).tolist(),
            "gains": np.round(gains[near][order], 9).tolist(),
            "eyring_seconds": room.rt60_theory(formula="eyring"),
        },
        sys.stdout,
        indent=1,
    )


if __name__ == "__main__":
    main()
