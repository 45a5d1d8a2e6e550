"""Separators trained by the same recipe: quality against parameters, MACs, speed and memory.

    qsep bench backbones --data FOLDER -o FOLDER

Each separator of `backbones.toml` is trained by the recipe `backbones`, with each seed, and scored on
manifests of sounds150, or, if the recipe lists a few of its kinds, on their pairs (`label_pairs.py`).
Finished runs are not repeated, and one that fails does not stop the others. Results are written after each
separator, as `backbones_report.py` says. Several processes may work in one folder, on different separators.
"""

from __future__ import annotations

import json
import multiprocessing
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qsep.evaluation.metrics.statistics import Statistics
from qsep.evaluation.protocols import load_items
from qsep.evaluation.run import evaluate
from qsep.queries.interface import TextQuery
from qsep.separation.storage.temporary import write_atomically

from ...errors import print_error
from ...training.config import Recipe, read_recipe, recipe_from
from .backbones_report import RECIPE_NOTE, Cost, Row, read_results, with_costs, write_results
from .label_pairs import pairs_manifest

SEPARATORS = Path(__file__).with_suffix(".toml")
MANIFESTS = ("dev-2", "dev-families")
PAIRS = "pairs"  # the manifest for recipes that list their kinds
COST_SECONDS = 4.0  # length of the audio that costs are measured on


@dataclass(frozen=True)
class Entrant:
    """A separator to compare. settings: its table in a recipe."""

    name: str
    budget: str
    settings: dict[str, Any]

    @property
    def is_causal(self) -> bool:
        """Whether it streams."""
        return bool(self.settings.get("causal", False))


def entrants(budget: str, names: Sequence[str] = (), path: Path = SEPARATORS) -> list[Entrant]:
    """The separators of a budget, or the named ones of them; ValueError for an unknown budget or name."""
    content = tomllib.loads(path.read_text("utf-8"))
    if budget not in content:
        raise ValueError(f"no budget is called {budget!r}; there are {', '.join(content)}")
    known = content[budget]
    for name in names:
        if name not in known:
            raise ValueError(f"no separator of {budget} is called {name!r}: {', '.join(known)}")
    return [Entrant(name, budget, known[name]["separator"]) for name in names or known]


def measure_cost(recipe: Recipe, seconds: float = COST_SECONDS) -> Cost:
    """The cost of a recipe's separator, measured in a new process, so that its memory is not another's."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(cost_in_this_process, recipe, seconds).result()


def cost_in_this_process(recipe: Recipe, seconds: float) -> Cost:
    """`measure_cost` in this process, which must be at its peak memory so far."""
    import torch

    from ...training.build import build_book, build_query_encoder, build_task
    from ...training.estimate import BlankEncoder
    from ...training.query_batch import encode_batch
    from ..costs.network import count_macs, num_parameters, peak_megabytes, real_time_factor

    before = peak_megabytes()
    _, _, encoder = build_query_encoder(recipe)
    book = build_book(recipe)
    separator = build_task(recipe, book, BlankEncoder(encoder)).model.eval()
    generator = torch.Generator().manual_seed(0)
    num_samples = round(seconds * separator.sample_rate)
    num_channels = separator.num_channels or 1
    mixture = 0.1 * torch.randn(1, num_channels, num_samples, generator=generator)
    queries = encode_batch(encoder, [[TextQuery(book.names[0])]])

    def run() -> None:
        with torch.no_grad():  # costs of inference
            separator.separate(mixture, queries, generator)

    factors = []
    threads = torch.get_num_threads()
    try:
        for cores in (1, 2):
            torch.set_num_threads(cores)
            factors.append(real_time_factor(run, seconds))
    finally:
        torch.set_num_threads(threads)
    megabytes = peak_megabytes() - before
    macs = count_macs(separator, run) / seconds
    return Cost(num_parameters(separator), macs, factors[0], factors[1], megabytes)


class StoppedError(ValueError):
    """A signal ended a training run, which was saved."""


@dataclass(frozen=True)
class Bench:
    """A comparison. out: folder of the results; data: of the corpus. manifests: names or files; empty for
    those that suit the recipe. overrides: "table.key=value" for the recipe, the same for all."""

    out: Path
    data: Path
    recipe: str = "backbones"
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    manifests: tuple[str, ...] = ()
    accelerator: str = "auto"

    def content(self, entrant: Entrant | None = None, seed: int = 0) -> dict[str, Any]:
        """The recipe's tables, with the separator's settings; ValueError for bad ones."""
        changes = [*self.overrides, f"data.folder={self.data}", f"train.seed={seed}"]
        _, content = read_recipe(self.recipe, changes)
        if entrant:
            content["separator"] = entrant.settings
        return content

    def recipe_of(self, entrant: Entrant, seed: int = 0) -> Recipe:
        """The recipe with the separator; ValueError for settings that it does not have."""
        return recipe_from(self.content(entrant, seed), f"{Path(self.recipe).stem}-{entrant.name}")

    @property
    def scored_on(self) -> tuple[str, ...]:
        """Manifests to score on."""
        labels = self.content()["data"].get("labels")
        return self.manifests or ((PAIRS,) if labels else MANIFESTS)

    @property
    def condition(self) -> str:
        """The condition to score under: of mixtures at as many microphones as in training."""
        array = recipe_from(self.content(), Path(self.recipe).stem).effects.array
        return "plain" if array.num_microphones == 1 else "two-microphones"

    @property
    def description(self) -> str:
        """How the separators are trained, as a sentence for the table."""
        parsed, _ = read_recipe(self.recipe, list(self.overrides))
        changes = f" with {' '.join(self.overrides)}" if self.overrides else ""
        lengths = {"segment_samples": "samples", "num_queries": "queries"}
        items = [f"{parsed.mix[key]} {unit}" for key, unit in lengths.items() if key in parsed.mix]
        mixtures = f"mixture{'s' if parsed.train.batch_size > 1 else ''}"
        return (
            f"Recipe {Path(self.recipe).stem}{changes}: {parsed.train.steps} steps of "
            f"{parsed.train.batch_size} {mixtures}{' of ' if items else ''}{' and '.join(items)}."
        )

    def run(self, chosen: Sequence[Entrant]) -> list[str]:
        """Train and score every separator with every seed; results are also written after each one.

        Returns the names of those that failed, for reasons printed as one line each. ValueError for a
        folder of results by another recipe; StoppedError after a signal.
        """
        keep_recipe(self.out, self.description)
        failed = []
        for entrant in chosen:
            try:
                self.run_one(entrant)
            except StoppedError:
                raise
            except Exception as error:  # the others go on
                print_error(error, entrant.name)
                failed.append(entrant.name)
        return failed

    def run_one(self, entrant: Entrant) -> None:
        """Measure, train and score one separator, and put it among the results."""
        cost = self.stored_cost(entrant)
        print(f"{entrant.name}: {describe_cost(cost)}", flush=True)
        for seed in self.seeds:
            folder = self.out / f"{entrant.budget}-{entrant.name}-{seed}"
            self.train_one(entrant, folder, seed)
            for manifest in self.scored_on:
                statistics = self.score_one(folder, manifest)
                row = row_of(entrant, seed, manifest, cost, statistics)
                with results_of(self.out) as results:
                    results.append(row)
                print(
                    f"{entrant.name} {entrant.budget}, seed {seed}, {manifest}: "
                    f"{statistics.mean_with_interval} dB",
                    flush=True,
                )

    def train_one(self, entrant: Entrant, folder: Path, seed: int) -> None:
        """Run or resume the recipe with the separator; StoppedError if a signal ends it."""
        from ...training.loop import train
        from ...training.stopping import Stop

        stop = Stop()
        content = self.content(entrant, seed)
        train(self.recipe_of(entrant, seed), content, folder, self.accelerator, stop=stop)
        if stop.signal:
            raise StoppedError(
                f"{entrant.name}: stopped and saved; run the same command to continue"
            )

    def score_one(self, folder: Path, manifest: str) -> Statistics:
        """SI-SDR improvement of the trained separator in dB; ValueError if no item could be scored."""
        from qsep.separation.api import load

        path = self.pairs_file() if manifest == PAIRS else Path(manifest)
        items = load_items("sounds150", self.data, path, self.condition)
        scores = folder / f"scores-{path.stem}"
        summary = evaluate(load(str(folder / "model"), "cpu"), items, scores)
        if "si_sdr_i" not in summary.overall:
            raise ValueError(f"{scores}: no item of {manifest} could be scored")
        return summary.overall["si_sdr_i"]

    def pairs_file(self) -> Path:
        """The manifest of pairs of the recipe's kinds, written beside the results."""
        path = self.out / f"{PAIRS}.csv"
        text = pairs_manifest(self.content()["data"].get("labels", ()))
        write_atomically(path, lambda file: file.write_text(text, "utf-8"))
        return path

    def measure_costs(self, chosen: Sequence[Entrant]) -> None:
        """Measure the separators' costs again and print them; they replace those of the results."""
        for entrant in chosen:
            cost = self.measure_and_store(entrant)
            print(f"{entrant.name}: {describe_cost(cost)}", flush=True)
            with results_of(self.out) as results:
                results[:] = with_costs(results, entrant.budget, entrant.name, cost)

    def stored_cost(self, entrant: Entrant) -> Cost:
        """The cost as it was measured for these results, or else now."""
        file = self.cost_file(entrant)
        if file.exists():
            return Cost(**json.loads(file.read_text("utf-8")))
        return self.measure_and_store(entrant)

    def measure_and_store(self, entrant: Entrant) -> Cost:
        """Measure the cost of a separator, and file it with the results."""
        cost = measure_cost(self.recipe_of(entrant))
        file = self.cost_file(entrant)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda path: path.write_text(json.dumps(asdict(cost)), "utf-8"))
        return cost

    def cost_file(self, entrant: Entrant) -> Path:
        """Where the cost of a separator is stored."""
        return self.out / "costs" / f"{entrant.budget}-{entrant.name}.json"


@contextmanager
def results_of(out: Path) -> Iterator[list[Row]]:
    """The rows of the folder's results, to be changed in place, and written if there are any; other
    processes wait meanwhile."""
    from filelock import FileLock

    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / ".results.lock"):
        rows = read_results(out)
        yield rows
        if rows:
            write_results(rows, out)


def keep_recipe(out: Path, described: str) -> None:
    """Note how the results in the folder come about; ValueError if it holds others."""
    note = out / RECIPE_NOTE
    if not note.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(note, lambda path: path.write_text(f"{described}\n", "utf-8"))
    elif (before := note.read_text("utf-8").strip()) != described:
        raise ValueError(
            f"{out} holds results of another recipe ({before}); choose another with -o"
        )


def describe_cost(cost: Cost) -> str:
    """The cost as text."""
    return (
        f"{cost.parameters / 1e6:.2f} M parameters, {cost.macs_per_second / 1e9:.2f} GMAC/s, "
        f"{cost.real_time_factor:.3f} of real time on one core, {cost.megabytes:.0f} MB"
    )


def row_of(entrant: Entrant, seed: int, manifest: str, cost: Cost, statistics: Statistics) -> Row:
    """The row of backbones.csv for these results."""
    return Row(
        name=entrant.name,
        budget=entrant.budget,
        seed=seed,
        manifest=Path(manifest).stem,
        causal=entrant.is_causal,
        **asdict(cost),
        num_items=statistics.count,
        si_sdr_i=statistics.mean,
        low=statistics.low,
        high=statistics.high,
    )
