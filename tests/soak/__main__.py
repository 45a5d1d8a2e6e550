"""`python -m soak [PART…]`: see CONTRIBUTING.md, and --help."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

PARTS = ("kills", "full_disk", "damaged_states", "damaged_audio", "hostile_words")


def main() -> None:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, help="default: the number of today")
    parser.add_argument("--trials", type=int, help="of each part; default: the part's own number")
    parser.add_argument("--only", type=int, help="the number of one trial")
    options = parser.parse_args()
    from .commands import Workshop  # after --help, for it takes seconds
    from .trials import run_trials

    seed = int(time.time()) // 86400 if options.seed is None else options.seed
    num_failures = 0
    with tempfile.TemporaryDirectory(prefix="qsep-soak-") as scratch:
        workshop = Workshop(Path(scratch, "workshop"))
        for name in options.parts or PARTS:
            part = importlib.import_module(f"soak.{name}").Part(workshop)
            numbers = range(options.trials or part.num_trials)
            tally = run_trials(part, numbers if options.only is None else [options.only], seed)
            print(tally, flush=True)
            num_failures += len(tally.failures)
    sys.exit(1 if num_failures else 0)


if __name__ == "__main__":
    main()
