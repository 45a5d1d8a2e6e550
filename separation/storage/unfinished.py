"""Work on files that takes long: an interrupted process leaves it behind, and the same work continues there.

The files lie in a temporary folder until all are complete. Now and then the state of the work is saved there;
without a saved state, the folder is removed with its process, or as that of any process that is gone.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qsep.queries.files.json_files import json_content

from .temporary import (
    KEPT_SECONDS,
    STATE,
    explained,
    is_abandoned,
    is_kept,
    temporary_path,
    visit,
    write_atomically,
)

log = logging.getLogger("qsep")

SAVE_SECONDS = 60.0  # between two saved states, and before the first
PARTIAL = "partial"  # folder of the files that are not complete


class Unfinished:
    """The files of one piece of work.

    folder: where they lie until all are complete. state: plain values for JSON, which the caller changes and
    `save` stores; {} at the beginning. is_saved: whether it was ever stored.
    """

    def __init__(self, folder: Path, key: str | None, outputs: Sequence[Path]) -> None:
        self.folder, self.key, self.outputs = folder, key, outputs
        self.state: dict[str, Any] = {}
        self.is_saved = False
        self._saved_at = time.monotonic()

    def partial(self, output: Path) -> Path:
        """The file that will become `output`, while it is written."""
        return self.folder / PARTIAL / output.name

    def complete(self, output: Path) -> Path:
        """The same file once it is complete."""
        return self.folder / output.name

    def set_complete(self, file: Path, output: Path) -> None:
        """Rename a finished file to `complete(output)`."""
        os.replace(file, self.complete(output))

    def is_due(self) -> bool:
        """Whether the work is worth keeping and its state was not saved for SAVE_SECONDS."""
        return self.key is not None and time.monotonic() - self._saved_at >= SAVE_SECONDS

    def save(self) -> None:
        """Store the state together with the partial files, whose writers have no bytes in memory.

        Raises OSError if the disk cannot be written.
        """
        sizes = {}
        with explained(self.folder.parent):
            for file in (self.folder / PARTIAL).iterdir():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
                    sizes[file.name] = os.fstat(written.fileno()).st_size
            names = [output.name for output in self.outputs]
            text = json.dumps(
                {"key": self.key, "outputs": names, "sizes": sizes, "state": self.state}
            )
            sealed = json.dumps({"crc32": zlib.crc32(text.encode()), "content": text})
            write_atomically(self.folder / STATE, lambda path: path.write_text(sealed, "utf-8"))
        self.is_saved = True
        self._saved_at = time.monotonic()


@contextmanager
def unfinished(
    parent: Path, key: str | None, outputs: Sequence[Path], about: str
) -> Iterator[Unfinished]:
    """A context for work that fills `outputs`, all in the folder `parent`.

    If an abandoned piece of work has the same key, this continues it; one with another key and some of the
    same outputs is removed, with a warning. If the context is interrupted or the disk fails after a state
    was saved, the work is kept; otherwise its folder is removed.
    key: a digest of all that the outputs depend on; None for work that is not worth keeping. about: names the
    work in messages.
    """
    visit(parent)
    work = None if key is None else continued(parent, key, outputs, about)
    if work is None:
        work = Unfinished(temporary_path(parent), key, outputs)
        with explained(parent):
            (work.folder / PARTIAL).mkdir(parents=True)
    try:
        yield work
    except BaseException as error:
        if work.is_saved and may_end_otherwise(error):
            log.warning(
                "%s: what is done is kept for %d days: the same command continues it",
                *(about, KEPT_SECONDS // (24 * 3600)),
            )
        else:
            shutil.rmtree(work.folder, ignore_errors=True)
        raise
    shutil.rmtree(work.folder, ignore_errors=True)


def may_end_otherwise(error: BaseException) -> bool:
    """Whether the same work may succeed later: it was interrupted, or a disk or a network failed."""
    return not isinstance(error, Exception) or isinstance(error.__cause__ or error, OSError)


def continued(parent: Path, key: str, outputs: Sequence[Path], about: str) -> Unfinished | None:
    """Abandoned work with this key, now of this process; None if there is none that can be continued."""
    for folder in parent.glob(".qsep-*.part"):
        if not (is_abandoned(folder) and is_kept(folder)):
            continue
        saved = read_saved(folder)
        if saved and saved["key"] == key:
            work = Unfinished(temporary_path(parent), key, outputs)
            try:
                os.rename(folder, work.folder)
            except OSError:  # another process was first
                continue
            if has_files(work.folder, saved["sizes"]):
                work.state, work.is_saved = saved["state"], True
                return work
            folder = work.folder
        elif saved and not {output.name for output in outputs} & set(saved["outputs"]):
            continue
        log.warning(
            "%s: what an earlier run left unfinished is removed: it was done with other settings, the "
            "recording has changed, or it is damaged",
            about,
        )
        shutil.rmtree(folder, ignore_errors=True)
    return None


def read_saved(folder: Path) -> dict[str, Any] | None:
    """What `Unfinished.save` wrote; None if it is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        sealed = json_content(folder / STATE)
        if sealed["crc32"] == zlib.crc32(sealed["content"].encode()):
            saved: dict[str, Any] = json.loads(sealed["content"])
            return saved
    return None


def has_files(folder: Path, sizes: dict[str, int]) -> bool:
    """Cut partial files to the sizes that were saved, and remove others; False if one is missing, shorter or
    a symbolic link, through which nothing is written.

    Files that were completed after the state was saved need no partial file.
    """
    if (folder / PARTIAL).is_symlink() or not (folder / PARTIAL).is_dir():
        return False
    for file in (folder / PARTIAL).iterdir():
        if file.name not in sizes:
            file.unlink()
    for name, size in sizes.items():
        file = folder / PARTIAL / name
        if (folder / name).is_file():
            file.unlink(missing_ok=True)
        elif file.is_file() and not file.is_symlink() and file.stat().st_size >= size:
            os.truncate(file, size)
        else:
            return False
    return True
