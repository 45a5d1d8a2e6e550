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
    recordings are mixtures whose captions say what is in them. replay: of classes, a second folder of
    recordings that a model which goes on from another must not forget, or "synthetic"."""

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


@dataclass(frozen=True)
class Recipe:
    """part: what is trained, one of QUERIED or UNQUERIED, which have no encoder; model: its table. The query
    encoder; data and its mixing; the run; the card's facts."""

    name: str
    part: str
    model: dict[str, Any]
    encoder: dict[str, Any]
    data: DataConfig
    mix: dict[str, Any]
    augment: dict[str, Any]
    train: TrainConfig
    card: dict[str, Any] = field(default_factory=dict)


def start_folders(config: TrainConfig) -> list[Path]:
    """The folders of train.start_from; a name that is no folder here is that of a shipped model."""
    from qsep.separation.api import CHECKPOINTS_DIR

    places = (config.start_from,) if isinstance(config.start_from, str) else config.start_from
    shipped = {place: CHECKPOINTS_DIR / place for place in places if Path(place).name == place}
    return [
        shipped[place] if place in shipped and not Path(place).is_dir() else Path(place)
        for place in places
        if place
    ]


def read_recipe(
    path_or_name: str, overrides: list[str] | None = None
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe and its content as plain values, for the record. overrides: "table.key=value"."""
    path = find_recipe(path_or_name)
    content = read_content(path)
    for override in overrides or []:
        override_value(content, override)
    return recipe_from(content, path.stem), content


def find_recipe(path_or_name: str, folder: Path = Path(".")) -> Path:
    """A file, relative to the folder, or a shipped recipe."""
    path = folder / path_or_name
    if not path.is_file():
        path = CONFIGS_DIR / f"{path_or_name.removesuffix('.toml')}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in CONFIGS_DIR.glob("*.toml")))
        raise ValueError(f"{path_or_name}: no such recipe; shipped ones: {shipped}")
    return path


def read_content(path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's tables. `extends = "NAME"` lends it what another recipe says and it does not; a file is
    looked for beside it. extending: the files that this one lends to."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of numbers of 5,000 digits
        raise ValueError(f"{path}: not TOML: {error}") from error
    name = content.pop("extends", None)
    if name is None:
        return content
    if not isinstance(name, str):
        raise ValueError(f"{path}: extends is {name!r}; expected a recipe's name")
    base_path = find_recipe(name, path.parent)
    extending = (*extending, path.resolve())
    if base_path.resolve() in extending:
        raise ValueError(f"{path}: extends {name}, which extends it: take one of the two out")
    return merged(read_content(base_path, extending), content)


def override_value(content: dict[str, Any], override: str) -> None:
    """Replace one value in place; the right side is TOML, or text where it is not."""
    key, separator, text = override.partition("=")
    *tables, last = key.strip().split(".")
    if not separator or not last or not tables:
        raise ValueError(f"{override!r}: write overrides as table.key=value, as train.steps=100")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    table = content
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ValueError(f"{override!r}: {name} is a value, not a table")
    table[last] = value


def recipe_from(content: dict[str, Any], name: str) -> Recipe:
    content = copy.deepcopy(content)
    tables = {*QUERIED, *UNQUERIED, "encoder", "data", "mix", "augment", "train", "card"}
    unknown = sorted(content.keys() - tables)
    if unknown:
        raise ValueError(f"recipe {name}: unknown table [{unknown[0]}]; known: {sorted(tables)}")
    parts = [part for part in (*QUERIED, *UNQUERIED) if part in content]
    if len(parts) != 1:
        listed = ", ".join(f"[{part}]" for part in (*QUERIED, *UNQUERIED))
        raise ValueError(f"recipe {name}: give one of the tables {listed}")
    part = parts[0]
    if part in UNQUERIED and "encoder" in content:
        raise ValueError(f"recipe {name}: [{part}] is asked for nothing; leave [encoder] out")
    needed = ["data", "train"] if part in UNQUERIED else ["encoder", "data", "train"]
    for table in needed:
        if table not in content:
            raise ValueError(f"recipe {name}: table [{table}] is missing")
    for table, settings in content.items():
        if not isinstance(settings, dict):
            raise ValueError(f"recipe {name}: {table} is a value; expected a table [{table}]")
    for table in (part, "encoder"):
        if table in content and not isinstance(content[table].get("kind"), str):
            raise ValueError(f'recipe {name}: [{table}] says no kind, as kind = "…"')
    return Recipe(
        name,
        part,
        content[part],
        content.get("encoder", {}),
        from_table(DataConfig, content, "data", name),
        content.get("mix", {}),
        content.get("augment", {}),
        from_table(TrainConfig, content, "train", name),
        content.get("card", {}),
    )


def model_settings(recipe: Recipe, kind: str, config_class: Any, **known: Any) -> Any:
    """What is trained, where its table can mean one kind alone, as its configuration; known: settings that
    follow from elsewhere."""
    settings = dict(recipe.model)
    if (given := settings.pop("kind")) != kind:
        raise ValueError(
            f"recipe {recipe.name}: {recipe.part}.kind is {given!r}; expected {kind!r}"
        )
    return from_table(config_class, {recipe.part: settings | known}, recipe.part, recipe.name)


def from_table(config_class: Any, content: dict[str, Any], table: str, name: str) -> Any:
    try:
        return from_settings(config_class, content[table])
    except ValueError as error:
        raise ValueError(f"recipe {name}, [{table}]: {error}") from error
