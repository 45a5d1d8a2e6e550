"""How well the judge of weak supervision tells sounds by their phrases.

    python -m qsep.recipes.benchmarks.quality.phrase_judge --data FOLDER

Weak supervision asks that a separated sound resemble its own phrase more than the other phrases of a batch,
by a frozen encoder (`agreement` in separation/objectives/weak_supervision.py). This gives that loss for dev
recordings of sounds21 that need no separation, and for the same with others mixed in: what a separator can
gain by it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torchaudio
from torch import Tensor

from qsep.queries.interface import SoundEncoder, TextQuery
from qsep.separation.models import bimodal
from qsep.separation.objectives.weak_supervision import agreement

from ...data.mixtures.captioned import CaptionedMixtures
from ...errors import run_script
from ...training.build import build_book, build_mixtures, build_query_encoder, build_task
from ...training.config import read_recipe

RECIPE, SEED = "bimodal-sounds21", 11
NUM_SOUNDS = (1, 2, 4)  # heard at once


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder of sounds21")
    parser.add_argument("--batches", type=int, default=40)
    arguments = parser.parse_args()
    recipe, _ = read_recipe(RECIPE, [f"data.folder={arguments.data}"])
    book = build_book(recipe)
    _, encoder, cached = build_query_encoder(recipe)
    separator = build_task(recipe, book, cached).model
    assert isinstance(separator, bimodal.BiModal)
    assert encoder is not None
    ears = encoder.sound_encoder
    assert ears is not None
    mixtures = build_mixtures(recipe, book, separator.sample_rate, validation=True)
    assert isinstance(mixtures, CaptionedMixtures)
    size = recipe.train.batch_size * mixtures.config.num_sounds  # phrases that are compared
    rng = np.random.default_rng(SEED)
    batches = []
    for _ in range(arguments.batches):
        named = mixtures.scenes.singles(size, mixtures.config.segment_samples, rng)
        waveforms = torch.from_numpy(np.stack([waveform for waveform, _ in named]))
        phrases = encoder.encode([TextQuery(phrase) for _, phrase in named]).pooled
        batches.append((waveforms, phrases))
    alike = separator.config.weak.alike_cosine
    print(f"{size} sounds and phrases in a batch; cost without any knowledge {np.log(size):.2f}")
    print("| sounds at once | cost | nearest to the own phrase |\n|---|---|---|")
    for number in NUM_SOUNDS:
        judged = [judge(ears, *batch, number, separator.sample_rate, alike) for batch in batches]
        cost, share = np.mean(judged, axis=0)
        print(f"| {number} | {cost:.2f} | {share:.0%} |")


@torch.inference_mode()
def judge(
    encoder: SoundEncoder,
    waveforms: Tensor,
    phrases: Tensor,
    num_sounds: int,
    sample_rate: int,
    alike_cosine: float,
) -> tuple[float, float]:
    """The mean cost of a batch, and the share of sounds whose own phrase is the nearest.

    waveforms: (n, t) at sample_rate, each heard with the num_sounds - 1 that follow it in the batch. phrases:
    their embeddings, (n, d).
    """
    heard = torch.stack([waveforms.roll(-shift, dims=0) for shift in range(num_sounds)]).sum(dim=0)
    resampled = torchaudio.functional.resample(heard, sample_rate, encoder.sample_rate)
    sounds = encoder.embed_sound(resampled)
    cost = agreement(sounds, phrases, encoder.similarity_scale(), alike_cosine).mean()
    nearest = (sounds @ phrases.T).argmax(dim=1) == torch.arange(len(phrases))
    return float(cost), float(nearest.float().mean())


if __name__ == "__main__":
    run_script(main)
