"""Durations, for --verbose."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("qsep")


@contextmanager
def timed(label: str) -> Iterator[None]:
    """Log "LABEL SECONDS s" at level INFO unless the block raises."""
    start = time.perf_counter()
    yield
    logger.info("%s %.2f s", label, time.perf_counter() - start)
