"""One file over HTTP, continued where an earlier attempt stopped; each fault is one line with its remedy."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REMEDIES = {
    401: "it wants to know who asks: read {where}, accept what it asks, run 'hf auth login', then "
    "repeat this command",
    403: "it may not be fetched as it stands: ask for access at {where}, run 'hf auth login', then "
    "repeat this command",
    404: "no such file there: check the name at {where}, or update qsep",
    410: "it was taken away: look at {where}, or update qsep",
    429: "too many requests: wait a few minutes, then repeat this command",
}
UNWRITABLE = (errno.ENOSPC, errno.EACCES, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))
SERVER_FAULT = "the server is in trouble: repeat this command later"


class DownloadError(ValueError):
    """What could not be fetched, why, and what to do about it, in one line."""


@dataclass(frozen=True)
class Remote:
    """What a server says of a file. etag: on the hub, of large files, their SHA-256. size: bytes or None."""

    url: str
    headers: dict[str, str]
    etag: str
    size: int | None


def probe(url: str, name: str, where: str) -> Remote:
    """Ask for the file's facts alone; raises DownloadError."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.utils import build_hf_headers

    own = is_hub(url)
    try:
        facts = get_hf_file_metadata(url, token=None if own else False)
    except Exception as error:  # whatever the library under the hub's library raises
        if status_of(error) in (405, 501):  # a server that answers GET alone
            return Remote(url, {}, "", None)
        raise explained(error, name, where) from error
    headers = dict(build_hf_headers()) if own else {}
    return Remote(url, headers, (facts.etag or "").strip('"'), facts.size)


def is_hub(url: str) -> bool:
    """Whether the address is the hub's, which alone is to see the user's token."""
    from huggingface_hub import constants

    return url.startswith(f"{constants.ENDPOINT}/")


def transfer(remote: Remote, part: Path, name: str, where: str) -> None:
    """Bring the file to `part`, appending to what an earlier attempt left there.

    Dropped connections are taken up again a few times; what has come stays in `part` whatever happens.
    The hub's own download starts anew after its process has ended, which with gigabytes nobody wants.
    """
    from huggingface_hub.file_download import http_get

    have = part.stat().st_size if part.exists() else 0
    if remote.size is not None and have > remote.size:
        part.unlink()
        have = 0
    check_space((remote.size or 0) - have, part.parent, name)
    try:
        with quiet(), part.open("ab") as file:
            http_get(
                remote.url,
                file,
                resume_size=have,
                headers=remote.headers,
                expected_size=remote.size,
                displayed_filename=name,
                tqdm_class=progress_bar_class(),
            )
    except Exception as error:  # the same
        raise explained(error, name, where, part) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the hub's library's own words on attempts that it repeats."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check_space(num_bytes: int, folder: Path, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise DownloadError(
            f"{name}: needs {num_bytes / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free: "
            "make room, or set HF_HOME and QSEP_CACHE to folders on another disk"
        )


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an exception of the hub's library stands for."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


def is_connection_fault(error: BaseException) -> bool:
    """Whether no answer came at all."""
    return status_of(error) is None


def explained(error: Exception, name: str, where: str, part: Path | None = None) -> DownloadError:
    """One line of what went wrong with a download, and the remedy."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, DownloadError):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return offline(name)
    if status := status_of(error):
        remedy = REMEDIES.get(status, SERVER_FAULT if status >= 500 else "see {where}")
        return DownloadError(f"{name}: the server answers {status}; {remedy.format(where=where)}")
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        folder = part.parent if part else "the cache"
        return DownloadError(f"{name}: cannot be written to {folder} ({error.strerror})")
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    kept = f" ({part.stat().st_size / 1e6:.1f} MB are kept)" if part and part.exists() else ""
    return DownloadError(
        f"{name}: cannot be fetched from {where} ({reason}); check the network, then repeat this "
        f"command: it goes on where it stopped{kept}"
    )


def offline(name: str) -> DownloadError:
    return DownloadError(
        f"{name}: not here, and HF_HUB_OFFLINE forbids to fetch it: unset it, or copy the cache "
        "from a machine that has the file"
    )


def progress_bar_class() -> Any:
    """A bar on standard error where that is a terminal, whatever hides those of other libraries."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options["disable"] = not sys.stderr.isatty()
            super().__init__(*arguments, **options)

    return Bar
