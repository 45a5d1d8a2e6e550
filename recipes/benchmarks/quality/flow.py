"""Quality of a flow separator by its number of steps, compared with a mask separator on a manifest.

    python -m qsep.recipes.benchmarks.quality.flow --data FOLDER --manifest FILE -o FOLDER

Measured are the mean SI-SDR improvement with its interval, the paired difference to the mask, spectral
holes, the log-spectral distance to the target in the mask's holes, similarity and Fréchet distance to the
targets, and seconds. With --soften also masks to other powers, which leave fewer holes without a flow; with
--fill also the mask's estimate with its holes filled by the flow, and with noise of the same spectrum in its
place. Writes steps.csv, a row for each setting, and steps.png; with --audio also folders of the mixtures and
of the estimates by each setting, for `qsep listen A B --recordings mixtures`.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qsep.evaluation.interface import Item
from qsep.evaluation.metrics.perceptual import (
    AudioEmbedder,
    EncoderEmbedder,
    cosine,
    frechet_distance,
)
from qsep.evaluation.metrics.sdr import si_sdr
from qsep.evaluation.metrics.spectral_holes import spectral_hole_share
from qsep.evaluation.metrics.statistics import describe
from qsep.evaluation.protocols import load_items
from qsep.separation.api import load
from qsep.separation.audio.file_names import slug
from qsep.separation.audio.writer import AudioWriter
from qsep.separation.components import build_encoder
from qsep.separation.storage.temporary import write_atomically

from ...errors import run_script
from .hole_filling import hole_distance_db, with_filled_holes

STEPS = (1, 2, 4, 8, 16)
NO_BOUNDS = (math.nan, math.nan)  # of one item
SETTING = ("model", "steps", "temperature", "mask_exponent")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--flow", nargs="+", default=["flow-small"], help="names or folders")
    parser.add_argument("--mask", default="sounds150")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--temperature", type=float, nargs="+", help="default: the model's")
    parser.add_argument("--mask-exponent", type=float, nargs="+", help="default: the model's")
    parser.add_argument("--embedding", nargs="+", default=["joint"], help="kinds of encoders")
    parser.add_argument("--soften", type=float, nargs="+", default=(), help="exponents of the mask")
    parser.add_argument("--fill", action="store_true", help="fill the mask's holes")
    parser.add_argument("--audio", action="store_true", help="write the estimates")
    parser.add_argument("--every", type=int, default=1, help="use every N-th item")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()

    item_set = load_items("sounds150", arguments.data, arguments.manifest, "plain", {})
    items = [item_set.render(index) for index in range(0, len(item_set.ids), arguments.every)]
    masked, seconds = separated(load(arguments.mask, "cpu"), items)
    embedders = {name: EncoderEmbedder(build_encoder(name, {})) for name in arguments.embedding}
    scorer, rows = Scorer(items, masked, embedders), []

    def add(setting: dict[str, Any], estimates: Sequence[Any], seconds: float | str = "") -> None:
        row = dict.fromkeys(SETTING, "") | setting | scorer.scores(estimates)
        rows.append(row | {"seconds": seconds})
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        if arguments.audio:
            name = slug(" ".join(map(str, setting.values())))
            write_audio(arguments.out / name, items, estimates)

    add({"model": arguments.mask}, masked, seconds)
    for exponent in arguments.soften:
        changes = {"separator": {"mask_exponent": exponent}}
        softened, seconds = separated(load(arguments.mask, "cpu", settings=changes), items)
        add({"model": arguments.mask, "mask_exponent": exponent}, softened, seconds)
    for setting, model in settings(arguments):
        estimates, seconds = separated(model, items)
        add(setting, estimates, seconds)
        if arguments.fill:
            for filling, filled in zip(("flow", "noise"), scorer.filled(estimates), strict=True):
                add(setting | {"model": f"{arguments.mask}, {filling} in holes"}, filled)
    if arguments.audio:
        write_audio(arguments.out / "mixtures", items, [item.mixture for item in items], False)
    write_atomically(arguments.out / "steps.csv", lambda path: path.write_text(as_csv(rows)))
    plot(rows, arguments.out / "steps.png")


def settings(arguments: argparse.Namespace) -> Iterator[tuple[dict[str, Any], Any]]:
    """The first columns of each row, and the model to measure."""
    for flow_model in arguments.flow:
        model = load(flow_model, "cpu")
        network: Any = model.separator
        for exponent in arguments.mask_exponent or [network.config.mask_exponent]:
            for temperature in arguments.temperature or [network.config.temperature]:
                for steps in arguments.steps:
                    setting = {"temperature": temperature, "mask_exponent": exponent}
                    network.config = dataclasses.replace(network.config, num_steps=steps, **setting)
                    yield {"model": Path(flow_model).name, "steps": steps} | setting, model


def separated(model: Any, items: Sequence[Item]) -> tuple[list[NDArray[np.float32]], float]:
    """The model's estimates, (t,) each, and the seconds that they took."""
    start = time.perf_counter()
    estimates = [
        model.separate(item.mixture, item.query, sample_rate=item.sample_rate).target
        for item in items
    ]
    return estimates, round(time.perf_counter() - start, 1)


class Scorer:
    """Scores of estimates of the same items, (t,) each, beside those of a mask separator.

    masked: the mask separator's estimates. embedders: for similarities and Fréchet distances, by name.
    """

    def __init__(
        self, items: Sequence[Item], masked: Sequence[Any], embedders: Mapping[str, AudioEmbedder]
    ) -> None:
        self.items, self.masked, self.mask_gains = items, masked, gains(items, masked)
        self.embedders = embedders
        self.targets = self.embedded([item.target for item in items])

    def scores(self, estimates: Sequence[Any]) -> dict[str, float]:
        """Means over the items, by column. to_mask: SI-SDR less the mask's, with its interval."""
        improvements, vectors = gains(self.items, estimates), self.embedded(estimates)
        mean = describe(improvements)
        to_mask = describe(np.subtract(improvements, self.mask_gains).tolist())
        bounds, mask_bounds = mean.bounds or NO_BOUNDS, to_mask.bounds or NO_BOUNDS
        holes, distances = [], []
        for item, masked, estimate in zip(self.items, self.masked, estimates, strict=True):
            holes.append(float(spectral_hole_share(estimate, item.target)))
            distances.append(hole_distance_db(estimate, masked, item.target))
        values = {
            "si_sdr_i": mean.mean,
            "low": bounds[0],
            "high": bounds[1],
            "to_mask": to_mask.mean,
            "to_mask_low": mask_bounds[0],
            "to_mask_high": mask_bounds[1],
            "holes": float(np.mean(holes)),
            "hole_distance": float(np.mean(distances)),
        }
        for name, targets in self.targets.items():
            similarities = list(map(cosine, vectors[name], targets))
            values[f"similarity_{name}"] = float(np.mean(similarities))
            values[f"frechet_{name}"] = frechet_distance(vectors[name], targets)
        return {column: round(value, 4) for column, value in values.items()}

    def filled(self, estimates: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The mask's estimates with holes filled from these, and with noise in its place."""
        generator = torch.Generator().manual_seed(0)
        both = [
            with_filled_holes(masked, estimate, item.target, generator)
            for item, masked, estimate in zip(self.items, self.masked, estimates, strict=True)
        ]
        with_estimate, with_noise = zip(*both, strict=True)
        return list(with_estimate), list(with_noise)

    def embedded(self, waveforms: Sequence[Any]) -> dict[str, NDArray[np.float64]]:
        """Embeddings (n, d) of the items' waveforms, by embedder."""
        rate = self.items[0].sample_rate
        mono = [np.asarray(waveform, np.float32) for waveform in waveforms]
        return {
            name: np.stack([embedder.embed_audio(waveform, rate) for waveform in mono])
            for name, embedder in self.embedders.items()
        }


def gains(items: Sequence[Item], estimates: Sequence[Any]) -> list[float]:
    """SI-SDR improvement of each estimate, in dB."""
    return [
        float(si_sdr(estimate, item.target) - si_sdr(item.mixture, item.target))
        for estimate, item in zip(estimates, items, strict=True)
    ]


def write_audio(
    folder: Path, items: Sequence[Item], waveforms: Sequence[Any], with_query: bool = True
) -> None:
    """A file ID.QUERY.wav, or ID.wav, for each item, as the folders of `qsep listen` have them."""
    folder.mkdir(parents=True, exist_ok=True)
    for item, waveform in zip(items, waveforms, strict=True):
        name = f"{item.id}.{slug(item.query)}" if with_query else item.id
        with AudioWriter(folder / f"{name}.wav", item.sample_rate, 1) as writer:
            writer.write(np.asarray(waveform, np.float32)[None])


def as_csv(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV; all have the same columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot each score against the number of steps; the first row, the mask separator's, is a dashed line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = {"si_sdr_i": "SI-SDR improvement, dB", "holes": "holes, share of bins"}
    labels |= {
        column: f"Fréchet distance, {column.removeprefix('frechet_')}"
        for column in rows[0]
        if column.startswith("frechet_")
    }
    figure, axes = pyplot.subplots(
        1, len(labels), figsize=(4 * len(labels), 3.6), layout="constrained"
    )
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["seconds"] != "" and row["steps"] != "":  # not the mask, nor filled holes
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
