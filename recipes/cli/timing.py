"""How long things take, for --verbose."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("qsep")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Log "WHAT SECONDS s" at level INFO when it went well."""
    start = time.perf_counter()
    yield
    logger.info("%s %.2f s", what, time.perf_counter() - start)
