"""Shared by the scripts take_NAME.py, which keep parts of the recorded fixtures in this folder.

Fixtures are a folder for each system, with arrays in NAME.npz and the keys of its state dict in keys.json.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parity.recorded import FOLDER

Arrays = dict[str, NDArray[Any]]


def parts_of(path: Path, parts: Mapping[str, Any], prefix: str = "") -> Arrays:
    """Arrays of a file, by their names after the prefix. parts: which part of each, as an index (np.s_)."""
    with np.load(path) as content:
        return {f"{prefix}{name}": content[name][part] for name, part in parts.items()}


def keys_of(path: Path, constants: bool = True) -> dict[str, Any]:
    """The keys and shapes of a system's state dict, and what filling.py needs to make its weights.

    constants: also the keys that are no weights.
    """
    document = json.loads(path.read_text())
    kept = {"keys": [[item["key"], item["shape"]] for item in document["keys"]]}
    kept |= {"gains": document["gains"], "fixed": document["fixed"]}
    if constants:
        kept |= {"constants": sorted(document["constants"])}
    return kept | {"first_values": document["first_values"]}


def write(name: str, arrays: Arrays, document: Mapping[str, Any]) -> None:
    """NAME.npz and NAME.json, one key a line, as `Recorded` reads them."""
    np.savez_compressed(FOLDER / f"{name}.npz", allow_pickle=False, **arrays)
    text = json.dumps(document, separators=(",", ":")).replace("]],", "]],\n")
    (FOLDER / f"{name}.json").write_text(text + "\n")
