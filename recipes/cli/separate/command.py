"""`qsep separate`: the sounds that queries name, each in a file of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from qsep.separation import DEFAULT_MODEL

from ..options import (
    SOME_FAILED,
    DeviceOption,
    ModelOption,
    OverwriteOption,
    PrecisionOption,
    RuntimeOption,
)
from ..timing import timed
from .bulk import (
    AllowOutsideOption,
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
    MinSimilarityOption,
    MixWeightOption,
    NameOption,
    NegativeOption,
    NotSpanOption,
    OutOption,
    QueryAudioOption,
    QueryImageOption,
    QueryOption,
    QuietOption,
    ResidualOption,
    SpanOption,
    StrictOption,
)

if TYPE_CHECKING:
    from qsep.queries.interface import Constraints, Query
    from qsep.separation.api import Model
    from qsep.separation.light.model import LightModel

    from ...inference.bulk.separating import ModelChoice, SeparateWork

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
    device: DeviceOption = "auto",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "fp32",
    strict: StrictOption = False,
    min_similarity: MinSimilarityOption = None,
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
    from qsep.separation.audio.file_names import DEFAULT_NAMING

    from ...inference.batch import check_jobs, separate_files
    from ...inference.bulk.separating import ModelChoice, SeparateWork
    from ...inference.output import Output, bulk_naming, place_from
    from ...inference.pipes import PIPE, Pipes, passed_through
    from .queries import constraints_from, queries_from, words_last
    from .readings import check_queries

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
    quiet = quiet or out == PIPE
    if quiet:
        logger.setLevel(logging.ERROR)
    if bulk.are_wanted(inputs):
        naming = bulk_naming(out, name, file_format)
        output = Output(out, residual, naming, overwrite, json_output, quiet)
        choice = ModelChoice(model, device, runtime, precision, candidates, judge)
        work = SeparateWork(choice, tuple(queries), constraints, output, strict, min_similarity)
        separate_in_bulk(work, inputs, bulk)
        return
    inputs = list(dict.fromkeys(inputs))
    num_results = len(queries) + residual if exclusive else len(queries) * (1 + residual)
    folder, naming = place_from(out, name, file_format, len(inputs) * num_results)
    consumed: bytes | None = b""
    loaded: Model | None = None
    choice = ModelChoice(model, device, runtime, precision, candidates, judge)
    through = inputs == [PIPE] and folder == PIPE and num_results == 1 and naming == DEFAULT_NAMING
    if through and find_spec("torch"):
        loaded = choice.load()
        described = [*queries, *constraints.negatives]
        check_queries(loaded, described, strict, min_similarity, False)
        consumed = passed_through(loaded, queries[0], constraints)
        if consumed is None:
            return
    with Pipes(inputs, folder, num_results, consumed or b"") as pipes:
        output = Output(pipes.out, residual, naming, overwrite, json_output, quiet)
        results = check_jobs(pipes.inputs, queries, output, exclusive)
        separator = loaded or load_model(choice, queries, constraints)
        described = [*queries, *constraints.negatives]
        check_queries(separator, described, strict, min_similarity, not (json_output or quiet))
        if not separate_files(separator, pipes.inputs, queries, results, output, constraints):
            sys.exit(SOME_FAILED)


def separate_in_bulk(work: SeparateWork, inputs: Sequence[Path], options: BulkOptions) -> None:
    """Separate many recordings, with a manifest; exit with SOME_FAILED if some failed."""
    from ...inference.batch import print_result
    from .readings import check_queries

    output = work.output
    jobs = jobs_for(inputs, output, options)
    for job in jobs:
        if not work.queries_of(job):
            raise ValueError(
                f"{job.path} has no query in the list: add one there, or give -q for all"
            )
    model = work.model.load()
    described = [*work.queries, *work.constraints.negatives]
    show = not (output.json or output.quiet)
    check_queries(model, described, work.strict, work.min_similarity, show)
    run_in_bulk(
        *(work, jobs, lambda: work.runner(model), work.settings(model)),
        about={"model": model.name, "queries": [query.name for query in work.queries]},
        output=output,
        options=options,
        command="separate",
        say=print_result,
    )


def load_model(
    choice: ModelChoice, queries: Sequence[Query], constraints: Constraints
) -> Model | LightModel:
    """The model, without PyTorch where that does all that is asked for; with --verbose, says which it is and
    how long loading took."""
    from qsep.separation.light.choice import light_model

    with timed("loading the model took"):
        model: Model | LightModel | None = light_model(
            *(choice.name, queries, constraints, choice.device, choice.runtime),
            *(choice.precision, choice.candidates),
        )
        model = model or choice.load()
    logger.info(
        "%s from %s, on %s at %d Hz",
        *(model.name, model.source, model.device, model.separator.sample_rate),
    )
    return model
