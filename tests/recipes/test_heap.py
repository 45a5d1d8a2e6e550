"""Large blocks of memory come from the system and go back to it, once the heap is set so."""

import subprocess
import sys

import pytest

MAPPED_BLOCKS = """
import ctypes

import numpy as np

from qsep.recipes.inference.heap import return_large_blocks

class Info(ctypes.Structure):  # struct mallinfo2 of malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd rest".split()]
    _fields_ += [("more", ctypes.c_size_t * 4)]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
if {is_set}:
    return_large_blocks()
for _ in range(2):
    large = np.empty(20 << 20, np.uint8)
    del large  # by default later blocks of up to this size come from the heap
before = mallinfo().hblks
blocks = [np.empty(5 << 20, np.uint8) for _ in range(3)]
print(mallinfo().hblks - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is another")
@pytest.mark.parametrize(("is_set", "num_mapped"), [(True, "3"), (False, "0")])
def test_blocks_of_five_mebibytes_are_mapped_one_by_one(is_set: bool, num_mapped: str) -> None:
    script = MAPPED_BLOCKS.replace("{is_set}", str(is_set))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if "mallinfo2" in done.stderr:
        pytest.skip("the C library has no mallinfo2")
    assert done.stdout.strip() == num_mapped, done.stderr
