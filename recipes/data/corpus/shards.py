"""A corpus packed into tar files in WebDataset's format: a few large files instead of many small ones.

A member KEY.flac (or another extension) is the recording's file, KEY.json holds its row of clips.csv and the
row's index; the key is the file's name without extension, dots replaced by underscores. index.json lists the
shards with their number of clips and SHA-256, clips.csv is the corpus's. The same corpus and seed give the
same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from qsep.queries.files.json_files import json_content
from qsep.queries.files.tables import Rows, as_table
from qsep.separation.storage.listed_paths import check_inside
from qsep.separation.storage.results import Results

from .checking import read_corpus
from .splits import draw

COMMAND = "data shard"
INDEX = "index.json"
LIST = "clips.csv"
Entry = tuple[int, dict[str, str]]  # index of a row of clips.csv, and the row


class Packed(NamedTuple):
    """A clip: its row of clips.csv, the row's index, and the bytes of its file."""

    row: Mapping[str, str]
    row_index: int
    content: bytes


class Shard(NamedTuple):
    """An entry of the index. clips: their number."""

    file: str
    split: str
    clips: int
    sha256: str


def write_shards(folder: Path, out: Path, max_bytes: int, seed: int = 0) -> list[Shard]:
    """Pack every recording of folder/clips.csv once, in random order, with separate shards for each split.

    max_bytes: of a shard; exceeded only by a single larger recording. seed: of the order.
    Raises ValueError for missing recordings, repeated file names, and as `read_corpus`.
    """
    read_corpus(folder)
    results = Results(out, COMMAND)
    path = folder / LIST
    with path.open(newline="", encoding="utf-8-sig") as file, as_table(path):
        entries = list(enumerate(Rows(file)))
    rows = [row for _, row in entries]
    missing = [row["file"] for row in rows if not (folder / row["file"]).is_file()]
    if missing:
        raise ValueError(f"{folder}: {len(missing)} recordings are missing, first {missing[0]}")
    keys = {key_of(row["file"]) for row in rows}
    if len(keys) != len(rows):
        raise ValueError(f"{path}: names a file twice")
    shards = []
    for split in sorted({row["split"] for row in rows}):
        members = [entry for entry in entries if entry[1]["split"] == split]
        members.sort(key=lambda entry: draw(seed, entry[1]["file"]))
        for number, batch in enumerate(batches(folder, members, max_bytes)):
            name = f"{split}-{number:05d}.tar"
            written = results.write(name, partial(pack, folder, batch))
            sha256 = hashlib.sha256(written.read_bytes()).hexdigest()
            shards.append(Shard(name, split, len(batch), sha256))
    results.write(LIST, lambda copied: copied.write_bytes(path.read_bytes()))
    listed = [shard._asdict() for shard in shards]
    results.write_text(INDEX, json.dumps({"shards": listed}, indent=1) + "\n")
    results.remove(set(results.entries) - {INDEX, LIST, *(shard.file for shard in shards)})
    return shards


def batches(folder: Path, entries: list[Entry], max_bytes: int) -> Iterator[list[Entry]]:
    """Consecutive entries that fit together into a shard of max_bytes."""
    batch: list[Entry] = []
    size = 0
    for index, row in entries:
        sizes = (folder / row["file"]).stat().st_size, len(described(index, row))
        # Each member has a header block, and its content is padded to whole blocks.
        num_bytes = sum(tarfile.BLOCKSIZE * (1 - -num // tarfile.BLOCKSIZE) for num in sizes)
        if batch and size + num_bytes + tarfile.RECORDSIZE > max_bytes:  # padding at the end
            yield batch
            batch, size = [], 0
        batch.append((index, row))
        size += num_bytes
    if batch:
        yield batch


def pack(folder: Path, entries: list[Entry], path: Path) -> None:
    """Write a shard of these entries to `path`."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index, row in entries:
            key = key_of(row["file"])
            add(tar, key + PurePosixPath(row["file"]).suffix, (folder / row["file"]).read_bytes())
            add(tar, f"{key}.json", described(index, row))


def described(index: int, row: dict[str, str]) -> bytes:
    """The JSON member of a clip."""
    return json.dumps({"row": row, "place": index}, ensure_ascii=False).encode()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member without time, owner or permissions, so that equal corpora give equal bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def key_of(file: str) -> str:
    """The key of a file. WebDataset ends keys at the first dot, so there are none."""
    path = PurePosixPath(file)
    return (path.parent / path.stem).as_posix().replace(".", "_")


def read_shards(folder: Path, split: str) -> Iterator[Packed]:
    """The clips of a split, shard by shard.

    Raises ValueError for a missing index, and for a shard that is not the one listed there.
    """
    for shard in read_index(folder):
        if shard.split != split:
            continue
        content = (folder / shard.file).read_bytes()
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            raise ValueError(
                f"{folder / shard.file}: differs from its entry in {INDEX}: make or download it again"
            )
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            audio: bytes | None = None
            for member in tar:
                file = tar.extractfile(member)
                assert file  # we write no folders or links
                if member.name.endswith(".json"):
                    assert audio is not None
                    entry = json.loads(file.read())
                    yield Packed(entry["row"], entry["place"], audio)
                else:
                    audio = file.read()


def read_index(folder: Path) -> list[Shard]:
    """The shards that a folder's index lists; ValueError if it is missing, malformed, or names files
    outside the folder (see `check_inside`)."""
    try:
        content = json_content(folder / INDEX)
        shards = [Shard(**shard) for shard in content["shards"]]
    except OSError:
        raise ValueError(f"{folder / INDEX}: no such file; `qsep data shard` makes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / INDEX}: not an index of shards: {error!r}") from None
    check_inside((shard.file for shard in shards), folder / INDEX)
    return shards
