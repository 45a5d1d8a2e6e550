"""What the benchmarks measure with."""

import subprocess
import sys
from pathlib import Path

import pytest
from command import Run, record
from tiny_settings import SETTINGS

from qsep.recipes.benchmarks.costs import random_flowsep
from qsep.recipes.benchmarks.costs.memory import peak_of


def test_flowsep_of_random_weights_is_a_checkpoint_that_separates(
    qsep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"d_model": 12, "d_kv": 4, "d_ff": 10, "num_layers": 2, "num_heads": 3}
    monkeypatch.setattr(random_flowsep, "T5_LARGE", small)
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    random_flowsep.make(tmp_path / "random", SETTINGS["flowsep"] | {"query_dim": 12})
    recording = record(tmp_path / "in.wav", num_samples=900)
    done = qsep("separate", recording, "-q", "a dog", "-m", tmp_path / "random", "-o", tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "in.a-dog.wav").stat().st_size > 900


PEAKS = """
import sys
from qsep.recipes.benchmarks.costs.memory import peak_of
for size in (200_000_000, 500_000_000):
    print(*peak_of([sys.executable, "-c", f"import time; time.sleep(0.2); b'1' * {size}"]))
"""


def test_the_peak_of_a_process_is_its_own() -> None:
    # Asked by a small process, for Linux counts the memory of the one that a process was started by.
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    (less, seconds), (more, _) = (map(float, line.split()) for line in done.stdout.split("\n")[:2])
    assert seconds > 0.2
    assert more - less == pytest.approx(300_000_000 / 2**20, rel=0.05)


def test_a_failing_command_has_no_memory_peak() -> None:
    with pytest.raises(SystemExit, match="failed: "):
        peak_of([sys.executable, "-c", "raise SystemExit(3)"])
