"""Separators trained by the same recipe: quality against parameters, MACs, speed and memory.

    qsep bench backbones --data FOLDER -o FOLDER

Each separator of `backbones.toml` is trained by the recipe `backbones`, with each seed, and scored on
manifests of sounds150; finished runs are not repeated, and one that fails does not stop the others. Results
are written after each separator, as `backbones_report.py` says.
"""

from __future__ import annotations

import json
import multiprocessing
import tomllib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qsep.evaluation.metrics.statistics import Statistics
from qsep.evaluation.protocols import load_items
from qsep.evaluation.run import evaluate
from qsep.separation.storage.temporary import write_atomically

from ...errors import print_error
from .backbones_report import RECIPE_NOTE, Cost, Row, read_results, with_costs, write_results

SEPARATORS = Path(__file__).with_suffix(".toml")
MANIFESTS = ("dev-2", "dev-families")
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


def measure_cost(settings: dict[str, Any], seconds: float = COST_SECONDS) -> Cost:
    """The cost of a separator, measured in a new process, so that its memory is not another separator's."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(cost_in_this_process, settings, seconds).result()


def cost_in_this_process(settings: dict[str, Any], seconds: float) -> Cost:
    """`measure_cost` in this process, which must be at its peak memory so far."""
    import torch

    from qsep.queries.interface import QueryEmbedding
    from qsep.separation.components import build_separator

    from ..costs.network import count_macs, num_parameters, peak_megabytes, real_time_factor

    before = peak_megabytes()
    rest = {name: value for name, value in settings.items() if name != "kind"}
    separator = build_separator(settings["kind"], rest).eval()
    generator = torch.Generator().manual_seed(0)
    num_samples = round(seconds * separator.sample_rate)
    mixture = 0.1 * torch.randn(1, 1, num_samples, generator=generator)
    queries = QueryEmbedding(torch.randn(1, 1, separator.query_dim, generator=generator))

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


def run_bench(
    chosen: Sequence[Entrant],
    out: Path,
    data: Path,
    seeds: Sequence[int] = (0,),
    manifests: Sequence[str] = MANIFESTS,
    recipe: str = "backbones",
    overrides: Sequence[str] = (),
    accelerator: str = "auto",
) -> list[str]:
    """Train and score every separator with every seed; results are also written after each one.

    overrides: "table.key=value" for the recipe, the same for all. Returns the names of those that failed,
    for reasons printed as one line each. ValueError for a folder of results by another recipe; StoppedError
    after a signal.
    """
    keep_recipe(out, describe_recipe(recipe, overrides))
    failed = []
    for entrant in chosen:
        try:
            bench_one(entrant, out, data, seeds, manifests, recipe, overrides, accelerator)
        except StoppedError:
            raise
        except Exception as error:  # the others go on
            print_error(error, entrant.name)
            failed.append(entrant.name)
    return failed


def bench_one(
    entrant: Entrant,
    out: Path,
    data: Path,
    seeds: Sequence[int],
    manifests: Sequence[str],
    recipe: str,
    overrides: Sequence[str],
    accelerator: str,
) -> None:
    """Measure, train and score one separator, and put it among the results."""
    cost = stored_cost(entrant, out)
    print(f"{entrant.name}: {describe_cost(cost)}", flush=True)
    for seed in seeds:
        folder = out / f"{entrant.budget}-{entrant.name}-{seed}"
        train_one(entrant, folder, data, seed, recipe, overrides, accelerator)
        for manifest in manifests:
            statistics = score_one(folder, data, manifest)
            row = row_of(entrant, seed, manifest, cost, statistics)
            write_results([*read_results(out), row], out)
            print(
                f"{entrant.name} {entrant.budget}, seed {seed}, {manifest}: "
                f"{statistics.mean_with_interval} dB",
                flush=True,
            )


def describe_recipe(recipe: str, overrides: Sequence[str]) -> str:
    """How the separators were trained, as a sentence for the table."""
    from ...training.config import read_recipe

    parsed, _ = read_recipe(recipe, list(overrides))
    changes = f" with {' '.join(overrides)}" if overrides else ""
    lengths = {"segment_samples": "samples", "num_queries": "queries"}
    items = [f"{parsed.mix[key]} {unit}" for key, unit in lengths.items() if key in parsed.mix]
    return (
        f"Recipe {Path(recipe).stem}{changes}: {parsed.train.steps} steps of {parsed.train.batch_size} "
        f"mixtures{' of ' if items else ''}{' and '.join(items)}."
    )


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


def stored_cost(entrant: Entrant, out: Path) -> Cost:
    """The cost as it was measured for these results, or else now."""
    file = cost_file(entrant, out)
    if file.exists():
        return Cost(**json.loads(file.read_text("utf-8")))
    return measure_and_store(entrant, out)


def measure_and_store(entrant: Entrant, out: Path) -> Cost:
    """Measure the cost of a separator, and file it with the results."""
    cost = measure_cost(entrant.settings)
    file = cost_file(entrant, out)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda path: path.write_text(json.dumps(asdict(cost)), "utf-8"))
    return cost


def cost_file(entrant: Entrant, out: Path) -> Path:
    """Where the cost of a separator is stored."""
    return out / "costs" / f"{entrant.budget}-{entrant.name}.json"


def measure_costs(chosen: Sequence[Entrant], out: Path) -> None:
    """Measure the separators' costs again and print them; they replace those of the results in the folder."""
    for entrant in chosen:
        cost = measure_and_store(entrant, out)
        print(f"{entrant.name}: {describe_cost(cost)}", flush=True)
        if rows := read_results(out):
            write_results(with_costs(rows, entrant.budget, entrant.name, cost), out)


def describe_cost(cost: Cost) -> str:
    """The cost as text."""
    return (
        f"{cost.parameters / 1e6:.2f} M parameters, {cost.macs_per_second / 1e9:.2f} GMAC/s, "
        f"{cost.real_time_factor:.3f} of real time on one core, {cost.megabytes:.0f} MB"
    )


def train_one(
    entrant: Entrant,
    folder: Path,
    data: Path,
    seed: int,
    recipe: str,
    overrides: Sequence[str],
    accelerator: str,
) -> None:
    """Run or resume the recipe with the entrant's separator; StoppedError if a signal ends it."""
    from ...training.config import read_recipe, recipe_from
    from ...training.loop import train
    from ...training.stopping import Stop

    changes = [*overrides, f"data.folder={data}", f"train.seed={seed}"]
    _, content = read_recipe(recipe, changes)
    content["separator"] = entrant.settings
    stop = Stop()
    parsed = recipe_from(content, f"{Path(recipe).stem}-{entrant.name}")
    train(parsed, content, folder, accelerator, stop=stop)
    if stop.signal:
        raise StoppedError(f"{entrant.name}: stopped and saved; run the same command to continue")


def score_one(folder: Path, data: Path, manifest: str) -> Statistics:
    """SI-SDR improvement of the trained separator in dB; ValueError if no item could be scored."""
    from qsep.separation.api import load

    items = load_items("sounds150", data, Path(manifest))
    scores = folder / f"scores-{Path(manifest).stem}"
    summary = evaluate(load(str(folder / "model"), "cpu"), items, scores)
    if "si_sdr_i" not in summary.overall:
        raise ValueError(f"{scores}: no item of {manifest} could be scored")
    return summary.overall["si_sdr_i"]


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
