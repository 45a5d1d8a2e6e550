"""docs/leaderboard.md: written by its script, with valid commands and cells filled from runs."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.main
from miniatures import sound, table
from repository import ROOT

import qsep
from qsep.evaluation.protocols import dcase2024, load_items
from qsep.evaluation.run import evaluate
from qsep.recipes.benchmarks.quality import leaderboard
from qsep.recipes.benchmarks.quality.leaderboard import DataSet, Row, page, read_facts
from qsep.recipes.cli.main import app

PAGE = ROOT / "docs" / "leaderboard.md"
COMMANDS = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("qsep ")]


def test_the_committed_page_is_what_the_script_makes() -> None:
    assert PAGE.read_text("utf-8") == page(read_facts()), (
        "run python -m qsep.recipes.benchmarks.quality.leaderboard -o docs/leaderboard.md"
    )


def test_every_row_with_weights_has_its_command() -> None:
    rows = [row for data_set in read_facts() for row in data_set.rows if row.model]
    assert len(COMMANDS) == len(set(COMMANDS)) == len(rows) > 40


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_name_protocols_settings_and_models_that_there_are(
    line: str, tmp_path: Path
) -> None:
    program, command, *words = shlex.split(line)
    assert (program, command) == ("qsep", "evaluate")
    group: Any = typer.main.get_command(app)
    options = group.commands[command].make_context(command, words).params
    assert options["model"] in qsep.models()
    settings = dict(setting.split("=") for setting in options["settings"] or ())
    # An unknown protocol, setting or value is a ValueError; here only the recordings are missing.
    with pytest.raises(FileNotFoundError):
        load_items(options["protocol"], tmp_path, settings=settings)


@pytest.fixture(name="runs")
def run_of_the_mixture(tmp_path: Path) -> Path:
    """Runs of the unprocessed mixture on two mixtures of DCASE 2024, at -7 and 12 dB."""
    for name in (1, 2):
        sound(tmp_path / f"lass_validation/{name}.wav", name, 16000)
    shift = np.roll(soundfile.read(tmp_path / "lass_validation/1.wav")[0], 1)
    soundfile.write(tmp_path / "lass_validation/3.wav", shift, 16000, subtype="FLOAT")
    rows = [(1, 2, -7, "a creaking door"), (3, 2, 12, "rain")]
    table(tmp_path / "lass_synthetic_validation.csv", ("source", "noise", "snr", "caption"), *rows)
    return tmp_path / "runs"


def evaluated(runs: Path) -> None:
    evaluate("mixture", load_items("dcase2024", runs.parent), runs / "lass" / "mixture")


FACTS = DataSet(
    *("lass", "LASS", "dcase2024", "DCASE 2024 task 9", "data/lass", "Two mixtures."),
    figures=("SDR", "SDRi"),
    rows=(
        Row("mixture", published=(2.345, -0.5), source="a paper"),
        Row("sounds150"),
        Row(system="Another", published=(7.0, 4.567), source="a page"),
    ),
)
EMPTY = [
    "| system | SDR: published | here | SDRi: published | here | published in |",
    "|---|---|---|---|---|---|",
    "| `mixture` | 2.35 | not run here | -0.50 | not run here | a paper |",
    "| `sounds150` |  | not run here |  | not run here |  |",
    "| Another | 7.00 | no weights here | 4.57 | no weights here | a page |",
]


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_cells_without_a_run_say_so(tmp_path: Path) -> None:
    assert lines(page([FACTS])) == lines(page([FACTS], tmp_path)) == EMPTY
    command = "qsep evaluate dcase2024 --data data/lass -m mixture --no-baselines -o"
    assert f"\n{command} leaderboard/lass/mixture\n" in page([FACTS])


def test_a_cell_is_the_figure_of_its_run_with_the_items_of_a_part(runs: Path) -> None:
    """The mixture's SDR is its SNR: the mean of -7 and 12 dB. It improves nothing."""
    evaluated(runs)
    filled = lines(page([FACTS], runs))
    assert filled[2] == "| `mixture` | 2.35 | 2.50 (2 items) | -0.50 | 0.00 (2 items) | a paper |"
    assert filled[:2] + filled[3:] == EMPTY[:2] + EMPTY[3:]


def test_a_run_of_the_whole_set_has_no_count_unless_items_failed(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dcase2024, "NUM_ITEMS", 2)
    evaluated(runs)
    assert "| 2.50 | -0.50 | 0.00 |" in page([FACTS], runs)
    soundfile.write(runs.parent / "lass_validation/3.wav", np.zeros(2000), 16000)
    items = load_items("dcase2024", runs.parent)
    evaluate("mixture", items, runs / "lass" / "mixture", overwrite=True)
    assert "| -7.00 (1 items) |" in page([FACTS], runs)
    (unknown,) = lines(page([replace(FACTS, figures=("SIR", "SDR"))], runs))[2:3]
    assert unknown == "| `mixture` | 2.35 | no item scored | -0.50 | -7.00 (1 items) | a paper |"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            replace(FACTS, rows=(Row("sounds150"),)),
            "holds a run of the model 'mixture', not 'sounds150'",
        ),
        (
            replace(FACTS, items="DCASE 2024 task 8"),
            "holds a run of items of 'DCASE 2024 task 9', not 'DCASE 2024 task 8'",
        ),
        (
            replace(FACTS, condition="text"),
            "holds a run of the condition 'plain', not 'text'",
        ),
    ],
)
def test_another_run_is_not_put_into_a_cell(runs: Path, facts: DataSet, message: str) -> None:
    evaluated(runs)
    (runs / "lass" / "mixture").rename(runs / "lass" / facts.rows[0].model)
    with pytest.raises(ValueError, match=rf"\A[^\n]*{message}\Z"):
        page([facts], runs)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            'published = [1.0], source = "a"',
            "lass, m: expected 2 published figures and their source",
        ),
        ("published = [1.0, 2]", "lass, m: expected 2 published figures and their source"),
        ("publishd = [1.0, 2]", "unknown setting 'publishd'"),
    ],
)
def test_a_figure_needs_a_source(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "facts.toml"
    path.write_text(
        '[[data_set]]\nkey = "lass"\ntitle = "t"\nprotocol = "p"\nitems = "i"\ndata = "d"\n'
        f'about = "a"\nfigures = ["SDR", "SDRi"]\nrows = [{{ model = "m", {row} }}]\n'
    )
    with pytest.raises(ValueError, match=message):
        read_facts(path)


def test_the_command_writes_the_page_or_prints_it_filled(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(runs)
    monkeypatch.setattr(leaderboard, "read_facts", lambda: [FACTS])
    monkeypatch.setattr("sys.argv", ["leaderboard", "--runs", str(runs)])
    leaderboard.main()
    assert capsys.readouterr().out == page([FACTS], runs)
    monkeypatch.setattr("sys.argv", ["leaderboard", "-o", str(runs / "page.md")])
    leaderboard.main()
    assert (runs / "page.md").read_text("utf-8") == page([FACTS])
    assert capsys.readouterr().out == ""
    wrong = replace(FACTS, condition="text")
    monkeypatch.setattr(leaderboard, "read_facts", lambda: [wrong])
    monkeypatch.setattr("sys.argv", ["leaderboard", "--runs", str(runs)])
    with pytest.raises(ValueError, match=r"'text'\Z"):
        leaderboard.main()
