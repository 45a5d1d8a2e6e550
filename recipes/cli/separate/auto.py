"""`qsep auto`: every sound of a recording in a separate file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qsep.separation import DEFAULT_MODEL

from ..options import (
    SOME_FAILED,
    AllowOutsideOption,
    DeviceOption,
    ModelOption,
    OverwriteOption,
)
from .bulk import (
    BulkOptions,
    FromOption,
    RayOption,
    ShardOption,
    SkipExistingOption,
    WorkersOption,
    jobs_for,
    run_in_bulk,
)
from .options import FormatOption, MonoOption, NameOption, NanOption, SalvageOption

if TYPE_CHECKING:
    from ...inference.bulk.detecting import AutoWork


def auto(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Recordings to search, or folders of them.", metavar="INPUT..."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("."),
    model: ModelOption = DEFAULT_MODEL,
    tagger: Annotated[
        Path | None,
        typer.Option(
            help="To detect AudioSet's classes: yamnet (of the extra yamnet), or Cnn14_mAP=0.431.pth of "
            "PANNs or its folder. Default: the model detects the classes that it was trained on."
        ),
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(
            help="Level of AudioSet's hierarchy: 1 for its seven roots, 2, 3 … below them, or leaf "
            "(default) for the most specific classes. Repeatable."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1, help="Probability from which a class counts as present."),
    ] = None,
    mono: MonoOption = False,
    nan: NanOption = "refuse",
    salvage: SalvageOption = False,
    name: NameOption = None,
    file_format: FormatOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per recording.")
    ] = False,
    listing: FromOption = None,
    allow_outside: AllowOutsideOption = False,
    skip_existing: SkipExistingOption = False,
    shard: ShardOption = None,
    workers: WorkersOption = 1,
    ray: RayOption = None,
) -> None:
    """Detect the sounds of recordings and write each to a separate file; no query is needed.

    Writes STEM.SOUND.wav in the recording's own sample rate, channels, length and sample format,
    STEM.auto.json with what was detected and when, and a timeline as STEM.auto.png.
    """
    from qsep.separation.audio.source import ReadOptions

    from ...inference.auto import Task, check_inputs, parse_levels, separate_all
    from ...inference.bulk.detecting import AutoWork
    from ...inference.output import Output, is_file_name, naming_from

    if is_file_name(out):
        raise ValueError(f"-o {out} is a file: 'qsep auto' writes several, so give -o a folder")
    bulk = BulkOptions(listing, allow_outside, skip_existing, shard, workers, ray)
    inputs = list(dict.fromkeys(inputs or []))
    if not (inputs or bulk.listing):
        raise ValueError("no recording: name one, a folder, or a list with --from")
    naming = naming_from(name, file_format)
    output = Output(out, naming=naming, overwrite=overwrite, json=json_output)
    levels, read_options = parse_levels(level or ["leaf"]), ReadOptions(nan, salvage, mono)
    if bulk.are_wanted(inputs):
        work = AutoWork(model, device, tagger, threshold, levels, output, read_options)
        detect_in_bulk(work, inputs, bulk)
        return
    task = Task(output, levels, read_options)
    check_inputs(inputs, task)

    from qsep.separation.api import load
    from qsep.separation.detection.nodes import NodeSeparator

    separator = NodeSeparator(load(model, device), tagger, threshold)
    if not separate_all(separator, inputs, task):
        sys.exit(SOME_FAILED)


def detect_in_bulk(work: AutoWork, inputs: Sequence[Path], options: BulkOptions) -> None:
    """Many recordings, with a manifest: exits with SOME_FAILED if some failed."""
    naming = work.output.naming
    if "{stem}" not in naming.template:
        raise ValueError(f"--name {naming.template!r}: needs {{stem}} for several recordings")
    jobs, others = jobs_for(inputs, work.output, options)
    for job in jobs:
        if job.queries:
            raise ValueError(f"{job.path} has a query in the list, and qsep auto takes none")
    run_in_bulk(work, work.load(), jobs, others, options)
