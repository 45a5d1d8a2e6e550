"""qsep.separation.storage.results: nothing is replaced or deleted that was not written and listed."""

import json
import os
from pathlib import Path

import pytest

from qsep.separation.storage.results import LISTING, Results, files_below, replace_folder
from qsep.separation.storage.temporary import machine


def written(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def test_a_folder_with_unlisted_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    folder = written(tmp_path / "p", thesis="years")
    with pytest.raises(ValueError, match="holds thesis, which no earlier qsep train wrote"):
        Results(folder, "train")
    assert os.listdir(folder) == ["thesis"]


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db"])
def test_files_of_file_managers_are_ignored(tmp_path: Path, name: str) -> None:
    Results(written(tmp_path / "p", **{name: ""}), "train").write_text("a", "1")
    assert (tmp_path / "p/a").read_text() == "1"


def test_an_earlier_run_is_continued_and_its_files_replaced(tmp_path: Path) -> None:
    Results(tmp_path / "p", "train").write_text("sub/a", "first")
    written(tmp_path / "p", notes="mine")
    later = Results(tmp_path / "p", "train")
    later.write_text("sub/a", "second")
    assert (tmp_path / "p/sub/a").read_text() == "second"
    assert (tmp_path / "p/notes").read_text() == "mine"


def test_a_run_of_another_command_is_refused(tmp_path: Path) -> None:
    Results(tmp_path / "p", "evaluate").write_text("a", "1")
    with pytest.raises(ValueError, match="no earlier qsep train wrote"):
        Results(tmp_path / "p", "train")


def test_a_file_that_was_changed_since_is_not_replaced_nor_deleted(tmp_path: Path) -> None:
    Results(tmp_path, "train").write_text("a", "ours!")
    (tmp_path / "a").write_text("yours")  # of the same length
    later = Results(tmp_path, "train")
    with pytest.raises(ValueError, match="was changed since qsep train wrote it"):
        later.write_text("a", "new")
    later.remove(["a"])
    assert (tmp_path / "a").read_text() == "yours"


def test_in_a_shared_folder_only_what_is_listed_is_replaced(tmp_path: Path) -> None:
    written(tmp_path, song="recorded once")
    results = Results(tmp_path, "separate", shared=True)
    results.write_text("song.rain", "rain")
    results.write_text("song.rain", "again")
    with pytest.raises(ValueError, match="song exists, and no earlier qsep separate wrote it"):
        results.write_text("song", "lost")
    assert (tmp_path / "song").read_text() == "recorded once"


def test_only_what_is_listed_is_removed(tmp_path: Path) -> None:
    results = Results(tmp_path, "evaluate")
    results.write_text("audio/1.flac", "a")
    results.write_text("audio/2.flac", "b")
    written(tmp_path / "audio", **{"3.flac": "mine"})
    results.remove(["audio/1.flac", "audio/3.flac", "audio/4.flac"])
    assert sorted(os.listdir(tmp_path / "audio")) == ["2.flac", "3.flac"]


def test_a_line_that_a_full_disk_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    Results(tmp_path, "train").write_text("a", "1")
    with (tmp_path / LISTING).open("a") as listing:
        listing.write('{"command": "train", "fi')
    Results(tmp_path, "train").write_text("b", "2")
    Results(tmp_path, "train").write_text("b", "3")
    assert (tmp_path / "b").read_text() == "3"


def test_a_file_that_grows_is_listed_by_its_name(tmp_path: Path) -> None:
    for text in ("a\n", "b\n"):
        with Results(tmp_path, "train").grow("log").open("a") as file:
            file.write(text)
    assert (tmp_path / "log").read_text() == "a\nb\n"
    assert (tmp_path / LISTING).read_text().count("\n") == 1


@pytest.mark.parametrize("name", ["log", "sub/log"])
def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path, name: str) -> None:
    outside = written(tmp_path / "outside", log="mine")
    results = Results(tmp_path / "p", "train")
    results.write_text("first", "1")
    (tmp_path / "p" / name.partition("/")[0]).symlink_to(
        outside if "/" in name else outside / "log"
    )
    for write in (results.grow, lambda name: results.write_text(name, "lost")):
        with pytest.raises(ValueError, match="is a symbolic link"):
            write(name)
    assert (outside / "log").read_text() == "mine"


def test_a_line_cut_short_by_a_full_disk_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    Results(tmp_path, "train").write_text("a", "first")
    with (tmp_path / LISTING).open("a") as listing:
        listing.write('{"command": "train", "fi')
    Results(tmp_path, "train").write_text("a", "second")
    assert Results(tmp_path, "train").is_ours("a")


def test_a_listing_cannot_name_files_outside_its_folder(tmp_path: Path) -> None:
    written(tmp_path, mine="mine")
    folder = written(tmp_path / "p")
    rows = [
        {"command": "train", "file": f, "bytes": None, "sha256": None} for f in ("../mine", "a")
    ]
    damaged = ["", "null", "[]", '{"command": "train"', '{"command": 1, "file": []}', "[" * 9000]
    (folder / LISTING).write_text("\n".join([*map(json.dumps, rows), *damaged]))
    results = Results(folder, "train")
    assert list(results.entries) == ["a"]
    results.remove(["../mine"])
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_damaged_line_of_a_listing_is_as_none(tmp_path: Path) -> None:
    results = Results(tmp_path, "make")
    results.write_text("a.txt", "one")
    results.write_text("b.txt", "two")
    listing = tmp_path / LISTING
    first, second = listing.read_text().splitlines(keepends=True)
    digits = json.loads(first)["sha256"]
    listing.write_text(first.replace(digits, digits[::-1]) + second)
    assert set(Results(tmp_path, "make").entries) == {"b.txt"}
    old = json.loads(first)
    del old["crc32"]  # as earlier versions wrote it
    listing.write_text(json.dumps(old) + "\n" + second)
    assert Results(tmp_path, "make").is_ours("a.txt")


def test_a_replaced_folder_keeps_files_of_other_programs(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    replace_folder(written(tmp_path / "new", weights="1", card="1"), folder, "train")
    written(folder, notes="mine", card="edited")
    replace_folder(written(tmp_path / "new", weights="2", card="2"), folder, "train")
    texts = {path.name: path.read_text() for path in folder.iterdir() if path.name != LISTING}
    assert texts == {"weights": "2", "card": "2", "card.kept": "edited", "notes": "mine"}
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_of_other_programs_is_never_replaced(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", network="mine")
    with pytest.raises(ValueError, match="holds network"):
        replace_folder(written(tmp_path / "new", weights="1"), folder, "train")
    assert (folder / "network").read_text() == "mine"


@pytest.mark.parametrize("folder_is_there", [False, True])
def test_a_run_killed_while_it_replaced_a_folder_loses_nothing(
    tmp_path: Path, folder_is_there: bool
) -> None:
    folder = tmp_path / "model"
    replace_folder(written(tmp_path / "new", weights="1"), folder, "train")
    written(folder, notes="mine")
    folder.rename(tmp_path / ".model.previous")  # as if killed here …
    if folder_is_there:  # … or after the next step
        replace_folder(written(tmp_path / "other", weights="2"), tmp_path / "elsewhere", "train")
        (tmp_path / "elsewhere").rename(folder)
    replace_folder(written(tmp_path / "new", weights="3"), folder, "train")
    assert (folder / "weights").read_text() == "3"
    assert (folder / "notes").read_text() == "mine"
    assert os.listdir(tmp_path) == ["model"]


def test_a_run_that_was_killed_before_it_listed_a_file_goes_on(tmp_path: Path) -> None:
    """As `qsep data mix`, which makes a folder for each item."""
    (tmp_path / "hum").mkdir()
    (tmp_path / "hum" / f".qsep-{machine()}-{10**30}-7-00ff.part").write_text("half")
    results = Results(tmp_path, "data mix")
    results.write_text("hum/query.txt", "a hum")
    assert [path.name for path in files_below(tmp_path)] == [LISTING, "query.txt"]


@pytest.mark.parametrize("kind", ["file", "link", "link to a folder"])
def test_what_lies_in_subfolders_alone_is_content_too(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "out" / "a" / "b"
    folder.mkdir(parents=True)
    if kind == "file":
        (folder / "mine.txt").write_text("mine")
    else:
        (folder / "mine.txt").symlink_to(tmp_path if "folder" in kind else tmp_path / "missing")
    with pytest.raises(
        ValueError, match=r"holds a/b/mine.txt, which no earlier qsep data mix wrote"
    ):
        Results(tmp_path / "out", "data mix")
