"""The files of an exported model: graphs, tokenizer, phrase book."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from qsep.queries.encoders.minilm import MiniLM
from qsep.queries.files.json_files import json_content
from qsep.queries.reading.book import Book

from ..light.graph_separator import WEIGHTS
from ..published.finding import checkpoint_folder
from ..storage.checkpoint import load_checkpoint
from ..storage.temporary import write_atomically
from .graph import write_whole, write_without_weights
from .sentences import TOKENIZER, sentence_graph
from .separator import separator_graph

log = logging.getLogger("qsep")


def names_of(path: Path, sentences: bool = True) -> list[Path]:
    """Where `export_files` writes to: the graph, and the sentence encoder's graph, its tokenizer and the
    phrase book."""
    others = ("sentences.onnx", "tokenizer.json", "book.json") if sentences else ()
    return [path, *(path.with_name(f"{path.stem}.{other}") for other in others)]


def export_files(
    model: str | Path,
    path: Path,
    sentences: bool = True,
    half: bool = False,
    graph_only: bool = False,
) -> list[Path]:
    """Export a checkpoint; returns what was written.

    model: a name or a folder, as for `load`. sentences: also export what maps words to query vectors, if the
    model has a phrase book. half: store all matrices as 16-bit floats. graph_only: leave the weights out.
    Raises ValueError for what cannot be exported.
    """
    folder = checkpoint_folder(model)
    separator, encoder, _ = load_checkpoint(folder)
    description = json_content(folder / "config.json")
    graph = separator_graph(separator, description["separator"])
    if graph_only:
        write_without_weights(graph, path, WEIGHTS)
        return [path]
    write_whole(graph, path, half)
    if not sentences:
        return [path]
    if encoder.book is None or encoder.sentence_encoder is None:
        log.warning("%s does not read words as classes: only its separator was exported", model)
        return [path]
    words = export_words(encoder.book, encoder.sentence_encoder, names_of(path)[1:], half)
    return [path, *words]


def export_words(book: Book, minilm: MiniLM, paths: list[Path], half: bool) -> list[Path]:
    """A phrase book, its sentence encoder and the tokenizer; returns the paths."""
    graph_path, tokenizer_path, book_path = paths
    write_whole(sentence_graph(minilm), graph_path, half)
    source = minilm.folder() / TOKENIZER
    write_atomically(tokenizer_path, lambda file: shutil.copyfile(source, file))
    text = json.dumps(book.plain(), ensure_ascii=False) + "\n"
    write_atomically(book_path, lambda file: file.write_text(text, "utf-8"))
    return paths
