"""Mutation testing: whether the tests notice changes of the code that break it.

`make mutants` applies each mutant of mutants.toml to a copy of the repository, one at a time, and runs the
test that it names, which has to fail. Arguments are words: only mutants with one of them in file or text
are applied. Exits with 1 if one survives, or no longer fits the code.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".toml")
LIMIT_SECONDS = 600  # a mutant that hangs counts as killed
PASSED, FAILED = 0, 1  # pytest's exit codes; others mean that the tests could not run
# Imported once, before forking: a mutant's tests take less time than these imports.
PRELOADED = (
    "lightning_fabric onnxruntime pytest rich.progress safetensors.torch scipy.signal soundfile soxr "
    "tokenizers torch torchaudio typer"
).split()


@dataclass(frozen=True)
class Mutant:
    """new replaces old, which occurs once in the file; tests: arguments of pytest."""

    file: str
    old: str
    new: str
    tests: str

    def __str__(self) -> str:
        return f"{self.file}: {self.old.strip()!r} -> {self.new.strip()!r}"

    def text(self, root: Path) -> str:
        """The file's text with the mutation; ValueError unless the old text occurs exactly once."""
        path = root / self.file
        before = path.read_text("utf-8") if path.is_file() else ""
        if (times := before.count(self.old)) != 1:
            raise ValueError(f"{self}: the old text occurs {times} times in the file, not once")
        return before.replace(self.old, self.new)


def read_mutants(path: Path = LIST) -> list[Mutant]:
    tables = tomllib.loads(path.read_text("utf-8"))["mutant"]
    return [Mutant(**table) for table in tables]


def copy_of(root: Path, folder: Path) -> Path:
    """A copy of the repository as `folder`/qsep, which is the package qsep once `folder` is on the path."""
    copy = folder / "qsep"
    kept_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "site")
    shutil.copytree(root, copy, ignore=kept_out)
    shutil.copytree(root / "qsep", copy, ignore=kept_out, dirs_exist_ok=True)
    shutil.rmtree(copy / "qsep")
    return copy


def work(copy: Path, tests: Sequence[str], log: Path, bytecode: bool) -> None:
    """In a process of its own: run the tests in the copy, and leave with pytest's exit code.

    bytecode: whether to write it. The run without mutants does, for the others; no mutant's may remain.
    """
    import pytest

    sys.dont_write_bytecode = not bytecode
    os.environ |= {
        "PYTHONDONTWRITEBYTECODE": "" if bytecode else "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the tests need none, and loading takes seconds
    }
    os.chdir(copy)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(pytest.main(["-x", "-p", "no:cacheprovider", "--rootdir", str(copy), *tests]))


def run_tests(
    copy: Path, tests: Sequence[str], log: Path, bytecode: bool, limit_seconds: float | None
) -> int:
    """pytest's exit code; FAILED also where the tests do not end within the limit. bytecode: see `work`."""
    arguments = copy, tests, log, bytecode
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join(limit_seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return FAILED
    assert process.exitcode is not None
    return process.exitcode


def judged(mutant: Mutant, copy: Path, log: Path) -> str:
    """ "killed", "survived", or why the tests could not run."""
    path = copy / mutant.file
    try:
        text = mutant.text(copy)
    except ValueError as error:
        return f"outdated: {error}"
    before, state = path.read_text("utf-8"), path.stat()
    path.write_text(text, "utf-8")
    os.utime(path, (0, 0))  # another time than that of the file whose bytecode exists
    code = run_tests(copy, [mutant.tests], log, bytecode=False, limit_seconds=LIMIT_SECONDS)
    path.write_text(before, "utf-8")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # its bytecode is valid again
    named = {PASSED: "survived", FAILED: "killed"}
    return named.get(code) or f"broken: pytest ended with {code}, see\n{log.read_text()}"


def judge(mutants: Sequence[Mutant], root: Path = ROOT) -> Iterable[tuple[Mutant, str]]:
    """Each mutant with its verdict. ValueError if the tests fail without any mutant."""
    with TemporaryDirectory(prefix="mutants-") as folder:
        scratch = Path(folder)
        copy, log = copy_of(root, scratch), scratch / "log"
        sys.path.insert(0, str(scratch))
        os.environ["PYTHONPATH"] = str(scratch)
        tests = sorted({mutant.tests for mutant in mutants})
        if run_tests(copy, tests, log, bytecode=True, limit_seconds=None) != PASSED:
            raise ValueError(f"the tests fail without any mutant:\n{log.read_text()}")
        for mutant in mutants:
            yield mutant, judged(mutant, copy, log)


def main(words: Sequence[str]) -> int:
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in PRELOADED:
        importlib.import_module(name)
    chosen = [
        mutant
        for mutant in read_mutants()
        if not words or any(word in str(mutant) for word in words)
    ]
    killed = 0
    for mutant, verdict in judge(chosen):
        killed += verdict == "killed"
        print(f"{verdict:8} {mutant}", flush=True)
    print(f"{killed} of {len(chosen)} mutants killed")
    return int(killed < len(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
