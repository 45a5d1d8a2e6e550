"""Models by name: those of the registry, and checkpoint folders on the Hugging Face hub.

A published model is downloaded and converted once, into a checkpoint folder in qsep's cache that is
used from then on.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import NEEDS_TORCH
from ..storage.temporary import temporary_folder, write_atomically
from .download import cache_folder, fetch, local_copy, one_at_a_time
from .registry import (
    NeededFiles,
    PublishedFile,
    PublishedModel,
    published_as,
    published_models,
)
from .transfer import DownloadError, explained, is_connection_fault

log = logging.getLogger("qsep")

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")  # ORG/NAME or ORG/NAME@REVISION
COMMIT = re.compile(r"[0-9a-f]{40}")
CARD = "README.md"


def models_folder() -> Path:
    """The folder of converted models in qsep's cache."""
    return cache_folder() / "models"


def is_hub_name(name: str) -> bool:
    """Whether a name has the form ORG/NAME or ORG/NAME@REVISION."""
    return HUB_NAME.fullmatch(name) is not None


def installed_folder(name: str) -> Path | None:
    """The converted model's folder, or None if it is not here."""
    folder = models_folder() / name
    return folder if (folder / "config.json").is_file() else None


def is_local(model: PublishedModel) -> bool:
    """Whether the model can be used without network access."""
    if model.kind == "encoder":
        return local_copy(model.files[0]) is not None
    return installed_folder(model.name) is not None


def get_model(name: str, supplied: Path | None = None) -> Path:
    """The checkpoint folder of a separator, or the file of an encoder, in the registry; downloaded and
    converted if necessary.

    supplied: a folder with files that were downloaded manually or copied from elsewhere. DownloadError, or
    ValueError from the conversion, with one line that says what to do.
    """
    model = published_models()[name]
    if model.kind == "encoder":
        check_torch(name)
        return fetch(model.files[0], supplied)
    if folder := installed_folder(name):
        return folder
    if not model.converter:
        raise DownloadError(
            f"{name} cannot be used: {model.note}; its files are at {model.files[0].where}"
        )
    check_torch(name)
    if supplied is None and any(file.page for file in model.files):
        raise DownloadError(by_hand(model))
    with one_at_a_time(f"model-{name}", name):
        return installed_folder(name) or convert(model, supplied)


def check_torch(name: str) -> None:
    """Raise DownloadError where PyTorch is missing, which converts and runs what is downloaded."""
    if find_spec("torch") is None:
        raise DownloadError(f"{name} {NEEDS_TORCH}")


def by_hand(model: PublishedModel) -> str:
    """What to do for a model whose files have to be downloaded manually."""
    names = " and ".join(file.name for file in model.files if file.page)
    doubt = " (these names could not be confirmed)" if model.unconfirmed_files else ""
    return (
        f"{model.name}: cannot be downloaded automatically: open {model.files[0].page} in a browser, "
        f"unpack the download into a folder with {names}{doubt}, and run "
        f"'qsep models get {model.name} --from FOLDER'"
    )


def convert(model: PublishedModel, supplied: Path | None) -> Path:
    """Downloads the model's files and converts them. DownloadError, or ValueError from the conversion."""
    from huggingface_hub import constants

    from .reader import convert_to_folder

    first = model.files[0]
    if not (supplied or first.page or local_copy(first) or constants.is_offline_mode()):
        size = f"{model.size / 1e9:.1f} GB " if model.size else ""
        log.warning("%s: fetching %sfrom %s (%s)", model.name, size, first.where, model.licence)
        if model.unconfirmed:
            log.warning("%s: unconfirmed: %s", model.name, model.unconfirmed)
    folder = models_folder() / model.name
    with doubts_said(model):
        separator = fetch(first, supplied)
        others = [fetch(file, supplied) for file in other_files(model, separator)]
        for need in model.needs:
            fetch_needed(need)
        with temporary_folder(folder.parent) as scratch:
            for path in (separator, *others):  # side by side, as converters look for them
                stand_in(path, scratch / path.name)
            convert_to_folder(scratch / separator.name, folder, published=model)
    return folder


@contextmanager
def doubts_said(model: PublishedModel) -> Iterator[None]:
    """Context in which errors end with what was unconfirmed of the model."""
    try:
        yield
    except DownloadError as error:
        if not model.unconfirmed_files:
            raise
        names = ", ".join(model.unconfirmed_files)
        raise DownloadError(f"{error} (the source of {names} could not be confirmed)") from error
    except ValueError as error:  # from the conversion
        if not model.unconfirmed:
            raise
        raise ValueError(f"{error} (unconfirmed before: {model.unconfirmed})") from error


def other_files(model: PublishedModel, separator: Path) -> list[PublishedFile]:
    """The files beside the first, `separator`, that it needs; ValueError if it is of no known system."""
    from qsep.queries.files.weights import read_state_dict

    from .reader import converter_of

    files = model.files[1:]
    if not any(file.unless_holds for file in files):
        return list(files)
    weights = read_state_dict(separator)
    converter_of(weights, separator)  # before gigabytes are fetched that it does not need
    return [
        file
        for file in files
        if not (file.unless_holds and any(key.startswith(file.unless_holds) for key in weights))
    ]


def stand_in(path: Path, link: Path) -> None:
    """Makes `path` available as `link`: a symbolic link, or a copy if links are not permitted."""
    try:
        link.symlink_to(path.resolve())
    except OSError:  # where links need a permission
        shutil.copyfile(path, link)


def fetch_needed(need: NeededFiles) -> None:
    """Downloads into the hub's cache what query encoders load from there."""
    for name in need.files:
        fetch(PublishedFile(file=name, hub=need.hub))


def hub_folder(name: str) -> Path:
    """The snapshot of a checkpoint folder on the hub, ORG/NAME or ORG/NAME@REVISION, in the hub's
    cache.

    If the hub can be reached, the newest commit of a branch is used, otherwise the newest one in the
    cache. Repositories in the registry, which have other layouts, are converted. DownloadError if there
    is no checkpoint of qsep.
    """
    check_torch(name)
    repository, _, revision = name.partition("@")
    if not revision and (known := published_as(repository)):
        return get_model(known)
    revision = revision or "main"
    commit, names = listed(name, repository, revision)
    wanted = [item for item in names if is_part(item)]
    if "config.json" not in wanted or "model.safetensors" not in wanted:
        raise DownloadError(
            f"{name}: no checkpoint of qsep (config.json and model.safetensors) at "
            f"https://huggingface.co/{repository}; other published models are loaded by their names in "
            "'qsep models list'"
        )
    paths = {
        item: fetch(PublishedFile(file=item, hub=repository, revision=commit)) for item in wanted
    }
    reference = repository_folder(repository) / "refs" / revision
    write_atomically(reference, lambda path: path.write_text(commit, "utf-8"))
    return paths["config.json"].parent


def is_part(name: str) -> bool:
    """Whether a file of a repository belongs to a checkpoint folder."""
    return name in ("config.json", "model.safetensors", CARD) or name.startswith("encoder/")


def listed(name: str, repository: str, revision: str) -> tuple[str, list[str]]:
    """Commit of a revision and the names of its files; from the cache without network access.
    DownloadError if it is neither on the hub nor here."""
    if COMMIT.fullmatch(revision) and (files := snapshot(repository, revision)):
        return revision, files
    from huggingface_hub import HfApi, constants

    where = f"https://huggingface.co/{repository}"
    try:
        info: Any = HfApi().model_info(repository, revision=revision, timeout=10)
        return info.sha, [item.rfilename for item in info.siblings]
    except Exception as error:  # of huggingface_hub or the HTTP library below it
        if is_connection_fault(error) or constants.is_offline_mode():
            commit = cached_commit(repository, revision)
            if commit and (files := snapshot(repository, commit)):
                return commit, files
        raise explained(error, f"{name} (no such folder here)", where) from error


def repository_folder(repository: str) -> Path:
    """A repository's folder in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def cached_commit(repository: str, revision: str) -> str | None:
    """The commit that a revision had when it was last seen, or None."""
    reference = repository_folder(repository) / "refs" / revision
    if reference.is_file():
        return reference.read_text("utf-8").strip()
    return revision if COMMIT.fullmatch(revision) else None


def snapshot(repository: str, commit: str) -> list[str] | None:
    """Names of the files of a commit in the cache; None if the checkpoint is not complete."""
    folder = repository_folder(repository) / "snapshots" / commit
    names = [
        os.path.relpath(path, folder).replace(os.sep, "/")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    return names if {"config.json", "model.safetensors"} <= set(names) else None
