"""One estimator over one set of items: items.csv as it goes, summary.json from its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qsep.separation.checkpoint import write_atomically

from .baselines import baseline_rows, draw_query, score_baselines
from .interface import Estimator, Item, ItemSet, TextSeparator
from .listening import keep_extremes
from .oracle import named_estimator
from .perceptual import AudioEmbedder, distance_of_run, embedded_scores
from .published import PublishedItems
from .robustness import Suite
from .rows import as_line, read_rows, write_rows
from .scores import METRICS, SDRS, SILENT, Row, checked, score
from .statistics import Statistics, describe_groups, describe_rows
from .workers import Progress, in_parallel


@dataclass(frozen=True)
class RunIdentity:
    """What must be equal for two runs to share a folder.

    baselines: whether they are measured; embedding: fingerprint of the audio embedding, or "".
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
    """overall: per metric; labels, settings, baselines: per such one, per metric.

    failed: item id to its error. num_silent: how many targets and estimates are silent.
    frechet_distance: of all estimates to all targets, where there is an audio embedding.
    published: the figures that the protocol's publication reports, averaged as there.
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


@dataclass(frozen=True)
class ModelEstimator:
    """A model of qsep.separation asked in words, as an estimator."""

    model: TextSeparator

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    def __call__(self, item: Item) -> Any:
        asked = item.example or item.query
        result = self.model.separate(item.mixture, asked, sample_rate=item.sample_rate)
        return result.target


def as_estimator(model: TextSeparator | Estimator | str) -> Estimator:
    """A model is wrapped; "mixture" and the ideal masks go by name; an estimator stays itself."""
    if isinstance(model, str):
        return named_estimator(model)
    return ModelEstimator(model) if isinstance(model, TextSeparator) else model


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

    Rows already in items.csv are kept, so an interrupted run continues; items that failed are tried
    again. A folder of another run is refused, unless overwrite, which starts it anew.
    A bad item is listed in `failed` and does not stop the others.
    workers: items scored at once; it changes no number. baselines: score BASELINES beside the model.
    embedder: adds EMBEDDED and the Fréchet distance. keep_audio: how many of the best items, and of
    the worst, to keep in out_dir/audio.
    """
    if workers < 1 or keep_audio < 0:
        raise ValueError(f"expected workers >= 1 and keep_audio >= 0, got {workers}, {keep_audio}")
    published = items if isinstance(items, PublishedItems) else None
    plain = items.base if isinstance(items, Suite) else items
    estimator = as_estimator(plain.set_up(model) if isinstance(plain, PublishedItems) else model)
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
    out_dir.mkdir(parents=True, exist_ok=True)
    if overwrite:
        discard(out_dir)
    rows = _resume(rows_path, summary_path, identity)
    # The identity lies there before the first row, or an interrupted run could not be recognised.
    _write(summary_path, summarise(identity, items, rows, {}))
    asks = estimator if isinstance(estimator, ModelEstimator) else None

    def path_of(index: int) -> Path:
        return out_dir / "embeddings" / f"{index:06d}.npy"

    def measure(index: int) -> Row:
        item = items.render(index)
        estimate = checked(item, estimator(item))
        row = score(item, estimate)
        if baselines and item.target.any():
            random_query = draw_query(item.id, item.label, items.asked) if asks else None
            row |= score_baselines(item, asks, random_query)
        if embedder and item.target.any():
            row |= embedded_scores(embedder, item, estimate, path_of(index))
        if published:
            row |= published.measure(item, estimate.numpy())
        return row

    failed: dict[str, str] = {}
    waiting = [index for index, item_id in enumerate(items.ids) if item_id not in rows]
    with (
        rows_path.open("a", newline="", encoding="utf-8") as file,
        Progress(len(items.ids), len(rows)) as show,
        closing(in_parallel(measure, waiting, workers)) as outcomes,  # on an interruption, at once
    ):
        for index, outcome in outcomes:
            if isinstance(outcome, Exception):  # whatever is wrong with one item, the others go on
                failed[items.ids[index]] = f"{type(outcome).__name__}: {outcome}"
            else:
                file.write(as_line(outcome))
                file.flush()
                rows[items.ids[index]] = outcome
            show(len(failed))
    ordered = [rows[item_id] for item_id in items.ids if item_id in rows]
    write_rows(rows_path, ordered)  # as one worker would have written them
    embedded = [path_of(index) for index, item_id in enumerate(items.ids) if item_id in rows]
    distance = distance_of_run(path for path in embedded if path.exists()) if embedder else None
    summary = summarise(identity, items, rows, failed, distance)
    _write(summary_path, summary)
    if keep_audio:
        keep_extremes(estimator, items, ordered, out_dir / "audio", keep_audio)
    return summary


def discard(folder: Path) -> None:
    """Remove what `evaluate` writes, and nothing else."""
    for name in ("items.csv", "summary.json", "audio/audio.json"):
        (folder / name).unlink(missing_ok=True)
    for pattern in ("embeddings/*.npy", "audio/*.flac"):
        for path in folder.glob(pattern):
            path.unlink()


def summarise(
    identity: RunIdentity,
    items: ItemSet,
    rows: Mapping[str, Row],
    failed: Mapping[str, str],
    distance: float | None = None,
) -> Summary:
    """rows: by item id. The order of items, not of scoring, makes the resampling reproducible."""
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
        baselines={name: describe_rows(own, SDRS) for name, own in baselines.items()},
        num_silent={what: sum(what in row["silent"] for row in ordered) for what in SILENT},
        frechet_distance=distance,
        published=items.average(ordered) if isinstance(items, PublishedItems) else {},
    )


def _resume(rows_path: Path, summary_path: Path, identity: RunIdentity) -> dict[str, Row]:
    """Rows of this same run, by id; leaves a file of whole rows under the fixed header."""
    remedy = "choose another folder or overwrite it"
    if summary_path.exists():
        try:
            found = json.loads(summary_path.read_text(encoding="utf-8"))["run"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{summary_path} is not a summary of a run; {remedy}") from None
        differing = [key for key, value in asdict(identity).items() if found.get(key) != value]
        if differing:
            raise ValueError(
                f"{summary_path.parent} holds another run "
                f"(different {', '.join(differing).replace('_', ' ')}); {remedy}"
            )
    elif rows_path.exists():
        raise ValueError(f"{rows_path} is there without its summary.json; {remedy}")
    rows = read_rows(rows_path)
    write_rows(rows_path, rows)  # without half a row, which a killed run may leave
    return {row["id"]: row for row in rows}


def _write(path: Path, summary: Summary) -> None:
    content = json.dumps(asdict(summary), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write_text(content, encoding="utf-8", newline="\n"))
