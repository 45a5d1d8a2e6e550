"""Corpora at a URL: shards that `qsep data shard` made, copied to the cache before they are used.

Any file system that fsspec knows and whose package is installed: https://, s3:// (s3fs), gs:// (gcsfs),
hf://datasets/ORG/NAME (huggingface_hub), …
"""

from __future__ import annotations

import logging
import re
from functools import partial
from pathlib import Path

from qsep.queries.cache import make_private
from qsep.separation.published.download import cache_folder, digest_of, one_at_a_time
from qsep.separation.storage.results import sha256_of
from qsep.separation.storage.temporary import write_atomically

from .shards import INDEX, LIST, read_index

log = logging.getLogger("qsep")

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(location: str) -> bool:
    """Whether a data folder is given as a URL."""
    return URL.match(location) is not None


def local_copy(url: str) -> Path:
    """The folder in the cache with the corpus at a URL, fetched as far as it is missing or has changed.

    One process at a time; after an interruption, complete shards are kept. Raises ValueError for a URL that
    cannot be read, for one without shards, and for a shard that differs from the index.
    """
    folder = cache_folder() / "shards" / digest_of(url)
    with one_at_a_time(url, url):
        make_private(cache_folder())
        folder.mkdir(parents=True, exist_ok=True)
        for name in (INDEX, LIST):
            fetch(url, name, folder / name)
        shards = read_index(folder)
        for number, shard in enumerate(shards, start=1):
            path = folder / shard.file
            if path.is_file() and sha256_of(path) == shard.sha256:
                continue
            log.warning("%s: fetching %s, %d of %d", url, shard.file, number, len(shards))
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch(url, shard.file, path)
            if sha256_of(path) != shard.sha256:
                path.unlink()
                raise ValueError(
                    f"{url}/{shard.file}: differs from its entry in {INDEX}: upload it again"
                )
    return folder


def fetch(url: str, name: str, path: Path) -> None:
    """Copy a file below a URL to `path`; ValueError if that fails."""
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(url)
        write_atomically(path, partial(system.get_file, f"{root.rstrip('/')}/{name}"))
    except Exception as error:  # of any file system's library
        raise ValueError(
            f"{url.rstrip('/')}/{name}: cannot be fetched ({reason(error)})"
        ) from error


def reason(error: BaseException) -> str:
    """An exception as one line of text."""
    if isinstance(error, FileNotFoundError):
        return f"no such file; {INDEX} is made by `qsep data shard`"
    return " ".join(str(error).split()) or type(error).__name__
