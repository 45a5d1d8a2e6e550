"""Training where the workers' shared memory is too small says what to do."""

from collections.abc import Iterator
from typing import Any

import pytest

from qsep.recipes.training.workers import explained

# Of PyTorch 2.11 under a /dev/shm of 64 kB, and of its handler of a worker's death.
MESSAGES = (
    "unable to allocate shared memory(shm) for file </torch_431_3842907432_0>: Resource temporarily "
    "unavailable (11)",
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers "
    "are out of shared memory. Please try to raise your shared memory limit.",
)


def batches(error: Exception) -> Iterator[Any]:
    yield "first"
    raise error


@pytest.mark.parametrize("message", MESSAGES)
def test_too_little_shared_memory_names_the_setting(message: str) -> None:
    passing: Iterator[Any] = explained(batches(RuntimeError(message)), num_workers=2)
    assert next(passing) == "first"
    with pytest.raises(ValueError, match=r"\Atrain.num_workers=2: .* use train.num_workers=0"):
        next(passing)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="of another kind"):
        list(explained(batches(RuntimeError("of another kind")), num_workers=2))
    with pytest.raises(RuntimeError, match="shared memory"):
        list(explained(batches(RuntimeError("shared memory")), num_workers=0))
