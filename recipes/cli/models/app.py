"""`qsep models` and its subcommands."""

from __future__ import annotations

from collections.abc import Callable

import typer

from .exporting import export_model
from .fetching import get_models, remove_models
from .info import model_info
from .listing import list_models
from .publishing import convert_model, push_model
from .reading import read_queries

models_app = typer.Typer(no_args_is_help=True, help="List, describe, fetch and publish models.")
COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_models,
    "info": model_info,
    "read": read_queries,
    "get": get_models,
    "remove": remove_models,
    "convert": convert_model,
    "push": push_model,
    "export": export_model,
}
for name, command in COMMANDS.items():
    models_app.command(name)(command)
