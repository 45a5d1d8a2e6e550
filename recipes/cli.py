"""The `qsep` command. Each subcommand is a thin shell on the package; imports wait until needed."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Separate the sounds that a query names from a recording; train separators; score them.",
)
models_app = typer.Typer(no_args_is_help=True, help="What models there are and what they know.")
evaluate_app = typer.Typer(no_args_is_help=True, help="Score a model under a named protocol.")
app.add_typer(models_app, name="models")
app.add_typer(evaluate_app, name="evaluate")

USAGE, SOME_FAILED = 2, 1  # exit codes

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A shipped model's name, a folder or a released file.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")]


def main() -> None:
    """Entry point: one clear line for what goes wrong, never a traceback for bad input."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold bytes that are not text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))  # tidy up first
    logging.basicConfig(format="qsep: %(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        app(prog_name="qsep")
    except (ValueError, OSError) as error:
        from .batch import one_line

        print(f"qsep: error: {one_line(error)}", file=sys.stderr)
        sys.exit(USAGE)
    except SystemExit as stopped:
        if stopped.code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            print("qsep: interrupted", file=sys.stderr)
        raise


@app.command()
def separate(
    inputs: Annotated[list[Path], typer.Argument(help="Recordings.", metavar="INPUT...")],
    query: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", help="The sound to take out, in words. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("."),
    residual: Annotated[bool, typer.Option(help="Write also what remains.")] = False,
    model: ModelOption = "sounds21",
    device: DeviceOption = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace existing files.")] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object a file and query on standard output.")
    ] = False,
) -> None:
    """Take the sounds that the queries name out of recordings.

    Writes STEM.QUERY.wav (and STEM.QUERY.residual.wav) in the recording's own sample rate, channels,
    length and sample format; target and residual sum to the recording.
    """
    from qsep.queries.interface import TextQuery

    from .batch import check_jobs, separate_files

    if not query:
        raise ValueError("say which sound to take out, as -q 'a dog barking'")
    inputs = list(dict.fromkeys(inputs))
    queries = [TextQuery(text) for text in dict.fromkeys(query)]
    check_jobs(inputs, queries, out, residual, overwrite)

    from qsep.separation.api import load

    loaded = load(model, device)
    for asked in queries:
        loaded.warn_if_unfamiliar(asked)
    if not separate_files(loaded, inputs, queries, out, residual, json_output):
        sys.exit(SOME_FAILED)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file or a shipped recipe's name.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="table.key=value …", metavar="[KEY=VALUE]...")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The run's folder; continues what is there.")
    ] = ...,  # type: ignore[assignment]
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="How many of them.")] = 1,
) -> None:
    """Train a separator by a recipe, or continue such a run exactly where it was."""
    if find_spec("lightning_fabric") is None or find_spec("matplotlib") is None:
        raise ValueError("training needs more packages: pip install 'qsep[train]'")
    from .config import read_recipe
    from .train import train as run

    parsed, content = read_recipe(recipe, overrides)
    folder = run(parsed, content, out, accelerator, devices)
    if folder is not None:
        print(f"checkpoint: {folder}")


@evaluate_app.command("sounds21")
def evaluate_sounds21(
    manifest: Annotated[Path, typer.Option(help="CSV that lists the mixtures.")],
    data: Annotated[Path, typer.Option(help="Folder that the manifest's files are in.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for items.csv and summary.json.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name, folder, or a baseline: mixture, irm.")
    ] = "sounds21",
    condition: Annotated[
        str, typer.Option(help="plain, wordings, absent or absent-wordings.")
    ] = "plain",
    device: DeviceOption = "auto",
    overwrite: Annotated[bool, typer.Option(help="Discard what the folder holds.")] = False,
) -> None:
    """Two- and three-source mixtures of sounds21: SI-SDR, SDR and their improvements."""
    from qsep.evaluation.protocols.sounds21 import evaluate_sounds21 as run
    from qsep.evaluation.report import text_table

    estimator: Any = model
    if model not in ("mixture", "irm"):
        from qsep.separation.api import load

        estimator = load(model, device)
        logging.getLogger("qsep").setLevel(logging.ERROR)  # odd queries are the point here
    summary = run(estimator, manifest, data, out, condition, overwrite)
    print(text_table(summary))
    if summary.num_failed:
        sys.exit(SOME_FAILED)


@models_app.command("list")
def list_models() -> None:
    """The models that come with the package."""
    from qsep.separation.api import CHECKPOINTS_DIR, shipped_models

    for name in shipped_models():
        card = (CHECKPOINTS_DIR / name / "README.md").read_text().splitlines()
        print(f"{name:20} {card[0].lstrip('# ')}")


@models_app.command("info")
def model_info(
    model: Annotated[str, typer.Argument(help="A shipped model's name or a folder.")] = "sounds21",
    json_output: Annotated[bool, typer.Option("--json", help="The whole configuration.")] = False,
) -> None:
    """What a model is, what kinds of sound it knows, and how it was made."""
    from qsep.separation.api import checkpoint_folder
    from qsep.separation.checkpoint import read_config

    folder = checkpoint_folder(model)
    config = read_config(folder)
    if json_output:
        print(json.dumps(config, indent=1))
        return
    size_mb = (folder / "model.safetensors").stat().st_size / 1e6
    provenance = config.get("provenance", {})
    print(
        f"{folder.name}: {config['separator']['kind']}, {config['sample_rate']} Hz, {size_mb:.1f} MB"
    )
    print(f"queries: text, by {config['encoder']['kind']} ({config['encoder']['fingerprint']})")
    if source := provenance.get("converted_from"):
        print(f"converted from: {source} ({provenance['recipe']})")
    elif {"recipe", "seed", "step"} <= provenance.keys():
        print(
            f"made by: qsep train {provenance['recipe']}, seed {provenance['seed']}, "
            f"{provenance['step']} steps"
        )
    if kinds := config["separator"]["config"].get("concepts"):
        print(f"knows {len(kinds)} kinds of sound:")
        for kind in kinds:
            print(f"  {kind}")


@models_app.command("convert")
def convert_model(
    file: Annotated[Path, typer.Argument(help="A released checkpoint, such as best_model.pt.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")],
) -> None:
    """Turn a checkpoint that others released into a checkpoint folder."""
    from qsep.separation.published.reader import convert_to_folder

    convert_to_folder(file, out)
    print(f"checkpoint: {out}")


@app.command()
def doctor() -> None:
    """What this installation has: versions, devices, decoders, models."""
    from .doctor import report

    for line in report():
        print(line)
