"""The log of a run: one line for each entry, on the terminal and in log.jsonl."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qsep.queries.files.json_files import json_content
from qsep.separation.storage.results import Results
from qsep.separation.storage.temporary import write_atomically

from ..config import TrainConfig
from .examples import Example
from .trackers import KINDS, Tracker

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
        content: dict[str, Any] = json_content(results.folder / RECIPE)
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

    Settings that changed when a run was resumed are an entry "changed" at that step. All devices of `fabric`,
    a Lightning Fabric, must collect and write together; the first one writes for all. trackers: names of
    KINDS in trackers.py that get the same values.
    """

    def __init__(
        self,
        results: Results,
        content: dict[str, Any],
        step: int,
        fabric: Any,
        trackers: Sequence[str] = (),
    ) -> None:
        self.path = results.folder / "log.jsonl"
        self.fabric, self.active = fabric, fabric.is_global_zero
        self.pending: list[dict[str, Tensor]] = []
        self.first_step, self.began = step, time.monotonic()
        self.since, self.paused_seconds = self.began, 0.0
        self.changes: list[dict[str, Any]] = []
        self.trackers: list[Tracker] = []
        if not self.active:
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
        self.trackers = [KINDS[name](results.folder, content, step) for name in trackers]

    def collect(self, terms: dict[str, Tensor]) -> None:
        """Keep one step's loss terms on this device, sum and number (2,) each, for the next entry."""
        self.pending.append(terms)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """A context whose time does not count for the items a second: validation, saving."""
        began = time.monotonic()
        yield
        self.paused_seconds += time.monotonic() - began

    def write(self, step: int, config: TrainConfig, rate: float) -> None:
        """Write an entry and print it with the time left.

        The entry: means over devices and steps of the loss and its terms since the last entry, the learning
        rate, items a second, and the peak of GPU memory in GB, if there is a GPU.
        """
        now = time.monotonic()
        seconds = max(1e-9, now - self.since - self.paused_seconds)
        entry = means(self.pending, self.fabric) | {
            "lr": rate,
            "items_per_second": len(self.pending) * config.batch_size / seconds,
        }
        if self.fabric.device.type == "cuda":
            entry["gpu_gb"] = torch.cuda.max_memory_allocated(self.fabric.device) / 1e9
        self.pending, self.since, self.paused_seconds = [], now, 0.0
        pace = (now - self.began) / max(1, step - self.first_step)
        left = duration((config.steps - step) * pace)
        self.add(step, entry)
        if self.active:
            print(f"step {step}/{config.steps}: {shown(entry)}  {left} left", flush=True)

    def note(self, step: int, scores: dict[str, float], merits: Sequence[float]) -> None:
        """Write an entry of validation scores and print it. merits: of tasks/interface.py's Validation."""
        self.add(step, scores, merits)
        if self.active:
            print(f"step {step}: {shown(scores)}", flush=True)

    def add(self, step: int, values: dict[str, float], merits: Sequence[float] = ()) -> None:
        """Append an entry to log.jsonl."""
        if not self.active:
            return
        entry: dict[str, Any] = {name: round(value, 6) for name, value in values.items()}
        if merits:
            entry["merits"] = [round(merit, 4) for merit in merits]
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **entry}) + "\n")
        for tracker in self.trackers:
            tracker.add(step, values)

    def show(self, step: int, examples: Sequence[Example]) -> None:
        """Hand examples to the trackers."""
        for tracker in self.trackers:
            tracker.add_examples(step, examples)

    def close(self) -> None:
        """Finish the trackers' writing."""
        for tracker in self.trackers:
            tracker.close()

    def say(self, step: int, text: str) -> None:
        """Print a message on standard error."""
        if self.active:
            print(f"step {step}: {text}", file=sys.stderr, flush=True)


def means(steps: Sequence[dict[str, Tensor]], fabric: Any) -> dict[str, float]:
    """Means over steps of each term's mean over the items of all devices; see RunLog.collect."""
    terms_here = [{name: value.tolist() for name, value in terms.items()} for terms in steps]
    devices = [terms_here]
    if fabric.world_size > 1:
        devices = [terms_here] * fabric.world_size
        torch.distributed.all_gather_object(devices, terms_here)
    by_term: dict[str, list[float]] = {}
    for shares in zip(*devices, strict=True):  # of one step
        for name in dict.fromkeys(name for share in shares for name in share):
            total, number = map(
                sum, zip(*(share.get(name, (0, 0)) for share in shares), strict=True)
            )
            if number:
                by_term.setdefault(name, []).append(total / number)
    return {name: sum(values) / len(values) for name, values in by_term.items()}


def shown(values: dict[str, float]) -> str:
    """Values with their names and units, on one line."""
    units = {"items_per_second": "{:.3g} items/s", "gpu_gb": "{:.1f} GB"}
    parts = [units.get(name, f"{name} {{:.4g}}").format(value) for name, value in values.items()]
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in words: 2 h 05 min, 12 min, 40 s."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min" if minutes else f"{rest} s"
