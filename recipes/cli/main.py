"""The `qsep` command. Each subcommand is a thin shell on the package; imports wait until needed."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from qsep.separation import DEFAULT_MODEL

from .auto import auto
from .bench import bench_app
from .data import data_app
from .errors import ENDING, LEFT_BY_SIGNAL, say_error, take_switches, usage_line
from .models import models_app
from .options import SOME_FAILED, USAGE, DeviceOption, ModelOption, OverwriteOption
from .recipes import recipes_app
from .timing import timed

logger = logging.getLogger("qsep")
UsageError: Any = typer.BadParameter.__base__  # click's, which some versions of typer hold inside

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Separate the sounds that a query names from a recording; train separators; score them.",
)
app.command()(auto)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(recipes_app, name="recipes")

RuntimeOption = Annotated[
    str, typer.Option(help="What computes the networks: torch, or on the CPU openvino or onnx.")
]
PrecisionOption = Annotated[
    str, typer.Option(help="fp32, or bf16: faster where the CPU can, about 1 % off.")
]


def main() -> None:
    """Entry point: one clear line for what goes wrong, never a traceback for bad input."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold bytes that are not text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for number in ENDING:
        signal.signal(number, lambda number, frame: sys.exit(128 + number))  # tidy up first
    logging.basicConfig(format="qsep: %(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        code = app(take_switches(sys.argv[1:]), prog_name="qsep", standalone_mode=False)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            print(f"qsep: error: {usage_line(error)}", file=sys.stderr)
        sys.exit(USAGE)
    except SystemExit as stopped:
        if stopped.code in LEFT_BY_SIGNAL:
            print("qsep: interrupted", file=sys.stderr)
        raise
    except Exception as error:  # whatever a library raises is one line here
        say_error(error)
        sys.exit(USAGE)
    sys.exit(code or 0)


def print_version(wanted: bool) -> None:
    if wanted:
        from qsep import __version__

        print(f"qsep {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Say the version and leave."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of what goes wrong.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say what is used, and how long it takes.")
    ] = False,  # both are taken from the command line before it comes here
) -> None: ...


@app.command()
def separate(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Recordings (- reads one from standard input); or one, and a query in words.",
            metavar="INPUT...",
        ),
    ],
    query: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", help="The sound to take out, in words. Repeatable."),
    ] = None,
    query_image: Annotated[
        list[Path] | None,
        typer.Option(
            help="A picture of what makes the sound. Repeatable: all together are one query."
        ),
    ] = None,
    query_audio: Annotated[
        list[Path] | None,
        typer.Option(help="An example of the sound. Repeatable: all together are one query."),
    ] = None,
    mix_weight: Annotated[
        float | None,
        typer.Option(
            help="Mix pictures and examples into every -q, at this weight (0 to 1), instead of "
            "separating by them on their own."
        ),
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option(help="A sound that is not wanted, in words. Repeatable.")
    ] = None,
    span: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this time, as 3.2-5.0 or 0:03-1:05, or 3.2- to the end. Repeatable."
        ),
    ] = None,
    not_span: Annotated[
        list[str] | None, typer.Option(help="Not these seconds, as 1-2. Repeatable.")
    ] = None,
    exclusive: Annotated[
        bool, typer.Option(help="No part to two queries: all results and one residual sum up.")
    ] = False,
    consistent: Annotated[
        bool, typer.Option(help="Parts of the input also where the model generates sound.")
    ] = False,
    candidates: Annotated[
        int, typer.Option(min=1, help="Of a generative model: draw so many, keep the best.")
    ] = 1,
    judge: Annotated[
        str, typer.Option(help="What the best is judged by: embedding or consistency.")
    ] = "embedding",
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for the results; - for a WAV on standard output."),
    ] = Path("."),
    residual: Annotated[bool, typer.Option(help="Write also what remains.")] = False,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "auto",
    runtime: RuntimeOption = "torch",
    precision: PrecisionOption = "fp32",
    strict: Annotated[
        bool, typer.Option(help="Refuse words for sounds that the model does not know.")
    ] = False,
    min_similarity: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Refuse words that are less like the model's phrases (cosine)."
        ),
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="Of the results: wav, or flac (up to 24 bits).")
    ] = "wav",
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False,
    overwrite: OverwriteOption = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object a file and query on standard output.")
    ] = False,
) -> None:
    """Take the sounds that the queries name out of recordings.

    Writes STEM.QUERY.wav (and STEM.QUERY.residual.wav, or STEM.residual.wav if exclusive) in the recording's
    own sample rate, channels, length and sample format; target and residual sum to the recording.
    """
    from ..inference.batch import check_jobs, separate_files
    from ..inference.pipes import PIPE, Pipes
    from .queries import constraints_from, queries_from, words_last
    from .readings import refuse_unknown, say_readings

    inputs, words = words_last(inputs, bool(query or query_image or query_audio))
    queries = queries_from(query or words, query_image or [], query_audio or [], mix_weight)
    if not queries:
        raise ValueError("say which sound to take out, as -q 'a dog barking'")
    constraints = constraints_from(
        queries, negative or [], span or [], not_span or [], exclusive, consistent
    )
    if json_output and out == PIPE:
        raise ValueError("--json and -o - both write to standard output: choose one")
    quiet = quiet or out == PIPE
    if quiet:
        logger.setLevel(logging.ERROR)
    num_results = len(queries) * (1 + residual)
    with Pipes(list(dict.fromkeys(inputs)), out, num_results) as pipes:
        results = check_jobs(
            pipes.inputs,
            queries,
            pipes.out,
            residual,
            overwrite,
            common=exclusive,
            file_format=file_format,
        )

        from qsep.separation.api import load

        with timed("loading the model took"):
            loaded = load(model, device, runtime, precision).best_of_n(candidates, judge)
        logger.info(
            "%s from %s, on %s at %d Hz",
            *(loaded.name, loaded.source, loaded.device, loaded.separator.sample_rate),
        )
        every = [*queries, *constraints.negatives]
        loaded.embed(every)  # what its encoder cannot read is refused before any work
        refuse_unknown(loaded, every, strict, min_similarity)
        for asked in every:
            loaded.warn_if_unfamiliar(asked)
        if not json_output and not quiet:
            say_readings(loaded, every)
        report = (json_output, constraints, quiet, file_format)
        if not separate_files(loaded, pipes.inputs, queries, results, residual, *report):
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
    from ..training.config import read_recipe
    from ..training.loop import Stop
    from ..training.loop import train as run

    parsed, content = read_recipe(recipe, overrides)
    stop = Stop()
    folder = run(parsed, content, out, accelerator, devices, stop=stop)
    if stop.signal:
        print("qsep: stopped and saved; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + stop.signal)
    if folder is not None:
        print(f"checkpoint: {folder}")


@app.command()
def evaluate(
    protocol: Annotated[str, typer.Argument(help="Which mixtures and queries, such as sounds21.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="What else the protocol lets one choose.", metavar="[KEY=VALUE]..."),
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder with the protocol's recordings.")] = ...,  # type: ignore[assignment]
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the run; continues what is there. Default: scores/PROTOCOL-MODEL-CONDITION.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="CSV that lists the items, or one of the protocol's own by name, such as dev-3 of "
            "sounds150; default: the protocol's own."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Name, folder, ORG/NAME, or a baseline: mixture, ibm, irm, psm."
        ),
    ] = DEFAULT_MODEL,
    condition: Annotated[
        str,
        typer.Option(
            help="plain, or harder: templates, negation, absent, snr-sweep, num-sources, same-family, "
            "clipped, coloured; sounds150 and sounds21 also wordings, examples, absent-wordings."
        ),
    ] = "plain",
    device: DeviceOption = "auto",
    runtime: RuntimeOption = "torch",
    precision: PrecisionOption = "fp32",
    workers: Annotated[
        int, typer.Option(min=1, help="Items at a time; changes no number.")
    ] = os.cpu_count() or 1,
    baselines: Annotated[
        bool, typer.Option(help="Score also the mixture, ideal masks and other queries.")
    ] = True,
    embedding: Annotated[
        str | None,
        typer.Option(
            help="clap:model=FOLDER, or another encoder that reads recordings: adds similarity to the "
            "text (CLAP score) and to the target, and the Fréchet audio distance."
        ),
    ] = None,
    keep_audio: Annotated[
        int, typer.Option(min=0, help="Keep so many of the best and worst items, for the report.")
    ] = 10,
    backend: Annotated[
        str | None, typer.Option(help="What computes BSSEval, where it is used: qsep or museval.")
    ] = None,
    binary: Annotated[
        bool, typer.Option("--binary", help="Round masks to 0 and 1 (protocol clipsep).")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Discard what the folder holds.")] = False,
) -> None:
    """Score a model under a named protocol: one row an item in items.csv, means in summary.json."""
    from qsep.evaluation.protocols import load_items
    from qsep.evaluation.report.write import text_table
    from qsep.evaluation.run import evaluate as run

    pairs = as_pairs(settings or [])
    pairs |= ({"backend": backend} if backend else {}) | ({"masks": "hard"} if binary else {})
    items = load_items(protocol, data, manifest, condition, pairs)
    summary = run(
        load_estimator(model, device, runtime, precision),
        items,
        out or Path("scores", f"{protocol}-{Path(model).resolve().name}-{condition}"),
        overwrite,
        workers,
        baselines,
        load_embedder(embedding) if embedding else None,
        keep_audio,
    )
    print(text_table(summary))
    if summary.num_failed:
        sys.exit(SOME_FAILED)


def load_estimator(model: str, device: str, runtime: str, precision: str) -> Any:
    from qsep.evaluation.oracle import ESTIMATORS

    if model in ESTIMATORS:
        return model
    from qsep.separation.api import load

    logging.getLogger("qsep").setLevel(logging.ERROR)  # odd queries are the point here
    return load(model, device, runtime, precision)


def load_embedder(description: str) -> Any:
    """KIND, or KIND:KEY=VALUE,KEY=VALUE…, of an encoder in qsep.queries."""
    from qsep.evaluation.metrics.perceptual import EncoderEmbedder
    from qsep.separation.components import build_encoder

    kind, _, settings = description.partition(":")
    return EncoderEmbedder(build_encoder(kind, as_pairs(settings.split(",") if settings else [])))


def as_pairs(settings: list[str]) -> dict[str, str]:
    for setting in settings:
        if "=" not in setting:
            raise ValueError(f"{setting!r}: expected KEY=VALUE")
    return {key: value for key, _, value in (setting.partition("=") for setting in settings)}


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of `qsep evaluate`.", metavar="RUN...")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="FILE.html, FILE.md or FILE.csv.")],
) -> None:
    """Compare runs: intervals, paired differences, plots, and the items that went best and worst."""
    from qsep.evaluation.report.comparison import read_runs
    from qsep.evaluation.report.write import write_report

    write_report(read_runs(runs), out)
    print(f"report: {out}")


@app.command()
def doctor() -> None:
    """What this installation has: versions, devices, decoders, models."""
    from .doctor import report

    for line in report():
        print(line)
