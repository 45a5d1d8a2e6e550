"""Renders the tutorial notebook as a Markdown page: its text, code and stored outputs."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Markdown, and the pictures in it by name. Players are left out: running it makes their files."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in joined(cell["outputs"]):
            if text := text_of(output):
                parts.append(f"```text\n{text}\n```")
            elif png := output.get("data", {}).get("image/png"):
                name = f"{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(png)
                parts.append(f"![Output of the code above]({name})")
    return "\n\n".join(parts) + "\n", pictures


def joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs, with consecutive pieces of printed text merged."""
    merged: list[dict[str, Any]] = []
    for output in outputs:
        if merged and output["output_type"] == "stream" == merged[-1]["output_type"]:
            merged[-1] = merged[-1] | {"text": [*merged[-1]["text"], *output["text"]]}
        else:
            merged.append(output)
    return merged


def text_of(output: dict[str, Any]) -> str:
    """What was printed, or the value of a cell; nothing where a picture or a player says it better."""
    data = output.get("data", {})
    if output["output_type"] != "stream" and not data.keys() <= {"text/plain"}:
        return ""
    return COLOURS.sub("", "".join(output.get("text") or data.get("text/plain", ""))).rstrip()
