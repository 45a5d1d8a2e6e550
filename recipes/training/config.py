"""A recipe: a TOML file, with values that the command line may replace."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qsep.queries.settings import configuration
from qsep.separation.components import from_settings, merged

CONFIGS_DIR = Path(__file__).parents[1] / "configs"
QUERIED = ("separator", "audio_encoder")  # what a recipe may train by queries
UNQUERIED = ("autoencoder", "vocoder")  # and without


@configuration
class TrainConfig:
    """Steps of batch_size mixtures over all devices together. The learning rate rises linearly over
    warmup_steps, stays, and falls linearly over the last decay_steps to final_factor of itself;
    decay_end: the step at which it is there, 0 for the last. warmup_stairs: the rate's factors in equal parts
    of warmup_steps, in place of the rise. rate_decay: times which it is multiplied every step besides.
    amsgrad: Adam's variant. betas: of its averages. precision as Lightning Fabric names it.
    skip_limit: consecutive steps with a loss that is not finite before giving up. half_kernels: store
    the checkpoint's kernels in float16, half as large; the run's own state stays float32. start_from:
    checkpoint folders or shipped models, or one, whose weights a new run begins with, in place of random
    ones; start_parts: of these parts alone; start_into: the part of the model that they become;
    start_widened: they are those of a narrower network, or of one that shares some layers. A model of sound
    classes that starts from another keeps its classes and adds those of the data. retain_weight: of staying
    with what the start knows of its own classes, see tasks/retention.py; 0 for data that hold these."""

    steps: int
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 200
    warmup_stairs: tuple[float, ...] = ()
    rate_decay: float = 1.0
    amsgrad: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    decay_steps: int = 0
    decay_end: int = 0
    final_factor: float = 0.0
    clip_norm: float = 5.0
    ema_decay: float = 0.999
    seed: int = 0
    precision: str = "bf16-mixed"
    log_every: int = 50
    validate_every: int = 500
    save_every: int = 500
    num_workers: int = 1
    skip_limit: int = 10
    half_kernels: bool = False
    start_from: str | tuple[str, ...] = ""
    start_parts: tuple[str, ...] = ()
    start_into: str = ""
    start_widened: bool = False
    retain_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "log_every", "validate_every", "save_every", "skip_limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 or more")


@configuration
class DataConfig:
    """sounds: "recordings" (folder with clips.csv), "captions" (folder with SPLIT.json of recordings and
    their captions), "videos" (folder made by `qsep data prepare`) or "synthetic". phrases: a phrase book,
    or "labels" where every label is its own and only wording, or "captions" where there are.
    queries: of videos, what is shown of a source: "text", "image", "mixed", "hybrid" (pictures at
    even steps, words at odd ones), or the odds of text, image and mixed, drawn for each item; of
    captions "text", or "audio" where the source itself is the example. sources: "sounds", or "captions" where
    recordings are mixtures whose captions say what is in them. replay: of classes, a
    second folder of recordings that a model which goes on from another must not forget, or "synthetic"."""

    sounds: str
    phrases: str
    folder: str = ""
    split: str = "train"
    validation_split: str = "dev"
    num_validation: int = 64
    labels: tuple[str, ...] = ()
    queries: str | tuple[float, ...] = "text"
    replay: str = ""
    sources: str = "sounds"

    def __post_init__(self) -> None:
        if self.sources not in ("sounds", "captions"):
            raise ValueError(f"sources is {self.sources!r}; expected 'sounds' or 'captions'")
