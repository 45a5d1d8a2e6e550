"""`qsep models info`."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qsep.separation import DEFAULT_MODEL, NEEDS_TORCH, TORCH_EXTRA

from ..completion import model_names
from .sizes import in_words

if TYPE_CHECKING:
    from qsep.separation.published.registry import PublishedFile, PublishedModel


def model_info(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A name of 'qsep models list', a checkpoint folder, or ORG/NAME.",
            autocompletion=model_names,
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the whole configuration as JSON.")
    ] = False,
) -> None:
    """Describe a model: what it can separate, how it was trained, where it is published.

    A published model is not downloaded for this.
    """
    from qsep.separation.api import checkpoint_folder, shipped_models
    from qsep.separation.published.installed import installed_folder
    from qsep.separation.published.registry import published_models

    model = model or DEFAULT_MODEL
    entry = None if model in shipped_models() else published_models().get(model)
    if entry is None or Path(model).is_dir():
        describe_folder(checkpoint_folder(model), json_output)
        return
    folder = installed_folder(model)
    if json_output:
        print(json.dumps(asdict(entry) | {"here": str(folder) if folder else None}, indent=1))
        return
    describe_published(entry)
    if folder:
        print(f"here: {folder}")
        describe_folder(folder, False)
    elif find_spec("torch") is None:
        print(f"not downloaded; it {NEEDS_TORCH}")
    else:
        print(f"not downloaded: 'qsep models get {model}' fetches it, as does the first -m {model}")


def describe_published(model: PublishedModel) -> None:
    """Print what the registry says about a model."""
    rate = f", {model.rate} Hz" if model.rate else ""
    print(f"{model.name}: {model.system}{rate}, {in_words(model.size)} to download")
    print(f"knows: {model.knows}")
    print(f"licence: {model.licence}")
    print(f"paper: {model.paper}")
    if model.unconfirmed:
        print(f"unconfirmed: {model.unconfirmed}")
    if not model.converter:
        print(f"not usable: {model.note}")
    if model.use:
        print(f"use: in a recipe, [encoder] {model.use} = FILE")
    for file in model.files:
        describe_file(file)
    for need in model.needs:
        print(f"needs: {', '.join(need.files)} of {need.hub} on the Hugging Face hub")
    if model.real_time:
        print(f"speed: about {model.real_time:g} s per second of audio on two CPU cores")
    if model.memory_gb:
        print(f"memory: about {model.memory_gb:g} GB")


def describe_file(file: PublishedFile) -> None:
    """Print where one file of a published model comes from, with its size and hash."""
    if file.entry:
        print(f"file: that of {file.entry}, if the first file does not include it")
        return
    size = f", {in_words(file.size)}" if file.size else ""
    notes = [
        "; download it by hand" if file.page else "",
        ", if the first file does not include it" if file.unless_holds else "",
        "" if file.confirmed else " (unconfirmed)",
    ]
    print(f"file: {file.name}{size} from {file.where}{''.join(notes)}")
    print(f"  SHA-256: {file.sha256 or 'not published; recorded at the first download'}")


def describe_folder(folder: Path, json_output: bool) -> None:
    """Print what a checkpoint folder holds, or its whole configuration as JSON."""
    from qsep.separation.storage.config import WEIGHTS, read_config, shared_weights, stored_classes

    config = read_config(folder)
    if json_output:
        print(json.dumps(config, indent=1))
        return
    size_mb = (folder / WEIGHTS).stat().st_size / 1e6
    shared = shared_weights(folder)
    others = f" and the weights of {shared['model']}" if shared else ""
    provenance = config.get("provenance", {})
    print(
        f"{folder.name}: {config['separator']['kind']}, {config['sample_rate']} Hz, {size_mb:.1f} MB{others}"
    )
    print(f"queries: {accepted_queries(folder, config)}")
    if source := provenance.get("converted_from"):
        print(f"converted from: {source} ({provenance['recipe']})")
    elif {"recipe", "seed", "step"} <= provenance.keys():
        print(
            f"made by: qsep train {provenance['recipe']}, seed {provenance['seed']}, "
            f"{provenance['step']} steps"
        )
    if classes := stored_classes(config):
        print(f"knows {len(classes)} kinds of sound:")
        for name in classes:
            print(f"  {name}")


def accepted_queries(folder: Path, config: dict[str, Any]) -> str:
    """The kinds of query that a checkpoint accepts and its encoder, or why the encoder cannot be used."""
    from qsep.queries.interface import readable
    from qsep.separation.storage.config import stored_encoder

    encoder = f"by {config['encoder']['kind']} ({config['encoder']['fingerprint']})"
    try:
        modalities = stored_encoder(folder, config).modalities
    except ModuleNotFoundError as error:
        if error.name not in TORCH_EXTRA:
            raise
        return f"{encoder}, which {NEEDS_TORCH}"
    except ValueError as error:
        return f"{encoder}, which cannot be used here: {error}"
    kinds = readable(modalities, bool(config["separator"]["config"].get("class_names")))
    return f"{' and '.join(sorted(kind.kind for kind in kinds))}, {encoder}"
