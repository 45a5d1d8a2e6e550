"""Writing the page: a model's graph, its phrase book, and static files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qsep.queries.reading.book import OTHER, Book
from qsep.separation.storage.results import replace_folder
from qsep.separation.storage.temporary import temporary_folder

from .onnxruntime_web import add_runtime

STATIC = Path(__file__).parent / "static"
GRAPH, WORDS = "model.onnx", "model.json"
GEOMETRY = ("sample_rate", "stride_samples", "context_samples", "step_samples")


def write_page(
    model: str,
    folder: Path,
    archive: Path | None = None,
    export: Callable[[str, Path], Any] | None = None,
) -> None:
    """Write the page into the folder, which is new, empty, or an earlier page's.

    Any file server can serve it. model: a name or a checkpoint's folder, of a model that reads words as
    classes. archive: see `add_runtime`. export: writes the model's graph, by default `export_files`.
    Raises ValueError, in one line, for a model without a phrase book or a runtime that is
    unavailable; then the folder is unchanged.
    """
    from qsep.separation.api import checkpoint_folder
    from qsep.separation.storage.config import read_config, stored_encoder

    checkpoint = checkpoint_folder(model)
    encoder = stored_encoder(checkpoint, read_config(checkpoint))
    if encoder.book is None:
        raise ValueError(
            f"{model} does not read words as classes: the page needs a model that does"
        )
    with temporary_folder(folder.absolute().parent) as staging:
        for path in sorted(STATIC.iterdir()):
            shutil.copyfile(path, staging / path.name)
        add_runtime(staging, archive)
        (export or export_graph)(model, staging / GRAPH)
        about = {"name": checkpoint.name} | geometry_of(staging / GRAPH) | words_of(encoder.book)
        text = json.dumps(about, ensure_ascii=False, separators=(",", ":"))
        (staging / WORDS).write_text(text, "utf-8")
        replace_folder(staging, folder, "page")


def how_to_serve(folder: Path) -> str:
    """What to do with a written page."""
    return f"{folder}: serve it, for example with 'python -m http.server -d {folder}'"


def export_graph(model: str, path: Path) -> None:
    """The separator alone, with its weights."""
    from qsep.separation.export.files import export_files

    export_files(model, path, sentences=False)


def geometry_of(graph: Path) -> dict[str, int]:
    """How recordings are cut for it, from the graph's metadata."""
    import onnx

    model = onnx.load(str(graph), load_external_data=False)
    (text,) = (entry.value for entry in model.metadata_props if entry.key == "qsep")
    about = json.loads(text)
    return {name: about[name] for name in GEOMETRY}


def words_of(book: Book) -> dict[str, Any]:
    """labels of a query's degrees, and every class and family: its name, places of its classes among the
    labels, and phrases."""
    labels = [*book.classes, OTHER]
    entries = [*book.classes.items(), *book.families.items()]
    return {
        "labels": labels,
        "entries": [
            {
                "name": entry.name,
                "members": [labels.index(member) for member in entry.members or (label,)],
                "phrases": list(dict.fromkeys([entry.name, *entry.phrases])),
            }
            for label, entry in entries
        ],
    }
