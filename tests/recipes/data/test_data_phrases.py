"""`qsep data phrases`: the phrases of a data set's captions, by the rules or by another program."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from command import Run

from qsep.recipes.data.captions.stored_phrases import phrase_parser

CAPTIONS = ["A dog barks while rain falls", "a cat, and\n a bell", "Regen fällt"]


@pytest.fixture
def data(folder: Path) -> Path:
    """Two lists that share a caption."""
    data = folder / "data"
    data.mkdir()
    (data / "a.wav").touch()
    lists = {"train": CAPTIONS[:2], "dev": CAPTIONS[1:]}
    for name, captions in lists.items():
        items = [{"wav": "a.wav", "caption": caption} for caption in captions]
        (data / f"{name}.json").write_text(json.dumps({"data": items}))
    return data


def program(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_the_rules_phrases_are_written_once_and_can_be_edited(qsep: Run, data: Path) -> None:
    done = qsep("data", "phrases", "data")
    assert (done.code, done.out) == (0, "data/phrases.json: 5 phrases of 3 captions\n")
    stored = json.loads((data / "phrases.json").read_text("utf-8"))
    assert list(stored) == CAPTIONS
    assert stored[CAPTIONS[0]] == ["a dog barks", "rain falls"]
    stored[CAPTIONS[0]] = ["a hound"]
    (data / "phrases.json").write_text(json.dumps(stored))
    assert phrase_parser(data)(CAPTIONS[0]) == ["a hound"]
    again = qsep("data", "phrases", "data")
    assert again.code == 2
    assert "phrases.json is there already; delete it to make it anew" in again.err


def test_another_program_may_split_them(qsep: Run, data: Path) -> None:
    code = "import sys; [print(line.strip().replace(' and ', chr(9))) for line in sys.stdin]"
    done = qsep("data", "phrases", "data", "--command", program(code))
    assert done.code == 0, done.err
    parse = phrase_parser(data)
    assert list(map(parse, CAPTIONS)) == [[CAPTIONS[0]], ["a cat,", "a bell"], ["Regen fällt"]]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (program("print('a')"), "printed 1 lines for 3 captions"),
        (program("print('a\\n\\nb')"), "printed no phrase for 'a cat, and\\n a bell'"),
        (program("raise SystemExit(7)"), "failed with exit code 7"),
        ("/no/such/parser", "No such file or directory"),
        ("'", "No closing quotation"),
    ],
)
def test_a_program_that_does_something_else_is_refused(
    qsep: Run, data: Path, command: str, message: str
) -> None:
    done = qsep("data", "phrases", "data", "--command", command)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not (data / "phrases.json").exists()
