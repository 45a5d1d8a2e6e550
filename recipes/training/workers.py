"""Processes that make batches, and the shared memory by which these come to the training process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from torch import Tensor
from torch.utils.data import get_worker_info

from qsep.separation.interface import MixtureBatch

from ..data.mixtures.unmixed import UnmixedBatch
from ..signals import ENDING

# In errors of PyTorch where /dev/shm is too small: its words, and the name of a file there.
NO_SHARED_MEMORY = ("shared memory", "write to file </torch_")


def leave_signals_to_parent(worker: int) -> None:
    """Make a data worker ignore signals: schedulers signal every process, but only the parent ends a run."""
    for name in ENDING:
        signal.signal(name, signal.SIG_IGN)


class SharedCollate:
    """Makes a batch of items, in a worker straight in shared memory.

    A lack of it is then an error of that batch, which PyTorch passes on. Otherwise the thread that sends
    batches would meet it, print a traceback and go on, and the training process would wait for ever.
    """

    def __init__(self, collate: Callable[[list[Any]], MixtureBatch | UnmixedBatch]) -> None:
        self.collate = collate

    def __call__(self, items: list[Any]) -> MixtureBatch | UnmixedBatch:
        """The batch of these items."""
        batch = self.collate(items)
        if get_worker_info() is not None:
            for field in fields(batch):
                value = getattr(batch, field.name)
                if isinstance(value, Tensor):
                    value.share_memory_()
        return batch


@contextmanager
def passed_on(
    batches: Iterable[MixtureBatch], num_workers: int
) -> Iterator[Iterator[MixtureBatch]]:
    """A context with the batches, at whose end their workers end.

    Not when an exception passes through the iterator: the run is saved before, which workers that hang would
    delay. ValueError with the remedy if workers lack the shared memory to pass batches on.
    """
    iterator = iter(batches)
    try:
        yield explained(iterator, num_workers)
    finally:
        end_workers(iterator)


def explained(batches: Iterator[MixtureBatch], num_workers: int) -> Iterator[MixtureBatch]:
    """The batches; ValueError with the remedy if workers lack the shared memory to pass them on."""
    try:
        yield from batches
    except RuntimeError as error:
        if not num_workers or not any(sign in str(error) for sign in NO_SHARED_MEMORY):
            raise
        raise ValueError(
            f"train.num_workers={num_workers}: workers pass batches on through /dev/shm, which is too "
            "small here: use train.num_workers=0, or enlarge it (docker run --shm-size=1g)"
        ) from error


def end_workers(iterator: Any) -> None:
    """End the workers of a DataLoader's iterator, if it has any.

    PyTorch does so when nothing refers to the iterator, but an error's traceback does; and as the process
    exits Python asks workers to end by a signal, which they leave to their parent, and waits for them.
    """
    if hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()
        for worker in iterator._workers:
            worker.kill()
