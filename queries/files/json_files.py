"""JSON files of unknown origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def json_content(path: Path) -> Any:
    """The content of a JSON file.

    Raises OSError if it cannot be read, UnicodeDecodeError or JSONDecodeError (both are ValueErrors) if it is
    not JSON in UTF-8, also for lists in lists so deep that Python's reader gives up with a RecursionError.
    """
    text = path.read_text("utf-8")
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", text, 0) from None
