"""Quality of a flow separator by its number of steps, compared with a mask separator on a manifest.

    python -m qsep.recipes.benchmarks.quality.flow --data FOLDER --manifest FILE -o FOLDER

Measured are the mean SI-SDR improvement with its interval, spectral holes, similarity and Fréchet distance
to the targets by the joint encoder, and seconds. Writes steps.csv, a row for each setting, and steps.png.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qsep.evaluation.interface import Item
from qsep.evaluation.metrics.perceptual import EncoderEmbedder, cosine, frechet_distance
from qsep.evaluation.metrics.sdr import si_sdr
from qsep.evaluation.metrics.spectral_holes import spectral_hole_share
from qsep.evaluation.metrics.statistics import describe
from qsep.evaluation.protocols import load_items
from qsep.separation.api import load
from qsep.separation.components import build_encoder
from qsep.separation.storage.temporary import write_atomically

from ...errors import run_script

STEPS = (1, 2, 4, 8, 16)
COLUMNS = (
    *("model", "steps", "temperature", "si_sdr_i", "low", "high"),
    *("holes", "audio_score", "frechet", "seconds"),
)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--flow", nargs="+", default=["flow-small"], help="names or folders")
    parser.add_argument("--mask", default="sounds21")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--temperature", type=float, nargs="+", help="default: the model's")
    parser.add_argument("--every", type=int, default=1, help="use every N-th item")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()

    item_set = load_items("sounds21", arguments.data, arguments.manifest, "plain", {})
    items = [item_set.render(index) for index in range(0, len(item_set.ids), arguments.every)]
    embedder = EncoderEmbedder(build_encoder("joint", {}))
    rows = []
    print("  ".join(COLUMNS), flush=True)
    for name, model in settings(arguments):
        rows.append(name | measure(model, items, embedder))
        print("  ".join(f"{rows[-1][column]}" for column in COLUMNS), flush=True)
    write_atomically(arguments.out / "steps.csv", lambda path: path.write_text(as_csv(rows)))
    plot(rows, arguments.out / "steps.png")


def rounded(number: float | None) -> float | None:
    """A number with two decimals, as written to the table; None stays an empty cell."""
    return None if number is None else round(number, 2)


def settings(arguments: argparse.Namespace) -> Iterator[tuple[dict[str, Any], Any]]:
    """The first columns of each row, and the model to measure."""
    yield {"model": arguments.mask, "steps": "", "temperature": ""}, load(arguments.mask, "cpu")
    for flow_model in arguments.flow:
        model = load(flow_model, "cpu")
        network: Any = model.separator
        for temperature in arguments.temperature or [network.config.temperature]:
            for steps in arguments.steps:
                network.config = dataclasses.replace(
                    network.config, num_steps=steps, temperature=temperature
                )
                yield (
                    {"model": Path(flow_model).name, "steps": steps, "temperature": temperature},
                    model,
                )


def measure(model: Any, items: list[Item], embedder: EncoderEmbedder) -> dict[str, Any]:
    """The scores of a model over the items, by column."""
    start = time.perf_counter()
    estimates = [
        model.separate(item.mixture, item.query, sample_rate=item.sample_rate).target
        for item in items
    ]
    seconds = time.perf_counter() - start
    gains = [
        float(si_sdr(estimate, item.target) - si_sdr(item.mixture, item.target))
        for estimate, item in zip(estimates, items, strict=True)
    ]
    holes = [
        float(spectral_hole_share(estimate, item.target))
        for estimate, item in zip(estimates, items, strict=True)
    ]
    estimate_vectors = [
        embedder.embed_audio(estimate, item.sample_rate)
        for estimate, item in zip(estimates, items, strict=True)
    ]
    target_vectors = [embedder.embed_audio(item.target, item.sample_rate) for item in items]
    improvement = describe(gains)
    low, high = map(rounded, improvement.bounds or (None, None))
    return {
        "si_sdr_i": round(improvement.mean, 2),
        "low": low,
        "high": high,
        "holes": round(float(np.mean(holes)), 4),
        "audio_score": round(
            float(np.mean(list(map(cosine, estimate_vectors, target_vectors)))), 4
        ),
        "frechet": round(frechet_distance(np.stack(estimate_vectors), np.stack(target_vectors)), 4),
        "seconds": round(seconds, 1),
    }


def as_csv(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV with COLUMNS."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot each score against the number of steps; the first row, the mask separator's, is a dashed line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = {"si_sdr_i": "SI-SDR improvement, dB", "holes": "holes, share of bins"}
    labels |= {"frechet": "Fréchet distance"}
    figure, axes = pyplot.subplots(1, len(labels), figsize=(12, 3.6), layout="constrained")
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows[1:]:
        lines.setdefault(f"{row['model']}, temperature {row['temperature']:g}", []).append(row)
    for axis, (column, label) in zip(axes, labels.items(), strict=True):
        axis.axhline(rows[0][column], color="grey", linestyle="--", label=rows[0]["model"])
        for name, line in lines.items():
            steps = [row["steps"] for row in line]
            axis.plot(steps, [row[column] for row in line], marker="o", label=name)
        axis.set_xscale("log", base=2)
        axis.set_xlabel("network evaluations")
        axis.set_title(label)
    axes[0].legend(fontsize="small")
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
    pyplot.close(figure)


if __name__ == "__main__":
    run_script(main)
