"""Threads of a test process, and fixtures of the tests that run the `qsep` command."""

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

# Set before PyTorch is imported, also for processes that tests start: the suite's workers share the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import typer.main
from command import STUB, Outcome, Run, process_state_restored
from tiny import save_tiny_model
from typer.main import get_command

from qsep.queries.encoders import minilm
from qsep.recipes.cli.main import main


@cache
def built_once(app: typer.Typer) -> Any:
    """The tree of commands, which is the same for each run and takes as long to build as a short one."""
    return get_command(app)


@pytest.fixture
def qsep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """qsep("separate", path, …) in this process, with random vectors for queries."""
    monkeypatch.setattr(minilm.MiniLM, "encode", lambda self, queries: STUB.encode(queries))
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_VERBOSITY"):
        monkeypatch.setenv(name, os.environ.get(name, "error"))
    monkeypatch.setenv("QSEP_DEBUG", "")  # so that it is as before when the test ends
    monkeypatch.setattr(typer.main, "get_command", built_once)

    def run(*arguments: str | Path) -> Outcome:
        os.environ.pop("QSEP_DEBUG", None)
        monkeypatch.setattr(sys, "argv", ["qsep", *map(str, arguments)])
        capsys.readouterr()
        with process_state_restored(), pytest.raises(SystemExit) as stopped:
            main()
        assert isinstance(stopped.value.code, int)
        return Outcome(stopped.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of a tiny network at 8 kHz."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the command: empty, with an empty cache of embeddings beside it."""
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"
