"""Imports go one way, and importing does nothing."""

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from repository import ROOT

FOLDERS = ["queries", "separation", "evaluation", "recipes"]  # each may import those before it
ROOMS = {  # all subfolders of each with code, which may import those before them
    "queries": ["files", "networks", "reading", "encoders"],
    "separation": [
        *("signal", "storage", "audio", "networks", "objectives", "runtime", "inference", "models"),
        *("published", "light", "api", "detection", "export"),
    ],
    "evaluation": ["metrics", "items", "estimators", "protocols", "report"],
    "recipes": ["data", "training", "inference", "page", "demo", "serve", "benchmarks", "cli"],
}
OPTIONAL = [  # imported where they are used, for each costs seconds or may be absent
    "asteroid",
    "gradio",
    "lightning",
    "lightning_fabric",
    "matplotlib",
    "museval",
    "onnxruntime",
    "onnxscript",
    "open_clip",
    "openvino",
    "pytorch_lightning",
    "ray",
    "sentence_transformers",
    "sklearn",
    "transformers",
]


def files_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(["qsep", *parts[: -1 if parts[-1] == "__init__" else None]])


@cache
def imports_of(path: Path) -> list[tuple[int, str, bool]]:
    """Imports anywhere in a file: line, absolute dotted name, whether written relatively."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    collected = []
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            collected += [(node.lineno, alias.name, False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            tail = [node.module] if node.module else []
            collected += [(node.lineno, ".".join([*base, *tail, a.name]), True) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            collected += [
                (node.lineno, f"{node.module}.{alias.name}", False) for alias in node.names
            ]
    return collected


def breaches(folder: str, is_breach: Callable[[list[str], bool], bool]) -> list[str]:
    """Imports below a folder of which is_breach(parts of the name, relative) is true."""
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files_of(folder)
        for line, name, relative in imports_of(path)
        if is_breach(name.split("."), relative)
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_import_goes_against_the_arrow(folder: str) -> None:
    later = FOLDERS[FOLDERS.index(folder) + 1 :]
    assert breaches(folder, lambda name, _: name[0] == "qsep" and name[1] in later) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_subfolder_has_its_arrows(folder: str) -> None:
    subfolders = {path.parent.name for path in (ROOT / folder).glob("*/*.py")}
    assert sorted(ROOMS[folder]) == sorted(subfolders)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_import_between_subfolders_goes_against_the_arrow(folder: str) -> None:
    rooms = ROOMS[folder]
    faults = []
    for number, room in enumerate(rooms):
        later = [["qsep", folder, other] for other in rooms[number + 1 :]]
        assert files_of(f"{folder}/{room}")

        def against(name: list[str], _: bool, later: list[list[str]] = later) -> bool:
            return name[:3] in later

        faults += breaches(f"{folder}/{room}", against)
    assert faults == []


def test_nothing_but_the_entry_point_imports_the_command_line() -> None:
    outside = [path for path in files_of("recipes") if "cli" not in path.relative_to(ROOT).parts]
    importing = [
        path.name
        for path in outside
        if any(name.startswith("qsep.recipes.cli.") for _, name, _ in imports_of(path))
    ]
    assert importing == ["__main__.py"]


@pytest.mark.parametrize("folder", [*FOLDERS, "tests"])
def test_nothing_imports_a_root_folder_by_its_bare_name(folder: str) -> None:
    assert breaches(folder, lambda name, relative: not relative and name[0] in FOLDERS) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_relative_imports_stay_inside_their_folder(folder: str) -> None:
    assert breaches(folder, lambda name, rel: rel and name[:2] != ["qsep", folder]) == []


def run_fresh(program: str, *arguments: str) -> str:
    """What a new interpreter prints that runs the program away from the repository's root."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_ALL = """
import importlib, json, random, socket, sys
import numpy, torch

def refuse(*args, **kwargs):
    raise AssertionError(f"an import reaches for the network: {args[1:]}")

socket.socket.connect = socket.socket.connect_ex = refuse

def state():
    return [
        torch.initial_seed(), torch.get_rng_state().tolist(), random.getstate(),
        str(numpy.random.get_state(legacy=False)), torch.get_default_dtype(),
        torch.get_num_threads(), torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(), torch.cuda.is_initialized(),
    ]

names, optional = json.loads(sys.argv[1])
before = state()
faults = []
for name in names:
    known = set(sys.modules)
    importlib.import_module(name)
    faults += [f"{name} imports {lib}" for lib in optional if lib in set(sys.modules) - known]
    if state() != before:
        faults.append(f"{name} changes a random state or a global setting")
        before = state()
print(json.dumps(faults))
"""


def test_importing_does_no_work_and_loads_no_optional_library() -> None:
    names = [
        module_name(path)
        for folder in FOLDERS
        for path in files_of(folder)
        if path.name != "__main__.py"
    ]
    printed = run_fresh(IMPORT_ALL, json.dumps([names, OPTIONAL]))
    assert printed == "[]\n"


def test_the_command_line_is_ready_without_importing_torch() -> None:
    program = (
        "import json, sys; import qsep.recipes.cli.main; "
        "print(json.dumps([m for m in sys.argv[1:] if m in sys.modules]))"
    )
    heavy = ["torch", "torchaudio", "scipy", *OPTIONAL]
    assert json.loads(run_fresh(program, *heavy)) == []


@pytest.mark.parametrize(
    "package",
    [
        "qsep",
        *(
            module_name(path)
            for folder in FOLDERS
            for path in files_of(folder)
            if path.name == "__init__.py" and "lazy_exports" in path.read_text()
        ),
    ],
)
def test_lazy_exports_exist(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None, name
