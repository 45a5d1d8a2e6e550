"""Scoring an estimator on a set of items: items.csv row by row, summary.json from the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from qsep.queries.files.json_files import json_content
from qsep.separation.storage.results import Results

from .baselines import baseline_rows
from .estimators.model import as_estimator
from .interface import Estimator, ItemSet, TextSeparator
from .measuring import Measuring
from .metrics.perceptual import AudioEmbedder
from .metrics.statistics import Statistics, describe_families, describe_groups, describe_rows
from .report.audio_examples import keep_extremes
from .rows import as_line, read_rows, write_rows
from .scores import METRICS, SDRS, SILENT, Row
from .workers import Progress, in_parallel


@dataclass(frozen=True)
class RunIdentity:
    """Everything that must match for a run to be resumed in a folder.

    baselines: whether they are scored; embedding: fingerprint of the audio embedding, or "".
    """

    model: str
    model_fingerprint: str
    manifest: str
    manifest_sha256: str
    condition: str
    items_fingerprint: str
    baselines: bool = False
    embedding: str = ""


@dataclass(frozen=True)
class Summary:
    """Averages of a run, as written to summary.json.

    overall: statistics by metric. labels, families, settings, baselines: the same for each of these, by
    name. failed: errors by item id. num_silent: how many targets and estimates are silent.
    frechet_distance: of all estimates to all targets, with an audio embedding. published: the figures that
    the protocol's publication reports, averaged as it averages them; unconfirmed: what of that could not
    be verified.
    """

    run: RunIdentity
    num_items: int
    num_scored: int
    num_failed: int
    failed: Mapping[str, str]
    overall: Mapping[str, Statistics]
    labels: Mapping[str, Mapping[str, Statistics]]
    settings: Mapping[str, Mapping[str, Statistics]] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Statistics]] = field(default_factory=dict)
    num_silent: Mapping[str, int] = field(default_factory=dict)
    frechet_distance: float | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    families: Mapping[str, Mapping[str, Statistics]] = field(default_factory=dict)
    unconfirmed: str = ""


def evaluate(
    model: TextSeparator | Estimator | str,
    items: ItemSet,
    out_dir: Path,
    overwrite: bool = False,
    workers: int = 1,
    baselines: bool = False,
    embedder: AudioEmbedder | None = None,
    keep_audio: int = 0,
) -> Summary:
    """Score every item and write out_dir/items.csv and out_dir/summary.json.

    An interrupted run is resumed: rows in items.csv are kept, items that failed are tried again. An item
    that fails is listed in `failed` and does not stop the others.
    overwrite: discard the run that the folder holds. workers: items scored in parallel; scores do not
    depend on it. baselines: score BASELINES beside the model. embedder: adds EMBEDDED and the Fréchet
    distance. keep_audio: save so many of the best and of the worst items in out_dir/audio.
    Raises ValueError for an unknown model name, or a folder that holds another run or other files.
    """
    if workers < 1 or keep_audio < 0:
        raise ValueError(f"expected workers >= 1 and keep_audio >= 0, got {workers}, {keep_audio}")
    estimator = items.publication.set_up(as_estimator(model))
    identity = RunIdentity(
        estimator.name,
        estimator.fingerprint,
        items.name,
        items.manifest_sha256,
        items.condition,
        items.fingerprint,
        baselines,
        embedder.fingerprint if embedder else "",
    )
    rows_path, summary_path = out_dir / "items.csv", out_dir / "summary.json"
    results = Results(out_dir, "evaluate")
    if overwrite:
        results.remove(results.entries)
    results.claim(rows_path.name, summary_path.name)
    rows = _resume(rows_path, summary_path, identity)
    # The identity is written before items.csv, so that a run that is killed here can be recognised.
    _write(results, summarise(identity, items, rows, {}))
    results.grow(rows_path.name)
    # Rewritten with its header and without the incomplete row that a killed run may leave.
    write_rows(rows_path, rows.values())
    measure = Measuring(
        estimator, items, baselines, embedder, out_dir / "embeddings", results.commit
    )
    failed = _add_rows(rows_path, rows, items.ids, measure, workers)
    done = [index for index, item_id in enumerate(items.ids) if item_id in rows]
    ordered = [rows[items.ids[index]] for index in done]
    write_rows(rows_path, ordered)  # in the order of items, for any number of workers
    summary = summarise(identity, items, rows, failed, measure.frechet_distance(done))
    _write(results, summary)
    if keep_audio:
        keep_extremes(estimator, items, ordered, results, keep_audio)
    return summary


def _add_rows(
    rows_path: Path, rows: dict[str, Row], ids: Sequence[str], measure: Measuring, workers: int
) -> dict[str, str]:
    """Score the items without a row, adding to `rows` and the file; returns errors by item id."""
    failed: dict[str, str] = {}
    waiting = [index for index, item_id in enumerate(ids) if item_id not in rows]
    with (
        rows_path.open("a", newline="", encoding="utf-8") as file,
        Progress(len(ids), len(rows)) as show,
        closing(
            in_parallel(measure, waiting, workers)
        ) as outcomes,  # stops workers on an interrupt
    ):
        for index, outcome in outcomes:
            if isinstance(outcome, Exception):  # any error: one bad item must not stop the others
                failed[ids[index]] = f"{type(outcome).__name__}: {outcome}"
            else:
                file.write(as_line(outcome))
                file.flush()
                rows[ids[index]] = outcome
            show(len(failed))
    return failed


def summarise(
    identity: RunIdentity,
    items: ItemSet,
    rows: Mapping[str, Row],
    failed: Mapping[str, str],
    distance: float | None = None,
) -> Summary:
    """The averages of a run. rows: by item id; distance: the Fréchet distance.

    Rows are taken in the order of items, not of scoring: the bootstrap depends on it.
    """
    ordered = [rows[item_id] for item_id in items.ids if item_id in rows]
    baselines = baseline_rows(ordered)
    varied = [row for row in ordered if row["setting"]]
    settings = describe_groups(varied, METRICS, "setting")
    return Summary(
        run=identity,
        num_items=len(items.ids),
        num_scored=len(ordered),
        num_failed=len(failed),
        failed=dict(sorted(failed.items())),
        overall=describe_rows(ordered, METRICS),
        labels=describe_groups(ordered, METRICS, "label"),
        settings={name: settings[name] for name in dict.fromkeys(row["setting"] for row in varied)},
        baselines={name: describe_rows(scores, SDRS) for name, scores in baselines.items()},
        num_silent={signal: sum(signal in row["silent"] for row in ordered) for signal in SILENT},
        frechet_distance=distance,
        published=items.publication.average(ordered),
        families=describe_families(ordered, METRICS, items.families),
        unconfirmed=items.publication.unconfirmed,
    )


def _resume(rows_path: Path, summary_path: Path, identity: RunIdentity) -> dict[str, Row]:
    """The rows of this run by item id; ValueError if the folder holds another run."""
    remedy = "choose another folder or overwrite it"
    if summary_path.exists():
        try:
            stored = json_content(summary_path)["run"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{summary_path} is not a summary of a run; {remedy}") from None
        differing = [key for key, value in asdict(identity).items() if stored.get(key) != value]
        if differing:
            raise ValueError(
                f"{summary_path.parent} holds another run "
                f"(different {', '.join(differing).replace('_', ' ')}); {remedy}"
            )
    elif rows_path.exists():
        raise ValueError(f"{rows_path} has no summary.json beside it; {remedy}")
    return {row["id"]: row for row in read_rows(rows_path)}


def _write(results: Results, summary: Summary) -> None:
    results.write_text(
        "summary.json", json.dumps(asdict(summary), indent=1, allow_nan=False) + "\n"
    )
