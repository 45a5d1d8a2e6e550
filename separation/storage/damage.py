"""Error messages for missing and damaged weights on disk; needs no PyTorch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Context for reading a safetensors file: ValueError naming it if it is missing or damaged."""
    from safetensors import SafetensorError

    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path}: missing; fetch the checkpoint again") from None
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error}); fetch the checkpoint again") from error
