"""`qsep serve`; like main.py, it imports what it needs when the command runs."""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from qsep.separation import DEFAULT_MODEL

from .options import DeviceOption


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 accepts other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")
    ] = 7860,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A model to offer; the first is the default. Repeatable. Default: all on this machine.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    max_seconds: Annotated[float, typer.Option(min=1, help="Of a recording.")] = 600.0,
    max_megabytes: Annotated[
        int, typer.Option(min=1, help="Maximum size of an uploaded file.")
    ] = 100,
    keep_minutes: Annotated[
        float, typer.Option(min=1, help="Minutes after which recordings and results are deleted.")
    ] = 60.0,
    static: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write instead a page for any file server, on which the model runs in the visitor's browser "
            "(as `qsep models export --page`).",
        ),
    ] = None,
) -> None:
    """Open a page on which recordings are separated, and the same for programs over HTTP.

    Runs until it is interrupted. Nothing leaves this machine, and temporary files are removed.
    """
    if static is not None:
        from ..page.write import how_to_serve, write_page

        if len(model or []) > 1:
            raise ValueError("--static writes a page for one model: give -m once")
        write_page(model[0] if model else DEFAULT_MODEL, static)
        print(how_to_serve(static))
        return
    if find_spec("gradio") is None or find_spec("matplotlib") is None:
        raise ValueError("the page needs more packages: pip install 'qsep[serve]'")
    from ..serve.choice import by_name, finders_among, local_models
    from ..serve.jobs import Limits
    from ..serve.server import Address, serving

    models = by_name(model or local_models())
    address, limits = Address(host, port), Limits(max_seconds, max_megabytes)
    with serving(address, models, finders_among(models), device, limits, keep_minutes) as url:
        print(f"qsep: {url} (Ctrl-C ends it)", flush=True)
        if not address.is_local:
            print("qsep: anyone who can reach this machine can use it", file=sys.stderr)
        threading.Event().wait()
