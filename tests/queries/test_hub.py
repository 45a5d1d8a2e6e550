"""qsep.queries.files.hub: files from the hub's cache, and short errors without a network."""

from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest
from huggingface_hub.errors import EntryNotFoundError

from qsep.queries.files.hub import hub_file


@pytest.fixture(name="cached", autouse=True)
def cache_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """b.bin of somebody/model, as huggingface_hub keeps it."""
    repository = tmp_path / "models--somebody--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("f" * 40)
    file = repository / "snapshots" / ("f" * 40) / "b.bin"
    file.parent.mkdir(parents=True)
    file.write_text("weights")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return file


def no_network(url: str) -> None:
    raise ConnectionError("name or service not known\nand more")


def test_cached_files_need_no_network(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", no_network)
    assert hub_file("somebody/model", "a.safetensors", "b.bin") == cached


def test_without_a_network_one_line_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", no_network)
    with pytest.raises(ValueError) as caught:
        hub_file("somebody/model", "a.safetensors")
    assert str(caught.value) == "somebody/model cannot be fetched (name or service not known)"


def test_the_first_file_that_the_hub_has_is_fetched(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def metadata(url: str) -> None:
        if not url.endswith("/somebody/other/resolve/main/c.bin"):
            raise EntryNotFoundError("404")

    def download(repository: str, name: str) -> Any:
        return str(cached.parent / repository / name)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    actual = hub_file("somebody/other", "a.safetensors", "c.bin", "d.bin")
    assert actual == cached.parent / "somebody/other/c.bin"
    with pytest.raises(ValueError, match="somebody/other holds none of x, y"):
        hub_file("somebody/other", "x", "y")
