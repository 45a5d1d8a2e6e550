"""Files that come from others: lists that name files elsewhere, links, pickles with code; the cache."""

import csv
import os
import pickle
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Run, record
from miniatures import MINIATURES, sound, table
from public_sets import audiocaps

from qsep.evaluation.protocols import load_items
from qsep.evaluation.rows import as_line, read_rows
from qsep.evaluation.scores import COLUMNS, NUMBERS
from qsep.queries.cache import make_private, make_private_file
from qsep.queries.files.weights import read_state_dict
from qsep.recipes.data.index import read_index
from qsep.recipes.data.mixtures.clips import read_clip_list
from qsep.separation.storage.listed_paths import check_inside, outside_allowed

LINE = r"\A[^\n]*outside its folder: link it there, or add --allow-outside\Z"


@pytest.mark.parametrize("name", ["../a.wav", "/etc/a.wav", "x/../../a.wav"])
def test_names_outside_a_lists_folder_need_an_option(name: str) -> None:
    with pytest.raises(ValueError, match=LINE):
        check_inside(["x/a.wav", name], "clips.csv")
    with outside_allowed():
        check_inside([name], "clips.csv")
    with pytest.raises(ValueError, match=LINE):
        check_inside([name], "clips.csv")
    check_inside(["x/a.wav", "x/..b.wav"], "clips.csv")


def test_clip_lists_and_indices_of_videos_stay_in_their_folders(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", 0, 8000)
    folder = tmp_path / "corpus"
    table(folder / "clips.csv", ("file", "label", "split"), ("../a.wav", "dog", "train"))
    table(folder / "train.csv", ("audio/a.wav", "../frames/a", 9, "dog"))
    for read in (read_clip_list, read_index):
        with pytest.raises(ValueError, match=LINE):
            read(folder, "train")
        with outside_allowed():
            assert len(read(folder, "train")) == 1


@pytest.mark.parametrize("command", ["folder", "check", "stats", "shard"])
def test_commands_on_corpora_read_files_elsewhere_only_on_request(
    command: str, tmp_path: Path, qsep: Run
) -> None:
    sound(tmp_path / "a.wav", 0, 8000)
    columns, row = ("file", "label", "split"), ("../a.wav", "dog", "train")
    source = table(tmp_path / "corpus/clips.csv", columns, row)
    arguments: tuple[object, ...] = (
        "data",
        command,
        source if command == "folder" else source.parent,
    )
    if command in ("folder", "shard"):
        arguments += ("-o", tmp_path / "out")
    refused = qsep(*arguments)
    assert (refused.code, "a.wav is outside its folder" in refused.error) == (2, True)
    assert not (tmp_path / "out").exists()
    done = qsep(*arguments, "--allow-outside")
    assert done.code == 0, done.err


def test_evaluation_reads_lists_that_name_other_folders_only_on_request(
    tmp_path: Path, qsep: Run
) -> None:
    MINIATURES["dcase2024"].make(tmp_path / "data")
    sound(tmp_path / "data/elsewhere.wav", 7, 16000)
    rows = [("source", "noise", "snr", "caption"), ("../elsewhere", "1", 3, "rain")]
    path = table(tmp_path / "list.csv", *rows)
    with pytest.raises(ValueError, match=LINE):
        load_items("dcase2024", tmp_path / "data", path)
    arguments = (
        *("evaluate", "dcase2024", "--data", tmp_path / "data", "--manifest", path),
        *("-m", "mixture", "--no-baselines", "--workers", "1"),
    )
    refused = qsep(*arguments, "-o", tmp_path / "refused")
    assert (refused.code, "add --allow-outside" in refused.error) == (2, True)
    assert not (tmp_path / "refused").exists()
    done = qsep(*arguments, "-o", tmp_path / "run", "--allow-outside")
    assert done.code == 0, done.err


def test_rows_of_items_hold_no_formula_and_read_back(tmp_path: Path) -> None:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {name: "" for name in ("id", "query", "label") if name in row}
    row |= {"id": "=1+1", "query": "-a dog", "label": "'@b", "num_sources": 2, NUMBERS[0]: -3.0}
    path = tmp_path / "items.csv"
    path.write_text(",".join(COLUMNS) + "\n" + as_line(row))
    with path.open(newline="") as file:
        cells = next(csv.DictReader(file))
    assert (cells["id"], cells["query"], cells[NUMBERS[0]]) == ("'=1+1", "'-a dog", "-3.0")
    (actual,) = read_rows(path)
    assert [actual[name] for name in ("id", "query", "label", NUMBERS[0])] == [
        *("=1+1", "-a dog", "'@b"),
        -3.0,
    ]


class Trap:
    def __reduce__(self) -> Any:
        return os.system, ("touch sprung",)


@pytest.mark.parametrize("name", ["song.wav", "table.csv", "code.pt", "legacy.pkl", "cut.pt"])
def test_files_without_weights_are_refused_in_one_line(
    name: str, tmp_path: Path, qsep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record(Path("song.wav"))
    Path("table.csv").write_text("file,label\n.1,(dog\n")
    torch.save({"weights": Trap()}, "code.pt")
    Path("legacy.pkl").write_bytes(pickle.dumps({"weights": Trap()}, protocol=2))
    torch.save({"weights": torch.arange(999.0)}, "whole.pt")
    Path("cut.pt").write_bytes(Path("whole.pt").read_bytes()[:900])
    reason = "no PyTorch checkpoint"
    if name in ("code.pt", "legacy.pkl"):
        reason = "holds code"
    elif name == "cut.pt":
        reason = "damaged or cut off"
    with pytest.raises(ValueError, match=reason):
        read_state_dict(Path(name))
    record(Path("in.wav"))
    for arguments in (
        ("models", "convert", name, "-o", "out"),
        ("separate", "in.wav", "-q", "rain", "-m", name, "-o", "out"),
    ):
        done = qsep(*arguments)
        assert done.code == 2
        assert reason in done.error
        assert "weights_only" not in done.err
        assert "Error" not in done.error
    assert not Path("sprung").exists()
    assert not Path("out").exists()


@pytest.mark.skipif(os.name == "nt", reason="modes of files are a matter of POSIX")
def test_the_cache_is_private_to_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    monkeypatch.delenv("QSEP_CACHE", raising=False)
    make_private(tmp_path / "new" / "qsep")
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    make_private(old)
    assert (mode(tmp_path / "new/qsep"), mode(old)) == (0o700, 0o700)
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir(mode=0o755)
    make_private(tmp_path / "shared")
    make_private_file(tmp_path / "shared/embeddings.sqlite")
    assert mode(tmp_path / "shared") == 0o755
    assert mode(tmp_path / "shared/embeddings.sqlite") == 0o600


def test_data_commands_keep_other_files_and_do_not_write_through_links(
    tmp_path: Path, qsep: Run
) -> None:
    audiocaps(tmp_path / "in")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/train.json").write_text("precious")
    done = qsep("data", "captions", "audiocaps", tmp_path / "in", "-o", tmp_path / "mine")
    assert (done.code, "which no earlier qsep data captions wrote" in done.error) == (2, True)
    assert (tmp_path / "mine/train.json").read_text() == "precious"
    arguments = ("data", "captions", "audiocaps", tmp_path / "in", "-o", tmp_path / "out")
    assert qsep(*arguments).code == 0
    for name in (".checked.jsonl", "train.json", "report.csv"):
        link, target = tmp_path / "out" / name, tmp_path / f"target of {name.strip('.')}"
        target.write_text("precious")
        content = link.read_bytes()
        link.unlink()
        link.symlink_to(target)
        done = qsep(*arguments)
        assert (done.code, "symbolic link" in done.error) == (2, True), name
        assert target.read_text() == "precious"
        link.unlink()
        link.write_bytes(content)
    assert qsep(*arguments).code == 0
