"""`qsep data` and its subcommands."""

from __future__ import annotations

from collections.abc import Callable

import typer

from .corpora import check_data, count_data, make_folder, open_sounds, shard_data
from .mixing import mix_data
from .public import join_data, mine_anchors, prepare_captions_data, prepare_data, split_captions

data_app = typer.Typer(no_args_is_help=True, help="Prepare, check and pack training data.")
COMMANDS: dict[str, Callable[..., None]] = {
    "folder": make_folder,
    "open-sounds": open_sounds,
    "check": check_data,
    "stats": count_data,
    "mix": mix_data,
    "shard": shard_data,
    "prepare": prepare_data,
    "captions": prepare_captions_data,
    "join": join_data,
    "phrases": split_captions,
    "anchors": mine_anchors,
}
for name, command in COMMANDS.items():
    data_app.command(name)(command)
