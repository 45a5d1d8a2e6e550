"""`qsep models`: what models there are, fetching published ones, converting, publishing one's own."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qsep.separation import DEFAULT_MODEL

from .options import ModelOption

if TYPE_CHECKING:
    from qsep.separation.published.registry import PublishedModel

models_app = typer.Typer(no_args_is_help=True, help="What models there are and what they know.")

JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
COLUMNS = "{:20} {:5} {:>8}  {:24} {}"


@dataclass(frozen=True)
class Line:
    """A model in the list. size: bytes on disk, or to download; 0 unknown."""

    name: str
    kind: str
    system: str
    published: bool
    here: bool
    size: int
    licence: str
    rate: int
    knows: str


@models_app.command("list")
def list_models(
    published: Annotated[
        bool, typer.Option("--published", help="Those alone that others published.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """All models by name: what each knows, its size and licence, and whether it is here already."""
    lines = ([] if published else shipped_lines()) + published_lines()
    if json_output:
        print(json.dumps([vars(line) for line in lines], indent=1))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    print(COLUMNS.format("name", "here", "size", "licence", "knows"))
    for line in lines:
        about = f"(reads queries only) {line.knows}" if line.kind == "encoder" else line.knows
        row = COLUMNS.format(
            line.name,
            "yes" if line.here else "no",
            in_words(line.size),
            shortened(line.licence.partition(" (")[0].partition(":")[0], 24),
            about,
        )
        print(shortened(row, width) if width else row)


def shipped_lines() -> list[Line]:
    from qsep.separation.api import CHECKPOINTS_DIR, shipped_models
    from qsep.separation.storage.checkpoint import read_config, stored_classes
    from qsep.separation.storage.model_card import licence_of, title_of

    lines = []
    for name in shipped_models():
        folder = CHECKPOINTS_DIR / name
        config, card = read_config(folder), (folder / "README.md").read_text("utf-8")
        kinds = stored_classes(config)
        lines.append(
            Line(
                name,
                "separator",
                config["separator"]["kind"],
                False,
                True,
                size_of(folder),
                licence_of(card) or "Apache-2.0",
                config["sample_rate"],
                f"{len(kinds)} kinds of sound" if kinds else title_of(card),
            )
        )
    return lines


def published_lines() -> list[Line]:
    from qsep.separation.published.installed import installed_folder, is_here
    from qsep.separation.published.registry import published_models

    lines = []
    for model in published_models().values():
        folder = installed_folder(model.name)
        size = size_of(folder) if folder else model.size
        knows = model.knows if model.converter else f"(cannot be used: {model.note}) {model.knows}"
        lines.append(
            Line(
                model.name,
                model.kind,
                model.system,
                True,
                is_here(model),
                size,
                model.licence,
                model.rate,
                knows,
            )
        )
    return lines


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def in_words(num_bytes: int) -> str:
    if not num_bytes:
        return "?"
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


@models_app.command("get")
def get_models(
    names: Annotated[list[str], typer.Argument(help="Published names, or ORG/NAME of the hub.")],
    given: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with files fetched by hand or brought from elsewhere."),
    ] = None,
) -> None:
    """Download models and convert them, so that they can be used without a network."""
    from qsep.separation.api import checkpoint_folder
    from qsep.separation.published.installed import get_model
    from qsep.separation.published.registry import published_models

    if given and not given.is_dir():
        raise ValueError(f"{given}: no such folder; --from names one with the model's files in it")
    known = published_models()
    for name in names:
        model = known.get(name)
        if model is None:
            print(f"{name}: {checkpoint_folder(name)}")
            continue
        path = get_model(name, given)
        print(
            f'{name}: in a recipe [encoder] {model.use} = "{path}"'
            if model.use
            else f"{name}: {path}"
        )


@models_app.command("info")
def model_info(
    model: Annotated[
        str | None, typer.Argument(help="A name of 'qsep models list', a folder, or ORG/NAME.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="The whole configuration.")] = False,
) -> None:
    """What a model is, what it knows, and how it was made; published ones are not downloaded for this."""
    from qsep.separation.api import checkpoint_folder, shipped_models
    from qsep.separation.published.installed import installed_folder
    from qsep.separation.published.registry import published_models

    model = model or DEFAULT_MODEL
    facts = None if model in shipped_models() else published_models().get(model)
    if facts is None or Path(model).is_dir():
        describe_folder(checkpoint_folder(model), json_output)
        return
    folder = installed_folder(model)
    if json_output:
        print(json.dumps(asdict(facts) | {"here": str(folder) if folder else None}, indent=1))
        return
    describe_published(facts)
    if folder:
        print(f"here: {folder}")
        describe_folder(folder, False)
    else:
        print(
            f"not here: 'qsep models get {model}' fetches it, as does the first use of -m {model}"
        )


def describe_published(facts: PublishedModel) -> None:
    rate = f", {facts.rate} Hz" if facts.rate else ""
    print(f"{facts.name}: {facts.system}{rate}, {in_words(facts.size)} to download")
    print(f"knows: {facts.knows}")
    print(f"licence: {facts.licence}")
    print(f"paper: {facts.paper}")
    if not facts.converter:
        print(f"cannot be used: {facts.note}")
    if facts.use:
        print(f"use: in a recipe, [encoder] {facts.use} = FILE")
    for file in facts.files:
        if file.entry:
            print(f"file: that of {file.entry}, where the first lacks it")
            continue
        doubts = "" if file.confirmed else " (could not be confirmed)"
        size = f", {in_words(file.size)}" if file.size else ""
        hand = "; to be fetched by hand" if file.page else ""
        lacking = ", where the first lacks it" if file.unless_holds else ""
        print(f"file: {file.name}{size} from {file.where}{hand}{lacking}{doubts}")
        print(f"  SHA-256: {file.sha256 or 'not stated; recorded at the first download'}")
    for need in facts.needs:
        print(f"needs: {need.hub} of the hub ({', '.join(need.files)})")
    if facts.real_time:
        print(f"speed: about {facts.real_time:g} s of work a second of sound, on two CPU cores")
    if facts.memory_gb:
        print(f"memory: about {facts.memory_gb:g} GB")


def describe_folder(folder: Path, json_output: bool) -> None:
    from qsep.separation.storage.checkpoint import read_config, stored_classes

    config = read_config(folder)
    if json_output:
        print(json.dumps(config, indent=1))
        return
    size_mb = (folder / "model.safetensors").stat().st_size / 1e6
    provenance = config.get("provenance", {})
    print(
        f"{folder.name}: {config['separator']['kind']}, {config['sample_rate']} Hz, {size_mb:.1f} MB"
    )
    print(f"queries: {kinds_of_query(folder, config)}")
    if source := provenance.get("converted_from"):
        print(f"converted from: {source} ({provenance['recipe']})")
    elif {"recipe", "seed", "step"} <= provenance.keys():
        print(
            f"made by: qsep train {provenance['recipe']}, seed {provenance['seed']}, "
            f"{provenance['step']} steps"
        )
    if kinds := stored_classes(config):
        print(f"knows {len(kinds)} kinds of sound:")
        for kind in kinds:
            print(f"  {kind}")


def kinds_of_query(folder: Path, config: dict[str, Any]) -> str:
    """What a model reads and by which encoder, or why that cannot be told here."""
    from qsep.separation.inference.examples import readable
    from qsep.separation.storage.checkpoint import stored_encoder

    described = f"by {config['encoder']['kind']} ({config['encoder']['fingerprint']})"
    try:
        modalities = stored_encoder(folder, config).modalities
    except ValueError as error:
        return f"{described}, which is not usable here: {error}"
    kinds = readable(modalities, bool(config["separator"]["config"].get("concepts")))
    return f"{' and '.join(sorted(kind.kind for kind in kinds))}, {described}"  # type: ignore[attr-defined]


@models_app.command("read")
def read_queries(
    words: Annotated[
        list[str], typer.Argument(help="Queries, as 'the drums'.", metavar="WORDS...")
    ],
    model: ModelOption = DEFAULT_MODEL,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object a query on standard output.")
    ] = False,
) -> None:
    """What a model takes words for, without a recording: its classes, each with a degree."""
    from qsep.queries.interface import TextQuery
    from qsep.separation.api import checkpoint_folder
    from qsep.separation.storage.checkpoint import read_config, stored_encoder

    folder = checkpoint_folder(model)
    config = read_config(folder)
    encoder = stored_encoder(folder, config)
    for text in words:
        reading = encoder.read(TextQuery(text))
        if reading is None:
            raise ValueError(
                f"{model} does not read words as classes (its encoder is {config['encoder']['kind']}); "
                "give a model that has a phrase book"
            )
        if json_output:
            print(json.dumps(reading.plain()))
            continue
        print(reading.line())
        for label, degree in reading.classes:
            print(f"  {label:20} {degree:.2f}")


@models_app.command("convert")
def convert_model(
    file: Annotated[Path, typer.Argument(help="A released checkpoint, such as best_model.pt.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="Other settings than the released ones, as separator.exact=true.",
            metavar="[KEY=VALUE]...",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")] = ...,  # type: ignore[assignment]
) -> None:
    """Turn a checkpoint that others released into a checkpoint folder."""
    from qsep.separation.published.reader import convert_to_folder

    from ..training.config import override_value

    changes: dict[str, Any] = {}
    for setting in settings or []:
        override_value(changes, setting)
    if unknown := sorted(changes.keys() - {"separator", "encoder"}):
        raise ValueError(f"{unknown[0]}: settings are separator.KEY=VALUE or encoder.KEY=VALUE")
    convert_to_folder(file, out, changes)
    print(f"checkpoint: {out}")


@models_app.command("push")
def push_model(
    folder: Annotated[Path, typer.Argument(help="A checkpoint folder, as 'qsep train' makes.")],
    name: Annotated[str, typer.Argument(help="ORG/NAME on the Hugging Face hub.")],
    private: Annotated[bool, typer.Option("--private", help="For its owners alone.")] = False,
    message: Annotated[
        str, typer.Option("--message", help="Of the commit.")
    ] = "A checkpoint of qsep",
) -> None:
    """Publish a checkpoint folder on the Hugging Face hub (log in first: hf auth login)."""
    from qsep.separation.published.hub_model import push

    print(f"published: {push(folder, name, private or None, message)}")
    print(f"use it: qsep separate recording.wav -q 'a dog barking' -m {name}")
