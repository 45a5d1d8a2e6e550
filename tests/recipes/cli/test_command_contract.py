"""What scripts rely on: the options of every command, the keys of --json, the exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
from command import Run, record

from qsep.recipes.cli.main import app

# Arguments in upper case, then options. A change here is one that CHANGELOG.md has to name.
COMMANDS = {
    "auto": "[INPUTS...] --device --format --json --level --model --mono --name --nan --out --overwrite "
    "--no-overwrite --salvage --tagger --threshold -m -o --from --allow-outside --skip-existing --shard "
    "--workers --ray",
    "bench backbones": "[OVERRIDES...] --accelerator --budget --costs --data --manifest --only --out "
    "--recipe --seed -o",
    "data anchors": "FOLDER --detector --min-probability --out -o",
    "data captions": "DATASET FOLDER [SETTINGS...] --exclude --jobs --lists --out --sample-rate "
    "--thorough -o",
    "data check": "DATA --allow-outside --report --jobs",
    "data folder": "SOURCE --allow-outside --out -o --file-column --label-column --group-column "
    "--split-column --audio --dev --test --split-by --seed --jobs",
    "data mix": "MIXTURES [DATA] --allow-outside --out -o --jobs --number -n --set --validation",
    "data open-sounds": "SOURCES --out -o --jobs",
    "data shard": "DATA --allow-outside --out -o --megabytes --seed",
    "data stats": "DATA --allow-outside --out -o --listen --jobs",
    "data join": "FOLDERS... --exclude --out -o",
    "data phrases": "FOLDER --command",
    "data prepare": "DATASET FOLDER --held-out --jobs --list --out -o",
    "doctor": "",
    "evaluate": "PROTOCOL [SETTINGS...] --backend --baselines --no-baselines --binary --condition "
    "--allow-outside --set --data --device --embedding --keep-audio --manifest --model --out "
    "--overwrite --no-overwrite "
    "--precision --runtime --workers -m -o",
    "listen": "FIRST SECOND --answers --max-seconds --number --out --overwrite --no-overwrite --question "
    "--recordings --seed -n -o",
    "live": "--chunk-seconds --device --devices --input --input-device --model --output --output-device "
    "--overwrite --no-overwrite --precision --query --query-audio --query-image --runtime --seconds --set "
    "-m -q",
    "locate": "PICTURE RECORDING --device --json --model --out --overwrite --no-overwrite -m -o",
    "models convert": "FILE [SETTINGS...] --out -o",
    "models get": "NAMES... --from",
    "models info": "[MODEL] --json",
    "models list": "--json --published",
    "models push": "FOLDER NAME --message --private",
    "models export": "[NAME] --out -o --sentences --no-sentences --half --graph-only --overwrite "
    "--no-overwrite --page --onnxruntime-web",
    "models remove": "NAMES...",
    "models read": "WORDS... --json --model -m",
    "recipes check": "RECIPE [OVERRIDES...]",
    "recipes copy": "RECIPE FILE",
    "recipes list": "",
    "recipes show": "RECIPE [OVERRIDES...]",
    "runs compare": "FIRST SECOND --out -o",
    "report": "RUNS... --out -o",
    "separate": "[INPUTS...] --allow-outside --candidates --consistent --no-consistent --device --exclusive "
    "--no-exclusive --json --judge --min-level --min-score --min-similarity --mix-weight --model --mono "
    "--name --nan --negative "
    "--not-span --out --overwrite --no-overwrite --precision --query --quiet --query-audio "
    "--query-image --residual --salvage "
    "--set --format --from --no-residual --ray --runtime --shard --skip-existing --span --strict --no-strict "
    "--workers -m -o -q",
    "serve": "--device --host --keep-minutes --max-megabytes --max-seconds --model --port --static -m",
    "train": "RECIPE [OVERRIDES...] --accelerator --allow-outside --devices --max-time --nodes --out -o",
}


def commands(group: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, with the words that call it."""
    for name, command in group.commands.items():
        words = (*prefix, name)
        if hasattr(command, "commands"):
            yield from commands(command, words)
        else:
            yield " ".join(words), command


def described(command: click.Command) -> str:
    """A command's arguments and options, as in COMMANDS."""
    arguments, options = [], []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = (parameter.name or "").upper() + ("..." if parameter.nargs == -1 else "")
            arguments.append(name if parameter.required else f"[{name}]")
        else:
            options += [*parameter.opts, *parameter.secondary_opts]
    return " ".join([*arguments, *options])


def test_commands_have_exactly_the_listed_arguments_and_options() -> None:
    actual = {name: described(command) for name, command in commands(typer.main.get_command(app))}
    assert {name: sorted(text.split()) for name, text in actual.items()} == {
        name: sorted(text.split()) for name, text in COMMANDS.items()
    }


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_names_every_option(qsep: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outcome = qsep(*name.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    options = [word for word in COMMANDS.get(name, "").split() if word.startswith("--")]
    assert [option for option in options if option not in outcome.out] == []


def test_separate_as_json_has_these_keys(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav")
    (folder / "b.wav").write_text("no sound")
    done = qsep(
        "separate", "a.wav", "b.wav", "-q", "rain", "--residual", "--json", "-m", tiny_model
    )
    assert done.code == 1  # one of several failed
    kept, failed = (json.loads(line) for line in done.out.splitlines())
    assert sorted(kept) == ["files", "input", "level_db", "query", "sample_rate", "seconds"]
    assert sorted(failed) == ["error", "input"]


def test_usage_errors_exit_with_code_two(qsep: Run, folder: Path) -> None:
    record(folder / "a.wav")
    assert qsep("separate", "a.wav").code == 2
    assert qsep("separate", "a.wav", "--no-such-option").code == 2
    assert qsep("separate", "a.wav", "-q", "rain", "-m", "no-such-model").code == 2
    assert qsep("no-such-command").code == 2


def test_models_info_as_json_has_these_keys(qsep: Run, tiny_model: Path) -> None:
    shown = json.loads(qsep("models", "info", tiny_model, "--json").out)
    assert sorted(shown) == ["encoder", "format", "provenance", "sample_rate", "separator"]
