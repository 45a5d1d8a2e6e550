"""Recipes: TOML files, with values that the command line can override."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from qsep.queries.settings import configuration
from qsep.separation.components import from_settings, merged
from qsep.separation.published.finding import separator_folder
from qsep.separation.published.registry import published_models
from qsep.separation.storage.shipped import shipped_folder

from ..data.corpus.remote import is_url, local_copy
from ..data.effects.config import EffectsConfig

CONFIGS_DIR = Path(__file__).parents[1] / "configs"
QUERIED = ("separator", "audio_encoder")  # parts that a recipe trains with queries
UNQUERIED = ("autoencoder", "vocoder")  # and without
AUTO = "auto"
SHARD_PRECISIONS = (AUTO, "32-true", "bf16-mixed")
LISTED = ("recordings", "classes", "speakers")  # kinds of data.sounds in a folder with clips.csv
KERNELS = ("float32", "float16", "int8")
EFFECTS = get_type_hints(EffectsConfig)


@configuration
class TrainConfig:
    """Settings of a run: optimiser, schedule, intervals in steps, initial weights.

    batch_size: mixtures a step, over all devices together. accumulate: parts into which each device divides
    its share, one after the other, to need less memory. checkpoint_activations: compute activations of the
    model's blocks again in the backward pass instead of storing them. compile: backend of torch.compile for
    the model's networks, as "inductor"; empty: none. shard: divide a separator's weights, gradients, moments
    and averages among the devices (FSDP). mix_on_device: workers only cut sounds, which are filtered and
    summed on the device; not for captions and videos. precision: see `precision_on`.
    skip_limit: give up after so many consecutive steps with a loss that is not finite. kernels: type in
    which the checkpoint stores kernels, one of KERNELS; the state for resuming stays float32.

    The learning rate rises linearly over warmup_steps, stays constant, and falls linearly over decay_steps
    to final_factor of itself, which it reaches at step decay_end (0: the last step). warmup_stairs: factors
    of the rate in equal parts of warmup_steps, in place of the linear rise. rate_decay: a factor applied at
    every step besides. The optimiser is AdamW with betas, weight_decay and amsgrad. clip_norm: maximum norm
    of the gradient. ema_decay: decay of the averaged weights.

    loggers: "tensorboard", "wandb" or both, besides log.jsonl, with audio, spectrograms and masks of
    num_examples validation mixtures.

    start_from: checkpoint folders or shipped models, one or several, for the initial weights; for `queried`
    released files and published models too, see initial_weights/released.py. start_parts: use these parts of
    them alone. start_into: the part of the model that they initialise. start_widened: they
    are from a narrower network, or one that shares some layers. A model of sound classes that starts from
    another keeps its classes and adds those of the data. retain_weight: weight of the loss that retains these
    classes, see tasks/retention.py; 0 if the data contain them. new_classes_only: train the classifier rows
    of the added classes alone; everything else stays as it is, batch statistics included.
    """

    steps: int
    batch_size: int = 16
    accumulate: int = 1
    checkpoint_activations: bool = False
    compile: str = ""
    shard: bool = False
    mix_on_device: bool = False
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
    precision: str = AUTO
    log_every: int = 50
    validate_every: int = 500
    save_every: int = 500
    loggers: tuple[str, ...] = ()
    num_examples: int = 4
    num_workers: int = 1
    skip_limit: int = 10
    kernels: str = "float32"
    start_from: str | tuple[str, ...] = ""
    start_parts: tuple[str, ...] = ()
    start_into: str = ""
    start_widened: bool = False
    retain_weight: float = 0.0
    new_classes_only: bool = False

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "accumulate",
            "log_every",
            "validate_every",
            "save_every",
            "skip_limit",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.kernels not in KERNELS:
            raise ValueError(f"kernels is {self.kernels!r}; expected one of {', '.join(KERNELS)}")
        if self.new_classes_only and not self.start_from:
            raise ValueError("new_classes_only needs a model to start from: set train.start_from")
        if self.new_classes_only and (self.weight_decay or self.retain_weight):
            raise ValueError(
                "new_classes_only changes no other weights: set train.weight_decay=0 train.retain_weight=0"
            )
        if self.shard and self.new_classes_only:
            raise ValueError("new_classes_only trains few weights: set train.shard=false")
        if self.shard and self.precision not in SHARD_PRECISIONS:
            listed = " or ".join(SHARD_PRECISIONS)
            raise ValueError(f"shard with precision {self.precision!r}; set it to {listed}")


@configuration
class DataConfig:
    """Settings of the training and validation data.

    sounds: "recordings", "classes" or "speakers" (folder with clips.csv; a group is a speaker), "captions"
    (folder with SPLIT.json of recordings and captions), "videos" (folder made by `qsep data prepare`),
    "synthetic", or "shapes" (synthetic sounds, and pictures of shapes that stand for them). sources:
    "sounds", or "captions": recordings are mixtures described by captions. num_validation: number of
    validation mixtures; 0 for no validation and no best checkpoint. labels: use these alone; empty for all.
    replay: for classes, a second folder of recordings, or "synthetic", so that the model does not forget the
    classes that it starts with.

    phrases: a phrase book; "labels": each label is its only wording; "captions": wordings are captions.
    queries: for videos "text", "image", "mixed", "hybrid" (frames at even steps, words at odd ones), or the
    probabilities of text, image and mixed for each item; for captions "text", or "audio": the source itself
    is the example.
    """

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
    """A recipe's tables. part: the part that is trained, one of QUERIED or UNQUERIED; model: its table.

    encoder: the query encoder's table, empty for UNQUERIED. mix, augment: tables whose settings depend on the
    data. effects: the tables of [mix] that all kinds of data have. card: text of the model card by heading.
    """

    name: str
    part: str
    model: dict[str, Any]
    encoder: dict[str, Any]
    data: DataConfig
    mix: dict[str, Any]
    augment: dict[str, Any]
    train: TrainConfig
    card: dict[str, Any] = field(default_factory=dict)
    effects: EffectsConfig = field(default_factory=EffectsConfig)


def with_local_data(recipe: Recipe) -> Recipe:
    """The recipe with data.folder in the cache, if it is a URL of shards, which are fetched.

    Raises ValueError for data that are not packed into shards, and as `local_copy`.
    """
    data = recipe.data
    if not is_url(data.folder):
        return recipe
    if data.sounds not in LISTED:
        raise ValueError(
            f"data.folder: {data.folder}: sounds = {data.sounds!r} need a local folder"
        )
    return replace(recipe, data=replace(data, folder=str(local_copy(data.folder))))


def start_folders(config: TrainConfig) -> list[Path]:
    """The folders and files of train.start_from, see `start_folder`."""
    return [start_folder(name) for name in start_names(config)]


def start_names(config: TrainConfig) -> list[str]:
    """The entries of train.start_from."""
    names = (config.start_from,) if isinstance(config.start_from, str) else config.start_from
    return [name for name in names if name]


def start_folder(name: str) -> Path:
    """A folder or released file by its path; a name that is none here is a published model's, which is
    fetched if need be, or a shipped one's. Raises ValueError if a published one cannot be fetched."""
    if is_published(name):
        return separator_folder(name)
    is_path = Path(name).name != name or Path(name).exists()
    return Path(name) if is_path else shipped_folder(name)


def is_published(name: str) -> bool:
    """Whether an entry of train.start_from is the name of a published model."""
    return not Path(name).exists() and name in published_models()


def read_recipe(
    path_or_name: str, overrides: list[str] | None = None
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe, and its content as plain values for provenance. overrides: "table.key=value".

    Raises ValueError for an unknown recipe, bad TOML, or unknown tables and settings.
    """
    path = find_recipe(path_or_name)
    content = read_content(path)
    for override in overrides or []:
        override_value(content, override)
    return recipe_from(content, path.stem), content


def find_recipe(path_or_name: str, folder: Path = Path(".")) -> Path:
    """The path of a recipe file, relative to the folder, or of a shipped recipe; ValueError for neither."""
    path = folder / path_or_name
    if not path.is_file():
        path = CONFIGS_DIR / f"{path_or_name.removesuffix('.toml')}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in CONFIGS_DIR.glob("*.toml")))
        raise ValueError(f"{path_or_name}: no such recipe; shipped ones: {shipped}")
    return path


def read_content(path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's tables, merged over those of the recipe that it names by `extends`.

    A file name in `extends` is relative to this file. extending: the files that extend this one, to detect
    cycles. Raises ValueError for bad TOML or a cycle.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (
        ValueError,
        RecursionError,
    ) as error:  # bad TOML or UTF-8, numbers of thousands of digits
        raise ValueError(f"{path}: not TOML: {error}") from error
    name = content.pop("extends", None)
    if name is None:
        return content
    if not isinstance(name, str):
        raise ValueError(f"{path}: extends is {name!r}; expected a recipe's name")
    base_path = find_recipe(name, path.parent)
    extending = (*extending, path.resolve())
    if base_path.resolve() in extending:
        raise ValueError(f"{path}: extends {name}, which extends it: remove one of the two")
    return merged(read_content(base_path, extending), content)


def override_value(content: dict[str, Any], override: str) -> None:
    """Replace one value in place, by "table.key=value"; a value that is not TOML is a string.

    Raises ValueError for an override of another form.
    """
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
    """The recipe with these tables; ValueError for unknown or missing tables and settings."""
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
        raise ValueError(f"recipe {name}: [{part}] has no queries; leave [encoder] out")
    needed = ["data", "train"] if part in UNQUERIED else ["encoder", "data", "train"]
    for table in needed:
        if table not in content:
            raise ValueError(f"recipe {name}: table [{table}] is missing")
    for table, settings in content.items():
        if not isinstance(settings, dict):
            raise ValueError(f"recipe {name}: {table} is a value; expected a table [{table}]")
    for table in (part, "encoder"):
        if table in content and not isinstance(content[table].get("kind"), str):
            raise ValueError(f'recipe {name}: [{table}] has no kind; add kind = "…"')
    if part != "separator" and content["train"].get("shard") is True:
        raise ValueError(f"recipe {name}: train.shard is for separators; set it to false")
    effects = effects_of(content.get("mix", {}), name)
    if content["train"].get("mix_on_device") is True:
        check_mixed_on_device(content, effects, name)
    mix = {key: value for key, value in content.get("mix", {}).items() if key not in EFFECTS}
    return Recipe(
        name,
        part,
        content[part],
        content.get("encoder", {}),
        from_table(DataConfig, content, "data", name),
        mix,
        content.get("augment", {}),
        from_table(TrainConfig, content, "train", name),
        content.get("card", {}),
        effects,
    )


def check_mixed_on_device(content: dict[str, Any], effects: EffectsConfig, name: str) -> None:
    """Raise ValueError for mixtures that train.mix_on_device does not make."""
    data, mix = content["data"], content.get("mix", {})
    mixed = data.get("sounds") in ("classes", "recordings", "synthetic")
    if not mixed or data.get("sources") == "captions":
        raise ValueError(
            f"recipe {name}: train.mix_on_device is for data.sounds 'classes', 'recordings' and 'synthetic'; "
            "set it to false"
        )
    if effects.active or mix.get("gains") or mix.get("noise_db"):
        raise ValueError(
            f"recipe {name}: train.mix_on_device makes no effects, gains or noise: set it to false, or leave "
            "these out of [mix]"
        )


def effects_of(mix: dict[str, Any], name: str) -> EffectsConfig:
    """The tables of [mix] that are effects; ValueError for unknown or bad settings."""
    settings = {}
    for key, config_class in EFFECTS.items():
        if key in mix:
            if not isinstance(mix[key], dict):
                raise ValueError(
                    f"recipe {name}: mix.{key} is a value; expected a table [mix.{key}]"
                )
            table = f"mix.{key}"
            settings[key] = from_table(config_class, {table: mix[key]}, table, name)
    return EffectsConfig(**settings)


def model_settings(recipe: Recipe, kind: str, config_class: Any, **known: Any) -> Any:
    """The configuration of a part that has only one kind. known: settings that follow from other parts.

    Raises ValueError for another kind or unknown settings.
    """
    settings = dict(recipe.model)
    if (recipe_kind := settings.pop("kind")) != kind:
        raise ValueError(
            f"recipe {recipe.name}: {recipe.part}.kind is {recipe_kind!r}; expected {kind!r}"
        )
    return from_table(config_class, {recipe.part: settings | known}, recipe.part, recipe.name)


def from_table(config_class: Any, content: dict[str, Any], table: str, name: str) -> Any:
    """A table of the recipe `name` as its configuration class; ValueError for unknown or bad settings."""
    try:
        return from_settings(config_class, content[table])
    except ValueError as error:
        raise ValueError(f"recipe {name}, [{table}]: {error}") from error
