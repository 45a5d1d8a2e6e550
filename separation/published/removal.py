"""Deleting downloaded models from the caches."""

from __future__ import annotations

import shutil
from pathlib import Path

from .download import cache_folder, local_copy, one_at_a_time
from .installed import cached_commit, installed_folder, is_hub_name, is_local
from .registry import PublishedFile, PublishedModel, published_as, published_models


def remove_model(name: str) -> int:
    """Delete a model of the registry, or ORG/NAME[@REVISION] of the hub, from this machine's caches.

    Files that another downloaded model needs stay, as do the files in the hub's cache that were not
    downloaded as part of this model. Returns the number of bytes freed.
    Raises ValueError for a model that is not downloaded.
    """
    repository, _, revision = name.partition("@")
    name = published_as(repository) or name if not revision else name
    model = published_models().get(name)
    if model:
        return remove_published(model)
    if is_hub_name(name):
        return remove_repository(name, repository, revision)
    raise ValueError(f"{name} is not downloaded: 'qsep models list' shows which models are")


def remove_published(model: PublishedModel) -> int:
    """Delete the converted checkpoint and the files that it was made from."""
    if not installed_folder(model.name) and not any(map(local_copy, model.files)):
        raise ValueError(f"{model.name} is not downloaded")
    with one_at_a_time(f"model-{model.name}", model.name):
        folder = installed_folder(model.name)
        needed = {
            own_file(file)
            for other in published_models().values()
            if other.name != model.name and is_local(other)
            for file in other.files
        }
        files = {own_file(file) for file in model.files} - needed
        copies = [path for file in files if (path := local_copy(file))]
        if not folder and not copies:
            raise ValueError(f"{model.name} is not downloaded")
        freed = sum(map(remove_copy, copies))
        if folder:
            freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            shutil.rmtree(folder)
    return freed


def own_file(file: PublishedFile) -> PublishedFile:
    """The file itself, where an entry of the registry only refers to another entry's."""
    return published_models()[file.entry].files[0] if file.entry else file


def remove_copy(path: Path) -> int:
    """Delete a cached file and, in the hub's cache, the blob that it links to; returns the bytes freed."""
    blob = path.resolve()
    size = blob.stat().st_size
    path.unlink()
    if blob == path or cache_folder() in path.parents:
        return size
    snapshots = next((p for p in path.parents if p.name == "snapshots"), None)
    links = snapshots.rglob("*") if snapshots else iter(())
    if any(link.is_symlink() and link.resolve() == blob for link in links):
        return 0  # another revision has the same file
    blob.unlink(missing_ok=True)
    return size


def remove_repository(name: str, repository: str, revision: str) -> int:
    """Delete a repository, or one revision of it, from the hub's cache; returns the bytes freed."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        raise ValueError(f"{name} is not downloaded") from None
    commits = {
        cached.commit_hash
        for repo in cache.repos
        if (repo.repo_type, repo.repo_id) == ("model", repository)
        for cached in repo.revisions
    }
    if revision:
        commits &= {cached_commit(repository, revision)}
    if not commits:
        raise ValueError(f"{name} is not downloaded")
    plan = cache.delete_revisions(*commits)
    plan.execute()
    return int(plan.expected_freed_size)
