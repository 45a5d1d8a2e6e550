"""Downloads of published models' files: each file once, complete, and always the same.

Files of the hub are kept in the hub's cache (HF_HOME), others in qsep's (QSEP_CACHE). If no SHA-256 has
been published, that of the first download is recorded and must match from then on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from qsep.queries.cache import default_cache_path, make_private

from .registry import PublishedFile, published_models
from .transfer import DownloadError, Remote, explained, offline, probe, transfer

log = logging.getLogger("qsep")

SHA256 = re.compile(r"[0-9a-f]{64}")
WAIT_SECONDS = 1.0  # for another process, before a message says so


def cache_folder() -> Path:
    """$QSEP_CACHE, or qsep in the user's cache folder."""
    return default_cache_path().parent


def fetch(file: PublishedFile, supplied: Path | None = None) -> Path:
    """Path of the file, downloaded if necessary, with its hash checked.

    supplied: a folder that is searched for the file's name first, at any depth. DownloadError with one
    line that says what to do.
    """
    if file.entry:
        return fetch(published_models()[file.entry].files[0], supplied)
    if supplied and (copies := sorted(supplied.rglob(file.name))):
        check_hash(copies[0], file)
        return copies[0]
    if file.page:
        raise DownloadError(f"{file.name}: cannot be downloaded automatically; open {file.page}")
    if file.repository:
        path = fetch_from_hub(file)
    else:
        path = fetch_from_address(file)
    return path


def local_copy(file: PublishedFile) -> Path | None:
    """Path of the file if it is here, without network access; otherwise None."""
    if file.entry:
        return local_copy(published_models()[file.entry].files[0])
    if file.repository:
        return cached_by_hub(file)
    target = address_target(file)
    return target if target.is_file() else None


def cached_by_hub(file: PublishedFile) -> Path | None:
    """Path of a hub file in the hub's cache, or None; None too where no library of the hub is installed."""
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(
        file.repository, file.file, revision=file.revision, repo_type=repo_type(file)
    )
    return Path(cached) if isinstance(cached, str) else None


def fetch_from_hub(file: PublishedFile) -> Path:
    """Downloads a hub file into the hub's cache, in its layout. Raises DownloadError."""
    from huggingface_hub import constants, hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import repo_folder_name

    kind = repo_type(file)
    with one_at_a_time(f"{kind}-{file.repository}-{file.file}-{file.revision}", file.name):
        if path := cached_by_hub(file):
            check_hash(path, file)
            return path
        if constants.is_offline_mode():
            raise offline(file.name, file.where)
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
            path = Path(
                hf_hub_download(file.repository, file.file, repo_type=kind, revision=file.revision)
            )
        except Exception as error:  # of huggingface_hub or the HTTP library below it
            raise explained(error, file.name, file.where) from error
        check_hash(path, file)
        return path


def transfer_whole(remote: Remote, target: Path, file: PublishedFile, sha256: str) -> None:
    """Downloads to `target` by way of a file beside it, so that it exists complete and with this hash
    or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.qsep.part")
    transfer(remote, part, file.name, file.where)
    if (actual := sha256_of(part)) != sha256:
        part.unlink()
        raise other_hash(file, actual, sha256)
    os.replace(part, target)


def fetch_from_address(file: PublishedFile) -> Path:
    """Downloads a Zenodo file or a plain address into qsep's cache, with pooch. Raises DownloadError."""
    import pooch
    from huggingface_hub import constants

    target = address_target(file)
    with one_at_a_time(f"{target.parent.name}-{target.name}", file.name):
        expected = known_hash(file)
        if not target.is_file():
            if constants.is_offline_mode():
                raise offline(file.name, file.where)
            pooch.get_logger().setLevel(logging.ERROR)
            target.parent.mkdir(parents=True, exist_ok=True)

            def resuming(url: str, output_file: str, _: object) -> None:
                remote = probe(url, file.name, file.where)
                version = hashlib.sha256(remote.etag.encode()).hexdigest()[:8]
                part = target.with_name(f"{target.name}.{version}.part")
                transfer(remote, part, file.name, file.where)
                actual = sha256_of(part)
                if expected and actual != expected:
                    part.unlink()
                    raise other_hash(file, actual, expected)
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
    """Where in qsep's cache a file that is not on the hub belongs."""
    source = f"zenodo-{file.zenodo}" if file.zenodo else digest_of(file.url)
    return cache_folder() / "downloads" / source / file.name


def check_hash(path: Path, file: PublishedFile) -> None:
    """Compares the file's hash with the published or recorded one; records it if there is neither.

    DownloadError if they differ; a file in a cache is then removed.
    """
    actual, expected = sha256_of(path), known_hash(file)
    if not expected:
        record = record_of(file)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"{actual}\n", "utf-8")
    elif actual != expected:
        if path == local_copy(file):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise other_hash(file, actual, expected)


def known_hash(file: PublishedFile) -> str:
    """The SHA-256 that the file must have, or an empty string if none is known."""
    record = record_of(file)
    return file.sha256 or (record.read_text("utf-8").strip() if record.is_file() else "")


def record_of(file: PublishedFile) -> Path:
    """The file in which the hash of a first download is recorded."""
    source = f"{file.where}@{file.revision}/{file.file}"
    return cache_folder() / "sha256" / f"{digest_of(source)}.txt"


def other_hash(file: PublishedFile, actual: str, expected: str) -> DownloadError:
    """The error for a file whose hash differs, with its remedy."""
    remedy = "it was damaged or replaced: repeat this command"
    if not file.sha256 and record_of(file).is_file():
        remedy += f"; if its authors changed it, delete {record_of(file)} first"
    return DownloadError(
        f"{file.name}: SHA-256 is {actual[:12]}…, expected {expected[:12]}…; {remedy}"
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digest_of(text: str) -> str:
    """A short digest of a text, for file names."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def repo_type(file: PublishedFile) -> str:
    """The hub's type of the file's repository."""
    return "space" if file.space else "model"


@contextmanager
def one_at_a_time(key: str, name: str) -> Iterator[None]:
    """Lets one process at a time run the block for a key; others wait, and then find its results."""
    from filelock import FileLock, Timeout

    make_private(cache_folder())
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{digest_of(key)}.lock")
    try:
        lock.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        log.warning("%s: another process is downloading it; waiting", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
