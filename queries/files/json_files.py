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


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON in readable letters; bytes of file names that are not UTF-8 are escapes, as \\udce4."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
