"""Names say what they stand for, and files of tests have different ones."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from repository import ROOT

FOLDERS = ["qsep", "queries", "separation", "evaluation", "recipes", "tests", "docs"]
# Every value is found, made or one's own somewhere: a name has to say what it is.
MEANINGLESS = {"asked", "found", "given", "made", "own", "place"}
EXCEPTIONS = {
    ("tests/support/miniatures.py", "own"),  # the protocol's name
    ("separation/networks/unets/velocity_unet.py", "own"),  # part of names of stored weights
}


def names_in(path: Path) -> list[tuple[int, str]]:
    """Names that a file gives to variables, attributes, arguments, functions and classes, with lines."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.attr))
        elif isinstance(node, ast.arg):
            names.append((node.lineno, node.arg))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append((node.lineno, node.name))
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_say_what_they_hold(folder: str) -> None:
    meaningless = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, name in names_in(path)
        if name in MEANINGLESS and (str(path.relative_to(ROOT)), name) not in EXCEPTIONS
    ]
    assert meaningless == []


def test_files_of_tests_have_different_names() -> None:
    # pytest imports them by their bare names and collects only the first of two.
    counts = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(counts) > 100
    assert [name for name, count in counts.items() if count > 1] == []
