"""qsep.recipes.data.walk: nothing of a folder is left out or taken twice without a word."""

import os
from pathlib import Path

import pytest
import soundfile
from command import Run

from qsep.recipes.data.corpus.recordings import audio_below
from qsep.recipes.data.walk import visible_files


def names(folder: Path, follow_links: bool = True) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in visible_files(folder, follow_links)]


def tree(folder: Path) -> Path:
    for name in ("b/2.wav", "b/1.wav", "a/3.wav", "a/.hidden.wav", ".git/4.wav", "5.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_hidden_files_are_left_out_and_the_others_sorted(tmp_path: Path) -> None:
    assert names(tree(tmp_path)) == ["5.wav", "a/3.wav", "b/1.wav", "b/2.wav"]


def test_links_are_followed_once_but_not_back_to_where_they_lie(tmp_path: Path) -> None:
    folder = tree(tmp_path / "sounds")
    (folder / "a" / "up").symlink_to("..")
    (folder / "a" / "self").symlink_to(".")
    (folder / "a" / "beside").symlink_to("../b")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "6.wav").write_text("")
    (folder / "elsewhere").symlink_to(tmp_path / "other")
    linked = ["a/beside/1.wav", "a/beside/2.wav"]
    assert names(folder) == [
        *("5.wav", "a/3.wav", *linked, "b/1.wav", "b/2.wav", "elsewhere/6.wav")
    ]
    assert names(folder, follow_links=False) == ["5.wav", "a/3.wav", "b/1.wav", "b/2.wav"]
    assert len(list(audio_below(folder))) == 7


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, scandir = tree(tmp_path), os.scandir

    def locked(path: str) -> object:
        if Path(path).name == "a":  # root may read anything
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(ValueError, match=r"/a cannot be read \(Permission denied\): change"):
        names(folder)


def test_a_pipe_in_a_folder_is_one_line_and_the_others_are_separated(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    (folder / "in").mkdir()
    soundfile.write(folder / "in" / "b.wav", [0.1, -0.1] * 500, 8000)
    os.mkfifo(folder / "in" / "a.wav")  # opening it for reading would wait for a writer
    outcome = qsep("separate", "in", "-q", "rain", "-m", tiny_model, "-o", "out")
    assert outcome.code == 1
    assert "in/a.wav is not a regular file" in outcome.err
    assert (folder / "out" / "b.rain.wav").is_file()
