"""`qsep live`: from microphone to headphones; imports happen when it runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from qsep.separation import LIVE_MODEL

from .options import (
    DeviceOption,
    ModelOption,
    OverwriteOption,
    PrecisionOption,
    RuntimeOption,
    SetOption,
)
from .separate.options import QueryAudioOption, QueryImageOption


def live(
    query: Annotated[
        str | None, typer.Option("--query", "-q", help="The sound to hear, in words.")
    ] = None,
    query_image: QueryImageOption = None,
    query_audio: QueryAudioOption = None,
    model: ModelOption = LIVE_MODEL,
    settings: SetOption = None,
    device: DeviceOption = "auto",
    runtime: RuntimeOption = "torch",
    precision: PrecisionOption = "fp32",
    devices: Annotated[
        bool, typer.Option("--devices", help="List microphones and headphones, and exit.")
    ] = False,
    input_device: Annotated[
        str | None, typer.Option(help="The microphone: its number, or a part of its name.")
    ] = None,
    output_device: Annotated[
        str | None, typer.Option(help="The headphones: their number, or a part of their name.")
    ] = None,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="A recording instead of the microphone."),
    ] = None,
    output_file: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="A file instead of the headphones."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.001, help="Duration of the session. Default: until Ctrl-C."),
    ] = None,
    chunk_seconds: Annotated[
        float | None,
        typer.Option(
            help="How much is separated at once, for models that look ahead: less is sooner, and more "
            "computation."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Play what the microphone hears of the sound that a query names.

    Devices, files and the query are checked first. The latency is printed. Use headphones: loudspeakers are
    heard by the microphone again.
    """
    from ..inference.bulk.separating import ModelChoice
    from ..inference.live import Places, check_places, separate_live
    from ..inference.readings import show_readings
    from ..inference.sound_card import device_lines, load_sounddevice
    from ..signals import ending_sets
    from .separate.queries import queries_from

    if devices:
        print("\n".join(device_lines(load_sounddevice())))
        return
    queries = queries_from([query] if query else [], query_image or [], query_audio or [])
    if len(queries) != 1:
        raise ValueError(
            "say which one sound to hear: -q 'a voice', or examples of it by --query-audio or "
            "--query-image"
        )
    places = Places(input_file, output_file, input_device, output_device, overwrite)
    ends = check_places(places)
    loaded = ModelChoice(model, device, runtime, precision, settings=tuple(settings or ())).load()
    show_readings(loaded, queries)
    stop = threading.Event()
    with ending_sets(stop):
        separate_live(loaded, queries[0], places, ends, stop, chunk_seconds, seconds)
