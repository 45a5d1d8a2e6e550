"""The `qsep` command: entry point, and the list of subcommands.

Subcommands import the package when they run, so that `qsep --help` answers at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Annotated, Any

import typer

from ..errors import DEBUG, print_error, show_warnings
from ..signals import ENDING, EXIT_CODES
from .bench import bench_app
from .data.app import data_app
from .doctor import doctor
from .evaluate import evaluate, report
from .listen import listen
from .live import live
from .locate import locate
from .models.app import models_app
from .options import USAGE
from .recipes import recipes_app
from .runs import runs_app
from .separate.auto import auto
from .separate.command import separate
from .serve import serve
from .streams import prepare_streams
from .train import train

UsageError: Any = typer.BadParameter.__base__  # click's, which some versions of typer include

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Separate the sounds that a query names from a recording; train separators; score them.",
)
for command in (auto, separate, live, locate, train, evaluate, report, listen, doctor, serve):
    app.command()(command)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(recipes_app, name="recipes")
app.add_typer(runs_app, name="runs")


def main() -> None:
    """Run the command line and exit.

    Whatever goes wrong is one line on standard error, with a traceback only with --debug. Exit code 2:
    nothing was done; 1: some of several inputs failed; 128 + the signal's number when interrupted, also 141
    (SIGPIPE) when nobody reads what is printed any more.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    prepare_streams()
    for number in ENDING:
        # SystemExit runs clean-up code.
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    show_warnings()
    try:
        code = app(take_switches(sys.argv[1:]), prog_name="qsep", standalone_mode=False)
        sys.stdout.flush()
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            print(f"qsep: error: {usage_line(error)}", file=sys.stderr)
        sys.exit(USAGE)
    except SystemExit as stopped:
        if stopped.code in EXIT_CODES:
            print("qsep: interrupted", file=sys.stderr)
        raise
    except Exception as error:  # any library's error becomes one line
        print_error(error)
        sys.exit(USAGE)
    sys.exit(code or 0)


def usage_line(error: Any) -> str:
    """A usage error of click in the style of the other errors, with the command whose --help to read."""
    text = " ".join(str(error.format_message()).split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    command = error.ctx.command_path if error.ctx else "qsep"
    return f"{text}: see {command} --help"


def take_switches(arguments: list[str]) -> list[str]:
    """Apply --debug and --verbose, at any position before a "--", and return the other arguments."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" in arguments[:end]:
        os.environ[DEBUG] = "1"
    if "--verbose" in arguments[:end]:
        logging.getLogger("qsep").setLevel(logging.INFO)
    switches = ("--debug", "--verbose")
    return [word for word in arguments[:end] if word not in switches] + arguments[end:]


def print_version(requested: bool) -> None:
    """Print the version and exit, if --version is given."""
    if requested:
        from qsep import __version__

        print(f"qsep {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print what is used and how long it takes.")
    ] = False,
) -> None:
    """Options before the subcommand; `take_switches` handles --debug and --verbose at any position."""
