"""Files on the Hugging Face hub: from its cache or downloaded, with a quick error if offline."""

from __future__ import annotations

from pathlib import Path


def hub_file(repository: str, *names: str) -> Path:
    """The first of these files that is in the hub's cache, else the first that the repository has.

    Raises ValueError if there is none or no network; at once, whereas the hub's library retries for half a
    minute.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    for name in names:
        try:
            check_reachable(repository, name)
        except EntryNotFoundError:
            continue
        return Path(hf_hub_download(repository, name))
    raise ValueError(f"the hub's {repository} holds none of {', '.join(names)}")


def check_reachable(repository: str, name: str) -> None:
    """Raise EntryNotFoundError if the repository lacks the file, ValueError if the hub cannot be reached."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    try:
        get_hf_file_metadata(hf_hub_url(repository, name))
    except EntryNotFoundError:
        raise
    except Exception as error:  # of any HTTP library below huggingface_hub
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{repository} cannot be fetched ({reason})") from error
