"""The signals that end a command."""

from __future__ import annotations

import signal

ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
EXIT_CODES = {128 + number for number in ENDING}  # of commands that they ended
