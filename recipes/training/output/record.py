"""What a run was made with, in run.json: seed, versions, commit, hashes of data and weights, devices.

The run's settings are in recipe.json, and those that changed at a step in log.jsonl.
"""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qsep.queries.files.json_files import json_content
from qsep.separation.storage.results import Results, sha256_of

from ...data.corpus.shards import INDEX
from ..config import Recipe, start_folders

RUN = "run.json"
PACKAGES = ("qsep", "torch", "torchaudio", "lightning-fabric", "numpy", "safetensors", "soundfile")


def record_session(results: Results, recipe: Recipe, step: int, fabric: Any) -> None:
    """Add a session of the run to run.json: one for each time that it was started, with its first step."""
    session = {
        "step": step,
        "seed": recipe.train.seed,
        "versions": versions(),
        "commit": commit(Path(__file__).parent),
        "sha256": {str(path): sha256_of(path) for path in files_read(recipe)},
        "devices": f"{fabric.world_size} {fabric.device.type}",
    }
    sessions = [*read_sessions(results.folder), session]
    results.write_text(RUN, json.dumps({"sessions": sessions}, indent=1) + "\n")


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """The sessions of a run, the first one first; empty if none are recorded."""
    try:
        sessions: list[dict[str, Any]] = json_content(folder / RUN)["sessions"]
    except (OSError, ValueError, KeyError):
        return []
    return sessions


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the result."""
    versions_by_name = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions_by_name[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions_by_name


def commit(folder: Path) -> str | None:
    """The commit of the checkout that holds the folder, with "-dirty" for changes; None outside of one."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def files_read(recipe: Recipe) -> list[Path]:
    """The lists, phrase books and weights that decide what is trained; not the recordings themselves."""
    data = recipe.data
    lists = ["clips.csv", INDEX, "phrases.toml", "phrases.json"]
    lists += [
        f"{split}.{kind}"
        for split in (data.split, data.validation_split)
        for kind in ("csv", "json")
    ]
    paths = [Path(data.folder, name) for name in lists] if data.folder else []
    paths += [
        Path(data.phrases),
        *(folder / "model.safetensors" for folder in start_folders(recipe.train)),
    ]
    return [path for path in paths if path.is_file()]
