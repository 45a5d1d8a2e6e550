"""Shell completion: the script that is installed, and what it proposes."""

import pytest
from command import Run

SCRIPT_NAME = "_QSEP_COMPLETE"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_show_completion_prints_a_script_for_the_shell(
    qsep: Run, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: shell)
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: shell)
    done = qsep("--show-completion")
    assert done.code == 0
    assert "qsep" in done.out
    assert SCRIPT_NAME in done.out


def proposed(qsep: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The completions that bash gets for TAB at the end of the line."""
    monkeypatch.setenv(SCRIPT_NAME, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    return qsep().out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("qsep sep", ["separate"]),
        ("qsep separate a.wav --skip", ["--skip-existing"]),
        ("qsep separate a.wav -m sounds1", ["sounds150", "sounds150-live"]),
        ("qsep separate a.wav -m flowsep-", ["flowsep-hive"]),
        ("qsep train smok", ["smoke"]),
        ("qsep evaluate musdb", ["musdb18"]),
        ("qsep models info clipsep", ["clipsep-nit"]),
    ],
)
def test_commands_options_models_recipes_and_protocols_are_proposed(
    qsep: Run, monkeypatch: pytest.MonkeyPatch, line: str, expected: list[str]
) -> None:
    assert proposed(qsep, line, monkeypatch) == expected
