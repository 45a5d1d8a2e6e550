"""The options of `qsep separate`, as types of its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

InputsArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Recordings, or folders of them; - reads one from standard input. A single recording "
        "may be followed by the query in words.",
        metavar="INPUT...",
    ),
]
QueryOption = Annotated[
    list[str] | None,
    typer.Option("--query", "-q", help="The sound to extract, in words. Repeatable."),
]
QueryImageOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="A picture of what makes the sound. Repeatable: all pictures form one query."
    ),
]
QueryAudioOption = Annotated[
    list[Path] | None,
    typer.Option(help="A recording of such a sound. Repeatable: all recordings form one query."),
]
MixWeightOption = Annotated[
    float | None,
    typer.Option(
        help="Add the pictures and recordings to every -q with this weight (0 to 1), instead of "
        "using them as queries of their own."
    ),
]
NegativeOption = Annotated[
    list[str] | None,
    typer.Option(help="A sound to keep out of the results, in words. Repeatable."),
]
SpanOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Extract only within this time: 3.2-5.0 (seconds), 0:03-1:05, or 3.2- to the end. "
        "Repeatable."
    ),
]
NotSpanOption = Annotated[
    list[str] | None, typer.Option(help="Extract nothing within this time. Repeatable.")
]
ExclusiveOption = Annotated[
    bool,
    typer.Option(
        help="Make the targets mutually exclusive: all targets and one common residual sum to the "
        "recording."
    ),
]
ConsistentOption = Annotated[
    bool,
    typer.Option(
        help="Replace a generative model's output by the ratio-masked recording, so that target "
        "and residual sum to it."
    ),
]
CandidatesOption = Annotated[
    int, typer.Option(min=1, help="Generative models: draw this many samples, keep the best.")
]
JudgeOption = Annotated[
    str, typer.Option(help="How the best sample is chosen: embedding or consistency.")
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the results. With a single result also a file, as dog.wav, or - for standard "
        "output.",
    ),
]
ResidualOption = Annotated[
    bool, typer.Option(help="Also write the residual: the recording minus the target.")
]
StrictOption = Annotated[
    bool, typer.Option(help="Refuse queries for sounds that the model does not know.")
]
MinSimilarityOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Refuse queries whose cosine similarity to the model's nearest phrase is lower.",
    ),
]
NanOption = Annotated[
    str,
    typer.Option(
        help="Recordings with NaN or infinite samples: refuse them, or set such samples to zero, with a "
        "warning that counts them.",
        metavar="refuse|zero",
    ),
]
SalvageOption = Annotated[
    bool,
    typer.Option(
        "--salvage",
        help="Read what can be decoded of damaged recordings, with silence in the gaps and a warning.",
    ),
]
MonoOption = Annotated[
    bool, typer.Option("--mono", help="Mix each recording down to one channel first.")
]
MinLevelOption = Annotated[
    float | None,
    typer.Option(
        "--min-level",
        "--min-score",
        metavar="DB",
        help="Do not write targets of a lower level, in dB of the recording: with -20 those that are "
        "likely not there.",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="File names of the results, with the fields {stem}, {query}, {index} (of the query) and "
        "{ext}. Default: {stem}.{query}.{ext}.",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Format of the results: wav (default), flac, aiff, ogg, opus or mp3. In the last three, "
        "which are lossy, target and residual do not sum to the recording exactly.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object per recording and query."),
]
