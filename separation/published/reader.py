"""Reads released checkpoint files of other systems: directly, or converted into a checkpoint folder."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from qsep.queries.files.weights import Unfilled, load_weights, read_state_dict
from qsep.queries.interface import QueryEncoder

from ..components import build_encoder, build_separator
from ..interface import Separator, as_module
from ..storage.checkpoint import (
    carry_encoder,
    check_width,
    describe,
    save_checkpoint,
)
from ..storage.model_card import citation_section, use_section, with_header
from ..storage.temporary import temporary_folder
from ..storage.weights import file_fingerprint
from .converters import (
    bimodal,
    clapsep,
    clipsep,
    flowsep,
    htdemucs,
    mossformer2,
    resunet30,
    tiger,
)
from .converters.converted import Converted
from .registry import PublishedModel

CONVERTERS = (clipsep, resunet30, flowsep, bimodal, clapsep, tiger, mossformer2)


def load_published(
    path: Path, changes: dict[str, dict[str, Any]] | None = None
) -> tuple[Separator, QueryEncoder, dict[str, Any]]:
    """Separator, encoder and description, as load_checkpoint returns them, from a released file.

    Strict: all weights must fit and be finite, and no code in the file is run. changes: settings of
    "separator" and "encoder" that replace those of the converter. ValueError for files that cannot be
    converted.
    """
    path = mossformer2.weight_file(path)
    converted = read_converted(path).changed(changes or {})
    with Unfilled():
        separator = build_separator(converted.kind, converted.settings)
    load_weights(separator, converted.weights, str(path), converted.released_name)
    encoder = build_encoder(converted.encoder_kind, converted.encoder_settings)
    check_width(separator, encoder, str(path))
    provenance = converted.provenance | {
        "converted_from": path.name,
        "sha256": file_fingerprint(path),
    }
    config = describe(converted.kind, separator, converted.encoder_kind, encoder, provenance)
    return separator.eval(), encoder, config


def read_converted(path: Path) -> Converted:
    """Converts a file with the converter that recognises it. ValueError if none does."""
    package = htdemucs.read_package(path)
    if package is not None:
        return htdemucs.convert(package, path)
    weights = read_state_dict(path)
    return converter_of(weights, path).convert(weights, path)


def converter_of(weights: dict[str, Tensor], path: Path) -> ModuleType:
    """The converter that recognises the weights of a file. ValueError if none does."""
    for converter in CONVERTERS:
        if converter.recognises(weights):
            return converter
    raise ValueError(f"{path}: not the weights of a system that qsep can convert")


def convert_to_folder(
    path: Path,
    folder: Path,
    changes: dict[str, dict[str, Any]] | None = None,
    published: PublishedModel | None = None,
) -> None:
    """Writes what `load_published` returns as a new checkpoint folder, with the encoder if it is in the
    released file.

    published: the registry's entry of the model, for its card. ValueError if the folder exists or the
    file does not.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists; give a folder that does not")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the released checkpoint, as best_model.pt")
    separator, encoder, config = load_published(path, changes)
    if published:
        config["provenance"] |= {"published": published.name, "licence": published.licence}
    weights = as_module(separator).state_dict()
    with temporary_folder(folder.parent) as scratch:
        files = carry_encoder(config, encoder, scratch)
        save_checkpoint(folder, config, weights, card_of(config, published), encoder_files=files)


def card_of(config: dict[str, Any], published: PublishedModel | None = None) -> str:
    """The model card of a converted checkpoint, with the hub's header."""
    provenance = config["provenance"]
    body = (
        f"# {provenance['recipe']}, converted\n\n"
        f"Weights from `{provenance['converted_from']}` (SHA-256 {provenance['sha256']}…), as their "
        "authors trained and released them; their licence holds.\n\n"
        f"Separator `{config['separator']['kind']}` at {config['sample_rate']} Hz; queries by "
        f"`{config['encoder']['kind']}`.\n\n"
    )
    if published is None:
        return with_header(body + use_section(), licence="see its authors")
    body += f"It knows {published.knows}.\n\nFrom {published.files[0].where}.\n\n"
    body += f"## Licence\n\n{published.licence}\n\n"
    body += f"{use_section()}\n{citation_section(published.paper)}"
    return with_header(body, published.licence_id, [published.system])
