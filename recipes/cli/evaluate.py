"""`qsep evaluate` scores a model; `qsep report` compares such runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qsep.separation import DEFAULT_MODEL

from ..errors import one_line
from .completion import model_names, protocol_names
from .options import (
    NUM_CPUS,
    SOME_FAILED,
    AllowOutsideOption,
    DeviceOption,
    PrecisionOption,
    RuntimeOption,
    SetOption,
    as_pairs,
)

if TYPE_CHECKING:
    from qsep.evaluation.metrics.perceptual import EncoderEmbedder
    from qsep.separation.api import Model

TRIAL_RATE = 48000  # of the second of noise that is embedded before any work, in Hz

DataOption = Annotated[Path, typer.Option(help="Folder with the protocol's recordings.")]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder of the run; a run that it already holds is continued. Default: "
        "scores/PROTOCOL-MODEL-CONDITION.",
    ),
]
ManifestOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV file that lists the items, or the name of one of the protocol's, as dev-3 of "
        "sounds150. Default: the protocol's own list."
    ),
]
EstimatorOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        autocompletion=model_names,
        help="Name, folder or ORG/NAME of a model, or a baseline: mixture, ibm, irm, psm.",
    ),
]
ConditionOption = Annotated[
    str,
    typer.Option(
        help="plain, or a harder one: templates, negation, absent, snr-sweep, num-sources, same-family, "
        "clipped, coloured; for sounds150 and sounds21 also wordings, examples, absent-wordings."
    ),
]
WorkersOption = Annotated[
    int, typer.Option(min=1, help="Items scored at the same time; the scores do not depend on it.")
]
BaselinesOption = Annotated[
    bool, typer.Option(help="Also score the mixture, ideal masks and wrong queries.")
]
EmbeddingOption = Annotated[
    str | None,
    typer.Option(
        help="clap:model=FOLDER, or another encoder that reads recordings. Adds the similarity to the "
        "text (CLAP score) and to the target, and the Fréchet audio distance."
    ),
]
KeepAudioOption = Annotated[
    int,
    typer.Option(min=0, help="Keep the audio of this many best and worst items for the report."),
]
BackendOption = Annotated[
    str | None,
    typer.Option(help="What computes BSSEval, in protocols that use it: qsep or museval."),
]
BinaryOption = Annotated[
    bool, typer.Option("--binary", help="Round masks to 0 and 1 (protocol clipsep).")
]


def evaluate(
    protocol: Annotated[
        str,
        typer.Argument(
            help="Which mixtures and queries to score on, as sounds21.",
            autocompletion=protocol_names,
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="The protocol's own settings.", metavar="[KEY=VALUE]..."),
    ] = None,
    *,
    data: DataOption,
    out: OutOption = None,
    manifest: ManifestOption = None,
    model: EstimatorOption = DEFAULT_MODEL,
    model_settings: SetOption = None,
    condition: ConditionOption = "plain",
    device: DeviceOption = "auto",
    runtime: RuntimeOption = "torch",
    precision: PrecisionOption = "fp32",
    workers: WorkersOption = NUM_CPUS,
    baselines: BaselinesOption = True,
    embedding: EmbeddingOption = None,
    keep_audio: KeepAudioOption = 10,
    backend: BackendOption = None,
    binary: BinaryOption = False,
    allow_outside: AllowOutsideOption = False,
    overwrite: Annotated[bool, typer.Option(help="Discard what the folder holds.")] = False,
) -> None:
    """Score a model under a named protocol: one row per item in items.csv, means in summary.json."""
    from qsep.evaluation.protocols import load_items
    from qsep.evaluation.report.write import text_table
    from qsep.evaluation.run import evaluate as run
    from qsep.separation.storage.exclusive import alone_in
    from qsep.separation.storage.listed_paths import outside_allowed

    pairs = as_pairs(settings or [])
    if backend:
        pairs["backend"] = backend
    if binary:
        pairs["masks"] = "hard"
    embedder = load_embedder(embedding) if embedding else None  # first, since it may be refused
    with outside_allowed(allow_outside):
        items = load_items(protocol, data, manifest, condition, pairs)
    out = out or Path("scores", f"{protocol}-{Path(model).resolve().name}-{condition}")
    estimator = load_estimator(model, device, runtime, precision, model_settings or [])
    with alone_in(out):
        summary = run(
            estimator,
            items,
            out,
            overwrite=overwrite,
            workers=workers,
            baselines=baselines,
            embedder=embedder,
            keep_audio=keep_audio,
        )
    print(text_table(summary))
    if summary.num_failed:
        sys.exit(SOME_FAILED)


def load_estimator(
    model: str, device: str, runtime: str, precision: str, settings: Sequence[str] = ()
) -> Model | str:
    """The model with these settings changed, or the name of a baseline, which is its own estimator.

    Raises ValueError for settings of a baseline.
    """
    from qsep.evaluation.estimators.ideal_masks import ESTIMATORS

    from ..inference.model_settings import changes_of

    if model in ESTIMATORS:
        if settings:
            raise ValueError(f"--set {settings[0]}: the baseline {model} has no settings")
        return model
    from qsep.separation.api import load

    # A protocol may query absent or unknown sounds on purpose: no warnings about them.
    logging.getLogger("qsep").setLevel(logging.ERROR)
    return load(model, device, runtime, precision, changes_of(settings))


def load_embedder(description: str) -> EncoderEmbedder:
    """The encoder that KIND or KIND:KEY=VALUE,KEY=VALUE… describes, with its weights loaded.

    Raises ValueError for an unknown one, one that reads no recordings, and one that cannot be loaded.
    """
    import numpy as np

    from qsep.evaluation.metrics.perceptual import EncoderEmbedder
    from qsep.separation.components import build_encoder

    kind, _, settings = description.partition(":")
    encoder = build_encoder(kind, as_pairs(settings.split(",") if settings else []))
    embedder = EncoderEmbedder(encoder)
    trial = np.random.default_rng(0).uniform(-0.1, 0.1, TRIAL_RATE).astype(np.float32)
    try:
        embedder.embed_audio(trial, TRIAL_RATE)  # weights are loaded at the first use
    except Exception as error:  # whatever a library raises
        raise ValueError(f"--embedding {description}: {one_line(error)}") from error
    return embedder


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of 'qsep evaluate'.", metavar="RUN...")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="FILE.html, FILE.md or FILE.csv.")],
) -> None:
    """Compare runs: confidence intervals, paired differences, plots, best and worst items."""
    from qsep.evaluation.report.comparison import read_runs
    from qsep.evaluation.report.write import write_report

    write_report(read_runs(runs), out)
    print(f"report: {out}")
