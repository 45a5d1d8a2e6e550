"""The log of a run: one line for each entry, on the terminal and in log.jsonl."""

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
    """The entries of a log, each with a step; incomplete lines, as a killed run leaves, are skipped."""
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
    """The recipe stored in the folder of the run that is resumed; None if there is none."""
    try:
        content: dict[str, Any] = json.loads((results.folder / RECIPE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content


def differing(old: Any, new: Any, name: str = "") -> dict[str, list[Any]]:
    """Settings that differ between two recipes: dotted names with [old, new]. The card is not compared."""
    if old is None or name == "card":
        return {}
    if isinstance(old, dict) and isinstance(new, dict):
        changes: dict[str, list[Any]] = {}
        for key in sorted(old.keys() | new.keys()):
            below = f"{name}.{key}" if name else key
            if key not in old or key not in new:
                if below != "card":
                    changes[below] = [old.get(key), new.get(key)]
            else:
                changes |= differing(old[key], new[key], below)
        return changes
    same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    return {} if same else {name: [old, new]}


class RunLog:
    """Writes log.jsonl, one JSON object a line, and the recipe; entries after a resumed step are removed.

    Settings that changed when a run was resumed are an entry "changed" at that step. active: False on all
    devices but the first, which then writes nothing.
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
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        write_atomically(self.path, lambda temporary: temporary.write_text(lines))
        self.changes = [entry for entry in entries if "changed" in entry]
        if step and (changed := differing(settings_before(results), content)):
            self.changes.append({"step": step, "changed": changed})
            with self.path.open("a") as file:
                file.write(json.dumps(self.changes[-1]) + "\n")
            listed = ", ".join(f"{key} was {old}, is {new}" for key, (old, new) in changed.items())
            self.say(step, f"continued with other settings: {listed}")
        results.write_text(RECIPE, json.dumps(content, indent=1) + "\n")

    def collect(self, terms: dict[str, float]) -> None:
        """Add one step's loss terms to the means of the next entry; NaN and infinity are left out."""
        self.num_steps += 1
        for name, value in terms.items():
            if math.isfinite(value):
                self.pending.setdefault(name, []).append(value)

    def write(self, step: int, steps: int, lr: float) -> None:
        """Write an entry: means of the terms since the last one, learning rate, seconds per step."""
        seconds = (time.monotonic() - self.since) / max(1, self.num_steps)
        means = {name: sum(values) / len(values) for name, values in self.pending.items()}
        self.pending, self.since, self.num_steps = {}, time.monotonic(), 0
        self.note(step, {**means, "lr": lr, "seconds_per_step": seconds})
        if self.active and sys.stderr.isatty():
            minutes_left = (steps - step) * seconds / 60
            print(f"  {step}/{steps} steps, {minutes_left:.0f} min left", file=sys.stderr)

    def note(self, step: int, values: dict[str, float]) -> None:
        """Write an entry with these values."""
        if not self.active:
            return
        rounded = {name: round(value, 6) for name, value in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **rounded}) + "\n")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"step {step}: {shown}", flush=True)

    def say(self, step: int, text: str) -> None:
        """Print a message on standard error."""
        if self.active:
            print(f"step {step}: {text}", file=sys.stderr, flush=True)
