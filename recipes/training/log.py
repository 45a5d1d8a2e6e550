"""What a run says while it goes: one line an entry on the terminal and in log.jsonl."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from qsep.separation.checkpoint import write_atomically


class Journal:
    """log.jsonl, one line an entry; lines after the resumed step are dropped, they will come again."""

    def __init__(self, folder: Path, content: dict[str, Any], step: int, active: bool) -> None:
        self.path = folder / "log.jsonl"
        self.active = active
        self.pending: dict[str, list[float]] = {}
        self.since = time.monotonic()
        self.num_steps = 0
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.json").write_text(json.dumps(content, indent=1) + "\n")
        lines = self.path.read_text().splitlines(True) if self.path.is_file() else []
        # A killed run may leave half a line.
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_atomically(self.path, lambda temporary: temporary.write_text("".join(kept)))

    def collect(self, terms: dict[str, float]) -> None:
        self.num_steps += 1
        for name, value in terms.items():
            if math.isfinite(value):
                self.pending.setdefault(name, []).append(value)

    def write(self, step: int, steps: int, lr: float) -> None:
        """Means since the last entry, and the pace."""
        seconds = (time.monotonic() - self.since) / max(1, self.num_steps)
        means = {name: sum(values) / len(values) for name, values in self.pending.items()}
        self.pending, self.since, self.num_steps = {}, time.monotonic(), 0
        self.note(step, {**means, "lr": lr, "seconds_per_step": seconds})
        if self.active and sys.stderr.isatty():
            left = (steps - step) * seconds / 60
            print(f"  {step}/{steps} steps, {left:.0f} min left", file=sys.stderr)

    def note(self, step: int, values: dict[str, float]) -> None:
        if not self.active:
            return
        rounded = {name: round(value, 6) for name, value in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **rounded}) + "\n")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"step {step}: {shown}", flush=True)

    def say(self, step: int, text: str) -> None:
        if self.active:
            print(f"step {step}: {text}", file=sys.stderr, flush=True)
