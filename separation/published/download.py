"""Fetching files of published models: each once, whole, and the same as ever.

Files of the hub lie in the hub's own cache (HF_HOME), the others in qsep's (QSEP_CACHE). Where no
SHA-256 is stated publicly, that of the first download is recorded and holds from then on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qsep.queries.cache import default_cache_path

from .registry import PublishedFile, published_models
from .transfer import DownloadError, Remote, explained, offline, probe, transfer

log = logging.getLogger("qsep")

SHA256 = re.compile(r"[0-9a-f]{64}")
WAIT_SECONDS = 1.0  # for another process, before that is said


def cache_folder() -> Path:
    """$QSEP_CACHE, or qsep in the user's cache folder."""
    return default_cache_path().parent


def fetch(file: PublishedFile, given: Path | None = None) -> Path:
    """Where the file lies, fetched if need be, its hash checked.

    given: a folder in which it is sought first, by its name, at any depth.
    Raises DownloadError with one line that says what to do.
    """
    if file.entry:
        return fetch(published_models()[file.entry].files[0], given)
    if given and (found := sorted(given.rglob(file.name))):
        check_hash(found[0], file)
        return found[0]
    if file.page:
        raise DownloadError(f"{file.name}: a program cannot fetch it; open {file.page}")
    if file.repository:
        path = fetch_from_hub(file)
    else:
        path = fetch_from_address(file)
    return path


def local_copy(file: PublishedFile) -> Path | None:
    """Where the file lies, if it is here; asks nobody."""
    if file.entry:
        return local_copy(published_models()[file.entry].files[0])
    if file.repository:
        return cached_by_hub(file)
    target = address_target(file)
    return target if target.is_file() else None


def cached_by_hub(file: PublishedFile) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        file.repository, file.file, revision=file.revision, repo_type=repo_type(file)
    )
    return Path(found) if isinstance(found, str) else None


def fetch_from_hub(file: PublishedFile) -> Path:
    """Into the hub's cache, in the hub's layout."""
    from huggingface_hub import constants, hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import repo_folder_name

    kind = repo_type(file)
    with one_at_a_time(f"{kind}-{file.repository}-{file.file}-{file.revision}", file.name):
        if found := cached_by_hub(file):
            check_hash(found, file)
            return found
        if constants.is_offline_mode():
            raise offline(file.name)
        url = hf_hub_url(file.repository, file.file, repo_type=kind, revision=file.revision)
        remote = probe(url, file.name, file.where)
        if SHA256.fullmatch(remote.etag):  # a large file, named by its hash
            expected = known_hash(file)
            if expected and expected != remote.etag:
                raise other_hash(file, remote.etag, expected)
            folder = repo_folder_name(repo_id=file.repository, repo_type=kind)
            blob = Path(constants.HF_HUB_CACHE) / folder / "blobs" / remote.etag
            if not blob.exists():
                transfer_whole(remote, blob, file, remote.etag)
        try:
            found = Path(
                hf_hub_download(file.repository, file.file, repo_type=kind, revision=file.revision)
            )
        except Exception as error:  # whatever the libraries under it raise
            raise explained(error, file.name, file.where) from error
        check_hash(found, file)
        return found


def transfer_whole(remote: Remote, target: Path, file: PublishedFile, sha256: str) -> None:
    """To `target`, by way of a file beside it; there whole, with this hash, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.qsep.part")
    transfer(remote, part, file.name, file.where)
    if (found := sha256_of(part)) != sha256:
        part.unlink()
        raise other_hash(file, found, sha256)
    os.replace(part, target)


def fetch_from_address(file: PublishedFile) -> Path:
    """Zenodo's files and plain addresses, into qsep's cache, by pooch."""
    import pooch
    from huggingface_hub import constants

    target = address_target(file)
    with one_at_a_time(f"{target.parent.name}-{target.name}", file.name):
        expected = known_hash(file)
        if not target.is_file():
            if constants.is_offline_mode():
                raise offline(file.name)
            pooch.get_logger().setLevel(logging.ERROR)
            target.parent.mkdir(parents=True, exist_ok=True)

            def resuming(url: str, output_file: str, _: object) -> None:
                remote = probe(url, file.name, file.where)
                version = hashlib.sha256(remote.etag.encode()).hexdigest()[:8]
                part = target.with_name(f"{target.name}.{version}.part")
                transfer(remote, part, file.name, file.where)
                found = sha256_of(part)
                if expected and found != expected:
                    part.unlink()
                    raise other_hash(file, found, expected)
                os.replace(part, output_file)

            pooch.retrieve(
                file.address,
                f"sha256:{expected}" if expected else None,
                target.name,
                target.parent,
                downloader=resuming,
            )
        check_hash(target, file)
        return target


def address_target(file: PublishedFile) -> Path:
    source = f"zenodo-{file.zenodo}" if file.zenodo else digest_of(file.url)
    return cache_folder() / "downloads" / source / file.name


def check_hash(path: Path, file: PublishedFile) -> None:
    """As stated, or as recorded; else recorded now. A file in a cache that differs is removed."""
    found, expected = sha256_of(path), known_hash(file)
    if not expected:
        record = record_of(file)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"{found}\n", "utf-8")
    elif found != expected:
        if path == local_copy(file):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise other_hash(file, found, expected)


def known_hash(file: PublishedFile) -> str:
    """The SHA-256 that the file must have; empty where none is known."""
    record = record_of(file)
    return file.sha256 or (record.read_text("utf-8").strip() if record.is_file() else "")


def record_of(file: PublishedFile) -> Path:
    """Where the hash of a first download is kept."""
    place = f"{file.where}@{file.revision}/{file.file}"
    return cache_folder() / "sha256" / f"{digest_of(place)}.txt"


def other_hash(file: PublishedFile, found: str, expected: str) -> DownloadError:
    remedy = "it came damaged or was replaced: repeat this command"
    if not file.sha256:
        remedy += f"; if its authors changed it, delete {record_of(file)} first"
    return DownloadError(
        f"{file.name}: SHA-256 is {found[:12]}…, expected {expected[:12]}…; {remedy}"
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def repo_type(file: PublishedFile) -> str:
    return "space" if file.space else "model"


@contextmanager
def one_at_a_time(key: str, name: str) -> Iterator[None]:
    """Only one process at once is within, for each key; the others wait and find what it left."""
    from filelock import FileLock, Timeout

    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{digest_of(key)}.lock")
    try:
        lock.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        log.warning("%s: another process is fetching it; waiting", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
