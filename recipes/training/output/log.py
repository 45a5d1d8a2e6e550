"""What a run says while it goes: one line an entry on the terminal and in log.jsonl."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from qsep.separation.storage.results import Results
from qsep.separation.storage.temporary import write_atomically

RECIPE = "recipe.json"


def read_log(path: Path) -> list[dict[str, Any]]:
    """Its entries, each with a step; half a line, as a killed run leaves, is none."""
    entries = []
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            if isinstance(entry["step"], int):
                entries.append(entry)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return entries


def settings_before(results: Results) -> dict[str, Any] | None:
    """The recipe of the run that is continued, as its folder has it."""
    try:
        content: dict[str, Any] = json.loads((results.folder / RECIPE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content


def differing(old: Any, new: Any, name: str = "") -> dict[str, list[Any]]:
    """Dotted names of what differs between two recipes, each with [old, new]; the card counts for nothing."""
    if old is None or name == "card":
        return {}
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, list[Any]] = {}
        for key in sorted(old.keys() | new.keys()):
            below = f"{name}.{key}" if name else key
            if key not in old or key not in new:
                if below != "card":
                    found[below] = [old.get(key), new.get(key)]
            else:
                found |= differing(old[key], new[key], below)
        return found
    same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    return {} if same else {name: [old, new]}


class RunLog:
    """log.jsonl, one line an entry; lines after the resumed step are dropped, they will come again.

    What of the settings changed where a run was continued is an entry "changed" of that step.
    """

    def __init__(self, results: Results, content: dict[str, Any], step: int, active: bool) -> None:
        self.path = results.folder / "log.jsonl"
        self.active = active
        self.pending: dict[str, list[float]] = {}
        self.since = time.monotonic()
        self.num_steps = 0
        self.changes: list[dict[str, Any]] = []
        if not active:
            return
        results.grow(self.path.name)
        entries = [entry for entry in read_log(self.path) if entry["step"] <= step]
        kept = "".join(json.dumps(entry) + "\n" for entry in entries)
        write_atomically(self.path, lambda temporary: temporary.write_text(kept))
        self.changes = [entry for entry in entries if "changed" in entry]
        if step and (changed := differing(settings_before(results), content)):
            self.changes.append({"step": step, "changed": changed})
            with self.path.open("a") as file:
                file.write(json.dumps(self.changes[-1]) + "\n")
            told = ", ".join(f"{key} was {old}, is {new}" for key, (old, new) in changed.items())
            self.say(step, f"continued with other settings: {told}")
        results.write_text(RECIPE, json.dumps(content, indent=1) + "\n")

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
