"""qsep.recipes.data.corpus.remote: corpora at URLs, here of fsspec's file system in memory."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from training_run import tiny_recipe, write_material

from qsep.recipes.data.corpus.remote import is_url, local_copy
from qsep.recipes.data.corpus.shards import write_shards
from qsep.recipes.training.config import recipe_from, with_local_data


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shards of the nine recordings of a corpus, a few in each; an empty cache."""
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    write_shards(write_material(tmp_path / "data"), tmp_path / "shards", 20_000)
    return tmp_path / "shards"


@pytest.fixture
def url(shards: Path) -> Iterator[str]:
    """The shards in memory, as another machine's."""
    memory = fsspec.filesystem("memory")
    root = f"/{uuid.uuid4().hex}"
    memory.put(str(shards), root, recursive=True)
    yield f"memory:/{root}"
    memory.rm(root, recursive=True)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_copy_in_the_cache_has_the_bytes_of_the_shards(shards: Path, url: str) -> None:
    copy = local_copy(url)
    assert len(names_in(copy)) > 4
    assert names_in(copy) == {name for name in names_in(shards) if not name.startswith(".")}
    for name in names_in(copy):
        assert (copy / name).read_bytes() == (shards / name).read_bytes()


def test_only_missing_and_changed_shards_are_fetched_again(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    copy = local_copy(url)
    (copy / "train-00000.tar").unlink()
    (copy / "train-00001.tar").write_bytes(b"cut")
    caplog.clear()
    local_copy(url)
    fetched = [record.getMessage() for record in caplog.records]
    assert [text.split("fetching ")[1].split(",")[0] for text in fetched] == [
        "train-00000.tar",
        "train-00001.tar",
    ]


def test_a_shard_that_differs_from_the_index_is_refused_and_not_kept(url: str) -> None:
    fsspec.filesystem("memory").pipe(f"{url.removeprefix('memory:/')}/train-00001.tar", b"other")
    with pytest.raises(
        ValueError, match=r"train-00001\.tar: differs from its entry in index\.json"
    ):
        local_copy(url)
    (folder,) = (Path(path) for path in Path(local_cache()).iterdir())
    assert "train-00000.tar" in names_in(folder)
    assert "train-00001.tar" not in names_in(folder)


def local_cache() -> str:
    from qsep.separation.published.download import cache_folder

    return str(cache_folder() / "shards")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("memory://nothing/here", r"here/index\.json: cannot be fetched \(no such file"),
        ("nonsense://bucket/data", r"cannot be fetched \(Protocol not known: nonsense"),
    ],
)
def test_a_url_without_shards_is_refused_in_one_line(
    location: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=message) as refused:
        local_copy(location)
    assert "\n" not in str(refused.value)


def test_a_recipe_reads_its_data_from_the_copy(url: str, tmp_path: Path) -> None:
    content = tiny_recipe(tmp_path / "data", "stub")
    local = recipe_from(content, "tiny")
    assert with_local_data(local) is local
    content["data"]["folder"] = url
    remote = with_local_data(recipe_from(content, "tiny"))
    assert Path(remote.data.folder) == local_copy(url)
    content["data"]["sounds"] = "videos"
    with pytest.raises(ValueError, match="sounds = 'videos' need a local folder"):
        with_local_data(recipe_from(content, "tiny"))


@pytest.mark.parametrize(
    ("location", "expected"),
    [("s3://bucket/a", True), ("hf://datasets/a/b", True), ("C:/data", False), ("../data", False)],
)
def test_urls_are_told_from_folders(location: str, expected: bool) -> None:
    assert is_url(location) is expected
