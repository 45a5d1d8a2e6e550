"""The commands that are disturbed, their material, and what each writes when undisturbed."""

from __future__ import annotations

import contextlib
import csv
import gc
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import record
from tiny import save_tiny_model
from training_run import LABELS, state_of, tiny_recipe, write_material

from qsep.recipes.training.toml_text import toml_text
from qsep.separation.storage.results import (
    GROWING,
    IGNORED,
    LISTING,
    files_below,
    is_one_of,
    read_listing,
)

from .forked import Changes, Ended, forked, in_process

MIXTURES = (
    "id,query,seconds,target,target_start,interferers,interferer_starts,snr_db,"
    "target_label,interferer_labels"
)


@dataclass(frozen=True)
class Command:
    """A command line but for -o FOLDER."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Undisturbed:
    """essence: of the output folder, see `essence`; seconds: duration; num_changes: of the disk."""

    essence: dict[str, Any]
    seconds: float
    num_changes: int
    num_bytes: int


TINY = "-m tiny --quiet"
COMMANDS = {
    name: Command(name, tuple(line.split()))
    for name, line in {
        "separate": f"separate in/0.wav in/1.wav -q rain -q dogs --residual --overwrite {TINY}",
        "flac": f"separate in/0.wav in/2.wav -q rain --format flac --overwrite {TINY}",
        "long": f"separate long.wav -q rain -q dogs --residual --format flac --overwrite {TINY}",
        "bulk": f"separate in -q rain -q dogs {TINY}",
        "train": "train recipe.toml",
        "evaluate": "evaluate own --data corpus -m tiny --workers 1 --keep-audio 1",
        "folder": "data folder labelled --jobs 1",
        "shard": "data shard corpus --megabytes 0.03",
        "mix": "data mix mixtures.csv corpus --jobs 1",
    }.items()
}
TURNS = "bulk train separate evaluate folder train long shard train flac evaluate mix".split()


def command_of(trial: int) -> Command:
    """The commands take turns."""
    return COMMANDS[TURNS[trial % len(TURNS)]]


class Workshop:
    """A folder with a model, recordings, a corpus and a recipe, in which the commands run."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)  # as forked processes have
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        save_tiny_model(folder / "tiny")
        (folder / "in").mkdir()
        for number in range(4):
            record(folder / "in" / f"{number}.wav", 900 + 211 * number)
        record(folder / "long.wav", 30 * 8000)  # six chunks of a tiny model
        (folder / "corpus").mkdir()
        write_material(folder / "corpus")
        recipe = tiny_recipe(Path("corpus"), "minilm")
        # Noise on the queries alone leaves every weight as it is: vectors this wide are told apart
        # so surely that softmax gives 0 and 1. Channels dropped at random change each weight.
        recipe["separator"]["channel_dropout"] = 0.3
        recipe["train"]["steps"] = 12  # saved at every second: few kills come after the last save
        (folder / "recipe.toml").write_text(toml_text(recipe))
        rng = np.random.default_rng(5)
        for label in LABELS[:2]:
            (folder / "labelled" / label).mkdir(parents=True)
            for take in range(3):
                record_noise(folder / "labelled" / label / f"{take}.wav", rng)
        rows = [
            f"{label},a {label},0.5,{label}2.wav,0.0,{other}2.wav,0.0,0.0,{label},{other}"
            for label, other in zip(LABELS, LABELS[1:] + LABELS[:1], strict=True)
        ]
        (folder / "mixtures.csv").write_text("\n".join([MIXTURES, *rows]) + "\n")

    def warm_up(self, command: Command) -> None:
        """Run the command here, so that forked processes find its modules imported, its queries embedded."""
        with contextlib.redirect_stdout(io.StringIO()):
            in_process([*command.arguments, "-o", f"first {command.name}"], self.folder)
        gc.collect()
        gc.freeze()  # collections would copy all pages in each forked process

    def run(
        self,
        command: Command,
        out: Path,
        prepare: Callable[[], object] = lambda: None,
        kill_after: float | None = None,
    ) -> Ended:
        """The command with -o out, forked. prepare: called in its process first; kill_after: seconds."""

        def work() -> int:
            prepare()
            return in_process([*command.arguments, "-o", out], self.folder)

        return forked(work, self.folder, kill_after)

    @cache  # noqa: B019  (one workshop for all trials)
    def undisturbed(self, command: Command) -> Undisturbed:
        out = self.folder / f"undisturbed {command.name}"
        self.warm_up(command)
        changes, start = Changes(), time.monotonic()
        ended = self.run(command, out, prepare=changes)
        assert ended.code == 0, f"{command.name}: exit code {ended.code}\n{ended.out}{ended.err}"
        num_bytes = sum(path.stat().st_size for path in files_below(out))
        return Undisturbed(essence(out), time.monotonic() - start, changes.number, num_bytes)


def record_noise(path: Path, rng: np.random.Generator) -> None:
    """Half a second of noise of a bandwidth of its own, so that no two recordings are alike."""
    import soundfile

    taps = np.hanning(rng.integers(3, 40))
    soundfile.write(path, 0.1 * np.convolve(rng.normal(size=4000), taps, "same"), 8000)


def essence(folder: Path) -> dict[str, Any]:
    """The content of the folder by file name, without times and what else may differ from run to run."""
    content_by_name: dict[str, Any] = {}
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if path.name == "manifest.jsonl":
            content_by_name[name] = manifest_rows(path)
        elif path.name == "log.jsonl":
            entries = [json.loads(line) for line in path.read_text().splitlines()]
            content_by_name[name] = [without(entry, "items_per_second") for entry in entries]
        elif path.name == "run.json":  # a session for each start
            content_by_name[name] = json.loads(path.read_text())["sessions"][0]
        elif path.name == "training.pt":
            content_by_name[name] = digest_of_state(state_of(folder))
        elif path.name == "training.previous.pt":  # of an earlier save: which, depends on the kills
            content_by_name[name] = sorted(torch.load(path, weights_only=True))
        elif path.name != LISTING:
            content_by_name[name] = path.read_bytes()
    return content_by_name


def manifest_rows(path: Path) -> list[tuple[Any, ...]]:
    """Of each recording and query its results; the last line of a killed run may be half."""
    rows = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "run" not in row and not row["error"]:
            outputs = [(each["file"], each["sha256"]) for each in row["outputs"]]
            rows.append((row["key"], row["query"], outputs))
    return sorted(rows)


def digest_of_state(state: Any) -> str:
    """A digest of every bit of a training state."""
    digest = hashlib.sha256()

    def add(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key in value:
                add(value[key], f"{path}/{key}")
        elif isinstance(value, (list, tuple)):
            for index, each in enumerate(value):
                add(each, f"{path}/{index}")
        elif isinstance(value, torch.Tensor):
            digest.update(f"{path} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.contiguous().numpy().tobytes())
        else:
            digest.update(f"{path} {value!r}".encode())

    add(state, "")
    return digest.hexdigest()


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def differing(actual: dict[str, Any], expected: dict[str, Any]) -> str:
    """What differs, in words; empty if nothing does."""
    lines = [f"lost: {name}" for name in expected.keys() - actual.keys()]
    lines += [f"not expected: {name}" for name in actual.keys() - expected.keys()]
    for name in actual.keys() & expected.keys():
        if actual[name] != expected[name]:
            lines.append(f"other content: {name}: {str(actual[name])[:300]}")
    return "; ".join(sorted(lines))


def half_written(folder: Path) -> Iterator[str]:
    """Incomplete files under final names, except those that grow; should be none."""
    for path in files_below(folder) if folder.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if path.name in IGNORED or any(part.startswith(".") for part in Path(name).parts):
            continue
        home = next(
            parent for parent in path.parents if (parent / LISTING).is_file() or parent == folder
        )
        listed = read_listing(home / LISTING)
        versions = [
            entry
            for files in listed.values()
            for entry in files.get(path.relative_to(home).as_posix(), [])
        ]
        if GROWING not in versions and not is_one_of(path, versions):
            yield f"half written or not listed: {name}, {path.stat().st_size} bytes"


def left_over(folder: Path) -> Iterator[str]:
    """Temporary files and folders."""
    for path in folder.rglob("*"):
        if path.name.endswith(".part") or path.name.startswith(".model."):
            yield f"left over: {path.relative_to(folder)}"


def check_finished(ended: Ended, out: Path, undisturbed: Undisturbed) -> None:
    """AssertionError unless the command succeeded and wrote what an undisturbed one writes."""
    assert ended.code == 0, f"exit code {ended.code}:\n{ended.err}"
    ended.check_messages()
    assert not (wrong := differing(essence(out), undisturbed.essence)), wrong
    assert not (wrong := "; ".join(left_over(out))), wrong
    for path in out.rglob("items.csv"):
        with path.open(newline="") as file:
            ids = [row["id"] for row in csv.DictReader(file)]
        assert len(ids) == len(set(ids)), f"twice in {path.name}: {ids}"
