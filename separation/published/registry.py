"""Which models are published, and where: the contents of registry.toml, without network access.

$QSEP_REGISTRY names another file in the same format, whose models come first and replace those of the
same name: for a laboratory's own models or mirrors.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

REGISTRY = Path(__file__).parent / "registry.toml"
KINDS = ("separator", "encoder")
NEAR = 0.5  # difflib's ratio from which a name counts as misspelt


@dataclass(frozen=True)
class PublishedFile:
    """A file and its one source: a hub repository (`hub` or `space`), a Zenodo record, an address
    (`url`), a web page for manual download (`page`), or another entry of the registry. The fields are
    those of registry.toml. ValueError unless there is exactly one source, and a name."""

    file: str = ""
    hub: str = ""
    space: str = ""
    revision: str = "main"
    zenodo: int = 0
    url: str = ""
    page: str = ""
    entry: str = ""
    unless_holds: str = ""
    size: int = 0
    sha256: str = ""
    confirmed: bool = True

    def __post_init__(self) -> None:
        sources = [self.hub, self.space, self.zenodo, self.url, self.page, self.entry]
        if sum(map(bool, sources)) != 1:
            raise ValueError(
                f"file {self.name!r} needs one of hub, space, zenodo, url, page, entry"
            )
        if not (self.file or self.url or self.entry):
            raise ValueError("a file without a name: set file = …")

    @property
    def name(self) -> str:
        """The file's name at its source."""
        return (self.file or self.url).rsplit("/", 1)[-1]

    @property
    def repository(self) -> str:
        """The hub repository, ORG/NAME; empty for other sources."""
        return self.hub or self.space

    @property
    def address(self) -> str:
        """Address for a download without the hub; empty for files on the hub and for manual downloads."""
        if self.zenodo:
            host = os.environ.get("QSEP_ZENODO", "https://zenodo.org").rstrip("/")
            return f"{host}/records/{self.zenodo}/files/{quote(self.file)}?download=1"
        return self.url

    @property
    def where(self) -> str:
        """The web page on which a person finds the file."""
        if self.hub:
            return f"https://huggingface.co/{self.hub}"
        if self.space:
            return f"https://huggingface.co/spaces/{self.space}"
        return f"https://zenodo.org/records/{self.zenodo}" if self.zenodo else self.page or self.url


@dataclass(frozen=True)
class NeededFiles:
    """Files of a hub repository that a query encoder loads by itself."""

    hub: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class PublishedModel:
    """A model of the registry; registry.toml explains the fields."""

    name: str
    system: str
    knows: str
    paper: str
    licence: str
    licence_id: str
    files: tuple[PublishedFile, ...]
    kind: str = "separator"
    rate: int = 0
    converter: bool = True
    note: str = ""
    use: str = ""
    real_time: float | None = None
    memory_gb: float | None = None
    needs: tuple[NeededFiles, ...] = ()
    unconfirmed: str = ""

    @property
    def separates(self) -> bool:
        """Whether qsep can separate with it."""
        return self.kind == "separator" and self.converter

    @property
    def size(self) -> int:
        """Bytes to download as far as known, without files that only some checkpoints need."""
        return sum(file.size for file in self.files if not file.unless_holds)

    @property
    def unconfirmed_files(self) -> tuple[str, ...]:
        """Names of files whose source could not be confirmed."""
        return tuple(file.name for file in self.files if not file.confirmed)


def published_models() -> dict[str, PublishedModel]:
    """All models by name, in the registry's order."""
    extra = os.environ.get("QSEP_REGISTRY")
    first = read_registry(Path(extra)) if extra else {}
    return first | {
        name: model for name, model in read_registry(REGISTRY).items() if name not in first
    }


@cache
def read_registry(path: Path) -> dict[str, PublishedModel]:
    """The models of one registry file. ValueError with one line that says what is wrong in it."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}: check QSEP_REGISTRY") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: not TOML ({error})") from error
    models = {}
    for name, table in tables.items():
        try:
            models[name] = as_model(name, table)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: model {name}: {error}") from error
    return models


def as_model(name: str, table: dict[str, Any]) -> PublishedModel:
    """A model from its table. ValueError or TypeError if the table is wrong."""
    content = dict(table)
    content["files"] = tuple(from_table(PublishedFile, file) for file in content.get("files", []))
    content["needs"] = tuple(
        from_table(NeededFiles, {**need, "files": tuple(need.get("files", ()))})
        for need in content.get("needs", [])
    )
    model: PublishedModel = from_table(PublishedModel, {"name": name, **content})
    if model.kind not in KINDS:
        raise ValueError(f"kind is {model.kind!r}; expected one of {', '.join(KINDS)}")
    if not model.files:
        raise ValueError("no files are listed")
    return model


def from_table(kind: Any, table: dict[str, Any]) -> Any:
    """A dataclass from a table. ValueError for unknown and for missing keys."""
    known = {item.name: item for item in fields(kind)}
    if unknown := sorted(table.keys() - known.keys()):
        raise ValueError(f"unknown key {unknown[0]!r}; known: {', '.join(known)}")
    required = [name for name, item in known.items() if item.default is MISSING]
    if missing := [name for name in required if name not in table]:
        raise ValueError(f"{missing[0]} is missing")
    return kind(**table)


def published_as(repository: str) -> str | None:
    """The registry's name of a hub repository, or None."""
    for model in published_models().values():
        if model.files[0].repository == repository:
            return model.name
    return None


def no_such_model(name: str, shipped: Iterable[str]) -> ValueError:
    """An error that suggests the nearest name and lists the models that come with the package and the
    published ones."""
    shipped = list(shipped)
    published = [model.name for model in published_models().values() if model.separates]
    near = difflib.get_close_matches(name.casefold(), [*shipped, *published], 1, NEAR)
    meant = f"; did you mean {near[0]}?" if near else "."
    return ValueError(
        f"{name}: no such model{meant} Included are {', '.join(shipped)}; published are "
        f"{', '.join(published)}; or give a checkpoint's folder, a released file, or ORG/NAME of the hub"
    )
