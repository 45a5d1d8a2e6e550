"""`qsep separate`: the sounds that queries name, each in a separate file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from qsep.separation import DEFAULT_MODEL

from ...errors import print_error
from ...inference.timing import timed
from ..options import (
    SOME_FAILED,
    AllowOutsideOption,
    DeviceOption,
    ModelOption,
    OverwriteOption,
    PrecisionOption,
    RuntimeOption,
    SetOption,
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
from .options import (
    CandidatesOption,
    ConsistentOption,
    ExclusiveOption,
    FormatOption,
    InputsArgument,
    JsonOption,
    JudgeOption,
    MinLevelOption,
    MinSimilarityOption,
    MixWeightOption,
    MonoOption,
    NameOption,
    NanOption,
    NegativeOption,
    NotSpanOption,
    OutOption,
    QueryAudioOption,
    QueryImageOption,
    QueryOption,
    QuietOption,
    ResidualOption,
    SalvageOption,
    SpanOption,
    StrictOption,
)

if TYPE_CHECKING:
    from qsep.separation.api import Model
    from qsep.separation.light.model import LightModel

    from ...inference.bulk.separating import SeparateWork

logger = logging.getLogger("qsep")


def separate(
    inputs: InputsArgument = None,
    query: QueryOption = None,
    query_image: QueryImageOption = None,
    query_audio: QueryAudioOption = None,
    mix_weight: MixWeightOption = None,
    negative: NegativeOption = None,
    span: SpanOption = None,
    not_span: NotSpanOption = None,
    exclusive: ExclusiveOption = False,
    consistent: ConsistentOption = False,
    candidates: CandidatesOption = 1,
    judge: JudgeOption = "embedding",
    out: OutOption = Path("."),
    residual: ResidualOption = False,
    model: ModelOption = DEFAULT_MODEL,
    settings: SetOption = None,
    device: DeviceOption = "auto",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "fp32",
    strict: StrictOption = False,
    min_similarity: MinSimilarityOption = None,
    min_level: MinLevelOption = None,
    mono: MonoOption = False,
    nan: NanOption = "refuse",
    salvage: SalvageOption = False,
    name: NameOption = None,
    file_format: FormatOption = None,
    quiet: QuietOption = False,
    overwrite: OverwriteOption = False,
    json_output: JsonOption = False,
    listing: FromOption = None,
    allow_outside: AllowOutsideOption = False,
    skip_existing: SkipExistingOption = False,
    shard: ShardOption = None,
    workers: WorkersOption = 1,
    ray: RayOption = None,
) -> None:
    """Extract the sounds that the queries name from recordings.

    Writes STEM.QUERY.wav (and STEM.QUERY.residual.wav, or STEM.residual.wav if exclusive) in the recording's
    own sample rate, channels, length and sample format; target and residual sum to the recording.
    """
    from qsep.separation.audio.source import ReadOptions

    from ...inference.bulk.separating import ModelChoice, SeparateWork
    from ...inference.heap import MANY_QUERIES, return_large_blocks
    from ...inference.output import Output, bulk_naming, output_from
    from ...inference.pipes import PIPE
    from .queries import constraints_from, queries_from, words_last

    inputs, words = words_last(inputs or [], bool(query or query_image or query_audio))
    queries = queries_from(query or words, query_image or [], query_audio or [], mix_weight)
    bulk = BulkOptions(listing, allow_outside, skip_existing, shard, workers, ray)
    if not (inputs or bulk.listing):
        raise ValueError("no recording: name one, a folder, or a list with --from")
    if not (queries or bulk.listing):
        raise ValueError("no query: say which sound to extract, as -q 'a dog barking'")
    constraints = constraints_from(
        queries, negative or [], span or [], not_span or [], exclusive, consistent
    )
    if json_output and out == PIPE:
        raise ValueError("--json and -o - both write to standard output: choose one")
    if min_level is not None and (exclusive or out == PIPE):
        other = "--exclusive" if exclusive else "-o -"
        raise ValueError(f"{other} needs every target: leave --min-level out")
    quiet = quiet or out == PIPE
    if quiet:
        logger.setLevel(logging.ERROR)
    inputs = list(dict.fromkeys(inputs))
    in_bulk = bulk.are_wanted(inputs)
    num_results = len(queries) + residual if exclusive else len(queries) * (1 + residual)
    if in_bulk:
        folder, naming = out, bulk_naming(out, name, file_format)
    else:
        folder, naming = output_from(out, name, file_format, len(inputs) * num_results)
    work = SeparateWork(
        ModelChoice(model, device, runtime, precision, candidates, judge, tuple(settings or ())),
        tuple(queries),
        constraints,
        Output(folder, residual, naming, overwrite, json_output, quiet),
        strict,
        min_similarity,
        ReadOptions(nan, salvage, mono),
        min_level,
    )
    if len(queries) > MANY_QUERIES:
        return_large_blocks()
    if in_bulk:
        separate_in_bulk(work, inputs, bulk)
    else:
        separate_inputs(work, inputs, num_results)


def separate_inputs(work: SeparateWork, inputs: Sequence[Path], num_results: int) -> None:
    """Separate a few recordings, or standard input; exit with SOME_FAILED if some failed.

    num_results: of each recording. Raises ValueError for everything that is refused before any work.
    """
    from qsep.separation.audio.file_names import DEFAULT_NAMING
    from qsep.separation.audio.source import AS_STORED, AudioError

    from ...inference.batch import check_jobs, separate_files
    from ...inference.pipes import PIPE, names_of, passed_through, real_paths

    output, consumed = work.output, b""
    model: Model | LightModel | None = None
    from_pipe_to_pipe = list(inputs) == [PIPE] and output.folder == PIPE and num_results == 1
    as_they_come = output.naming == DEFAULT_NAMING and work.read_options == AS_STORED
    if from_pipe_to_pipe and as_they_come and find_spec("torch"):
        model = streaming = work.model.load()
        check_work(work, streaming)
        try:
            unread = passed_through(streaming, work.queries[0], work.constraints)
        except AudioError as error:
            print_error(error)
            sys.exit(SOME_FAILED)
        if unread is None:
            return
        consumed = unread
    with real_paths(inputs, output.folder, num_results, consumed) as (recordings, folder):
        output = replace(output, folder=folder)
        results = check_jobs(recordings, work.queries, output, work.constraints.exclusive)
        model = model or load_model(work)
        if not separate_files(
            *(model, recordings, work, results, output),
            names_of(inputs, recordings),
        ):
            sys.exit(SOME_FAILED)


def separate_in_bulk(work: SeparateWork, inputs: Sequence[Path], options: BulkOptions) -> None:
    """Separate many recordings, with a manifest; exit with SOME_FAILED if some failed."""
    jobs, others = jobs_for(inputs, work.output, options)
    for job in jobs:
        if not work.queries_of(job):
            raise ValueError(
                f"{job.path} has no query in the list: add one there, or give -q for all"
            )
    model = work.load()
    check_work(work, model)
    run_in_bulk(work, model, jobs, others, options)


def load_model(work: SeparateWork) -> Model | LightModel:
    """The model, one without PyTorch if that suffices; with --verbose, says what is used."""
    from qsep.separation.light.choice import light_model

    choice = work.model
    with timed("loading the model took"):
        model: Model | LightModel | None = None
        if not choice.settings:
            model = light_model(
                *(choice.name, work.queries, work.constraints, choice.device, choice.runtime),
                *(choice.precision, choice.candidates),
            )
        model = model or choice.load()
    logger.info(
        "%s from %s, on %s at %d Hz",
        *(model.name, model.source, model.device, model.separator.sample_rate),
    )
    check_work(work, model)
    return model


def check_work(work: SeparateWork, model: Model | LightModel) -> None:
    """Refuse or warn about queries that the model does not accept or know, see `check_queries`."""
    from ...inference.readings import check_queries

    described = [*work.queries, *work.constraints.negatives]
    show = not (work.output.json or work.output.quiet)
    check_queries(model, described, work.strict, work.min_similarity, show)
