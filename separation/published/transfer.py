"""Download of one file over HTTP, resumed where an earlier attempt stopped; errors are one line with a
remedy."""

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
    401: "a login is required: accept the terms at {where}, run 'hf auth login', then repeat this command",
    403: "access is restricted: request it at {where}, run 'hf auth login', then repeat this command",
    404: "there is nothing of this name: check the name at {where}, or update qsep",
    410: "the file was removed: see {where}, or update qsep",
    429: "too many requests: wait a few minutes, then repeat this command",
}
HUB_PAGES = "https://huggingface.co/"
NO_SUCH_REPOSITORY = (  # the hub's answer, 401, to whoever is not logged in
    "there is nothing of this name, or it is private: check the name at {where}, or run 'hf auth login'"
)
UNWRITABLE = (errno.ENOSPC, errno.EACCES, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))
SERVER_FAULT = "the server has a problem: repeat this command later"


class DownloadError(ValueError):
    """A file that could not be downloaded, why, and what to do, in one line."""


@dataclass(frozen=True)
class Remote:
    """A file on a server. etag: of large files on the hub their SHA-256. size: in bytes, or None if
    unknown."""

    url: str
    headers: dict[str, str]
    etag: str
    size: int | None


def probe(url: str, name: str, where: str) -> Remote:
    """The server's description of a file, without its content. Raises DownloadError."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.utils import build_hf_headers

    on_hub = is_hub(url)
    try:
        facts = get_hf_file_metadata(url, token=None if on_hub else False)
    except Exception as error:  # of huggingface_hub or the HTTP library below it
        if status_of(error) in (405, 501):  # a server without HEAD requests
            return Remote(url, {}, "", None)
        raise explained(error, name, where) from error
    headers = dict(build_hf_headers()) if on_hub else {}
    return Remote(url, headers, (facts.etag or "").strip('"'), facts.size)


def is_hub(url: str) -> bool:
    """Whether an address is the hub's: only the hub may see the user's token."""
    from huggingface_hub import constants

    return url.startswith(f"{constants.ENDPOINT}/")


def transfer(remote: Remote, part: Path, name: str, where: str) -> None:
    """Downloads a file to `part`, appending to what an earlier attempt left there. Raises DownloadError.

    Interrupted connections are resumed a few times, and `part` is kept in any case. hf_hub_download
    would start again from zero in a new process, which is a waste with files of gigabytes.
    """
    from huggingface_hub.file_download import http_get

    num_present = part.stat().st_size if part.exists() else 0
    if remote.size is not None and num_present > remote.size:
        part.unlink()
        num_present = 0
    check_space((remote.size or 0) - num_present, part.parent, name)
    try:
        with quiet(), part.open("ab") as file:
            http_get(
                remote.url,
                file,
                resume_size=num_present,
                headers=remote.headers,
                expected_size=remote.size,
                displayed_filename=name,
                tqdm_class=progress_bar_class(),
            )
    except Exception as error:  # of huggingface_hub or the HTTP library below it
        raise explained(error, name, where, part) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silences huggingface_hub's messages about attempts that it repeats."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check_space(num_bytes: int, folder: Path, name: str) -> None:
    """DownloadError unless the folder's disk has this much free space."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise DownloadError(
            f"{name}: needs {num_bytes / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free: "
            "make room, or set HF_HOME and QSEP_CACHE to folders on another disk"
        )


def status_of(error: BaseException) -> int | None:
    """HTTP status of an exception of huggingface_hub, or None."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


def is_connection_fault(error: BaseException) -> bool:
    """Whether the server did not answer at all."""
    return status_of(error) is None


def explained(error: Exception, name: str, where: str, part: Path | None = None) -> DownloadError:
    """A failed download as one line with its remedy."""
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, DownloadError):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return offline(name, where)
    if status := status_of(error):
        remedy = REMEDIES.get(status, SERVER_FAULT if status >= 500 else "see {where}")
        is_gated = isinstance(error, GatedRepoError)  # a kind of RepositoryNotFoundError
        if status == 401 and isinstance(error, RepositoryNotFoundError) and not is_gated:
            remedy = NO_SUCH_REPOSITORY
        return DownloadError(f"{name}: the server answers {status}; {remedy.format(where=where)}")
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        folder = part.parent if part else "the cache"
        return DownloadError(f"{name}: cannot be written to {folder} ({error.strerror})")
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    kept = f" ({part.stat().st_size / 1e6:.1f} MB are kept)" if part and part.exists() else ""
    return DownloadError(
        f"{name}: cannot be fetched from {where} ({reason}); check the network, then repeat this "
        f"command: it resumes where it stopped{kept}"
    )


def offline(name: str, where: str) -> DownloadError:
    """The error for a file that is not here while downloads are forbidden."""
    machine = "that has it"
    if where.startswith(HUB_PAGES):
        repository = where.removeprefix(HUB_PAGES)
        if repository.startswith("spaces/"):
            repository = f"{repository.removeprefix('spaces/')} --repo-type space"
        machine = f"where 'hf download {repository}' was run"
    return DownloadError(
        f"{name}: not here, and HF_HUB_OFFLINE forbids downloads: unset it, or copy the cache of a "
        f"machine {machine}"
    )


def progress_bar_class() -> Any:
    """tqdm, shown on standard error if that is a terminal, even if other progress bars are disabled."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options["disable"] = not sys.stderr.isatty()
            super().__init__(*arguments, **options)

    return Bar
