"""The work of `qsep separate` in a bulk run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from qsep.queries.constraints import Constraints
from qsep.queries.interface import Query, TextQuery
from qsep.separation.audio.source import AS_STORED, ReadOptions
from qsep.separation.storage.results import Results

from ..batch import print_result, remove_omitted
from ..output import Output
from ..readings import refuse_unknown
from .jobs import Job
from .manifest import Row, outputs_of
from .work import Runner, attempt, digest_of

if TYPE_CHECKING:
    from qsep.separation.api import Model


@dataclass(frozen=True)
class ModelChoice:
    """A model by its name in the command, and how to run it. settings: see `changes_of`."""

    name: str
    device: str = "auto"
    runtime: str = "torch"
    precision: str = "fp32"
    candidates: int = 1
    judge: str = "embedding"
    settings: tuple[str, ...] = ()

    def load(self) -> Model:
        """The model, on its device; the runtime "auto" is PyTorch."""
        from qsep.separation.api import load

        from ..model_settings import changes_of

        runtime = "torch" if self.runtime == "auto" else self.runtime
        changes = changes_of(self.settings)
        model = load(self.name, self.device, runtime, self.precision, changes)
        return model.best_of_n(self.candidates, self.judge)


@dataclass(frozen=True)
class SeparateWork:
    """Separation with a model. queries: of recordings without their own.

    strict, min_similarity: which words to refuse. min_level_db: see `separate_file`.
    """

    command: ClassVar[str] = "separate"
    model: ModelChoice
    queries: tuple[Query, ...]
    constraints: Constraints
    output: Output
    strict: bool = False
    min_similarity: float | None = None
    read_options: ReadOptions = AS_STORED
    min_level_db: float | None = None

    def remaining_queries(self, job: Job) -> list[Query]:
        """The queries still to do for a recording; ValueError for an empty one."""
        queries = [TextQuery(words) for words in job.queries] or self.queries
        return [query for query in queries if job.only is None or query.name in job.only]

    def queries_of(self, job: Job) -> Sequence[str]:
        """The names of a recording's queries: their words, or names of examples."""
        return job.only or job.queries or tuple(query.name for query in self.queries)

    @property
    def together(self) -> bool:
        """Whether a recording's queries have to be separated together."""
        return self.constraints.exclusive

    def files_of(self, job: Job, query: str) -> list[str]:
        """The files of a query's results, relative to the run's folder."""
        names = self.output.naming.result_names(
            Path(job.path).stem, query, self.output.residual, self.constraints.exclusive
        )
        return [(Path(job.folder) / name).as_posix() for name in names]

    def settings(self, model: Model) -> str:
        """See `ModelWork`."""
        examples = [repr(query) for query in self.queries if not isinstance(query, TextQuery)]
        output = self.output
        form = [output.residual, asdict(output.naming)]
        changed = self.read_options.plain()
        if self.min_level_db is not None:
            changed["min_level_db"] = self.min_level_db
        return digest_of([model.fingerprint, examples, self.constraints.plain(), form], changed)

    def about(self) -> Row:
        """See `ModelWork`."""
        return {"queries": [query.name for query in self.queries]}

    def show(self, row: Row) -> None:
        """See `ModelWork`."""
        print_result(row)

    def load(self) -> Model:
        """See `ModelWork`."""
        return self.model.load()

    def model_of(self, loaded: Model) -> Model:
        """See `ModelWork`."""
        return loaded

    def start(self) -> Runner:
        """See `Work.start`."""
        return self.runner(self.load())

    def runner(self, model: Model) -> Runner:
        """See `ModelWork`."""
        from qsep.separation.api import files

        results = Results(self.output.folder, self.command, shared=True)
        settings = self.settings(model)
        if self.queries:
            model.prepare_queries([*self.queries, *self.constraints.negatives])

        def run(job: Job) -> list[Row]:
            def separate(path: Path) -> list[Row]:
                queries = self.remaining_queries(job)
                if job.queries:
                    refuse_unknown(model, queries, self.strict, self.min_similarity)
                rows = files.separate_file(
                    model,
                    path,
                    queries,
                    results.folder / job.folder,
                    self.output.residual,
                    None,
                    self.constraints,
                    results.commit_all,
                    self.output.naming,
                    self.read_options,
                    self.min_level_db,
                )
                return [row_of(row, results, model.name) for row in rows]

            return attempt(job, self.queries_of(job), settings, separate)

        return run


def row_of(row: Row, results: Results, model: str) -> Row:
    """A row of `separate_file` in the form of a manifest."""
    outputs = outputs_of(results, ".", [Path(file) for file in row["files"]])
    remove_omitted(row, results)
    rest = {key: value for key, value in row.items() if key not in ("input", "files")}
    return {"outputs": outputs, "model": model, "reading": None} | rest
