"""`qsep models list`."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated

import typer

from qsep.separation import NEEDS_TORCH

from .sizes import in_words, size_of

COLUMNS = "{:20} {:5} {:>8}  {:24} {}"
LICENCE_WIDTH = 24


@dataclass(frozen=True)
class Line:
    """One model in the list; the fields are the keys of its JSON object.

    kind: separator or encoder. here: whether it works without a network. size: bytes on disk or to
    download, 0 if unknown. rate: in Hz, 0 if unknown.
    """

    name: str
    kind: str
    system: str
    published: bool
    here: bool
    size: int
    licence: str
    rate: int
    knows: str


def list_models(
    published: Annotated[
        bool,
        typer.Option("--published", help="Only models published by others, not the shipped ones."),
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """List all models: what each can separate, its size, its licence, and whether it is downloaded."""
    lines = ([] if published else shipped_lines()) + published_lines()
    if json_output:
        print(json.dumps([vars(line) for line in lines], indent=1))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(COLUMNS.format("name", "here", "size", "licence", "knows"))
    for line in lines:
        print(shortened(as_row(line), width))
    if find_spec("torch") is None:
        print(f"\nevery model but {' and '.join(usable_without_torch())} {NEEDS_TORCH}")


def as_row(line: Line) -> str:
    """The model as a row of the table for people."""
    return COLUMNS.format(
        line.name,
        "yes" if line.here else "no",
        in_words(line.size),
        shortened(line.licence.partition(" (")[0].partition(":")[0], LICENCE_WIDTH),
        f"(query encoder only) {line.knows}" if line.kind == "encoder" else line.knows,
    )


def usable_without_torch() -> list[str]:
    """Names of the models that separate without PyTorch."""
    from qsep.separation.light.model import light_folder
    from qsep.separation.storage.shipped import shipped_models

    return [name for name in shipped_models() if light_folder(name)]


def shipped_lines() -> list[Line]:
    """The models that come with the package."""
    from qsep.separation.storage.config import read_config, stored_classes
    from qsep.separation.storage.model_card import licence_of, title_of
    from qsep.separation.storage.shipped import shipped_folder, shipped_models

    lines = []
    for name in shipped_models():
        folder = shipped_folder(name)
        config, card = read_config(folder), (folder / "README.md").read_text("utf-8")
        classes = stored_classes(config)
        lines.append(
            Line(
                name,
                "separator",
                config["separator"]["kind"],
                False,
                True,
                size_of(folder),
                licence_of(card) or "Apache-2.0",
                config["sample_rate"],
                f"{len(classes)} kinds of sound" if classes else title_of(card),
            )
        )
    return lines


def published_lines() -> list[Line]:
    """The models of the registry, without a look at the network."""
    from qsep.separation.published.installed import installed_folder, is_local
    from qsep.separation.published.registry import published_models

    lines = []
    for model in published_models().values():
        folder = installed_folder(model.name)
        lines.append(
            Line(
                model.name,
                model.kind,
                model.system,
                True,
                is_local(model),
                size_of(folder) if folder else model.size,
                model.licence,
                model.rate,
                model.knows if model.converter else f"(not usable: {model.note}) {model.knows}",
            )
        )
    return lines


def shortened(text: str, width: int | None) -> str:
    """The text, cut to `width` characters with an ellipsis if it is longer; None: never cut."""
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"
