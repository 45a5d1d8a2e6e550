"""qsep.queries.files.tables: a CSV file that cannot be read is named, whatever reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from qsep.evaluation.protocols.own import read_clips
from qsep.evaluation.rows import HEADER, read_rows
from qsep.queries.files.tables import as_table
from qsep.recipes.data.corpus.counting import families_of
from qsep.recipes.data.corpus.recordings import Columns
from qsep.recipes.data.corpus.recordings import read_table as table_of_recordings
from qsep.recipes.data.mixtures.clips import read_clip_list
from qsep.recipes.inference.bulk.lists import read_list

OPEN_QUOTE = (
    b'"' + b"x" * 200_000 + b"\n"
)  # the rest of a file after a quotation mark that never ends


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (b"file,label,split\n", lambda path: read_clip_list(path.parent, "train")),
        (b"input,query\n", lambda path: list(read_list(path))),
        (b"kind,families\n", families_of),
        (HEADER.encode(), read_rows),
    ],
)
def test_a_table_that_cannot_be_read_is_named(
    tmp_path: Path, header: bytes, read: Callable[[Path], Any]
) -> None:
    path = tmp_path / "clips.csv"
    path.write_bytes(header + OPEN_QUOTE)
    with pytest.raises(ValueError, match=r"clips\.csv is not a CSV file in UTF-8 \(field larger"):
        read(path)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="label"), as_table(tmp_path):
        raise KeyError("label")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    """Spreadsheets begin a CSV file with one."""
    soundfile.write(tmp_path / "a.wav", [0.1] * 9, 8000)
    (tmp_path / "clips.csv").write_text("file,label,split\na.wav,hum,train\n", "utf-8-sig")
    assert [clip.label for clip in read_clip_list(tmp_path, "train")] == ["hum"]


def test_a_path_in_a_list_may_hold_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('input,query\n"a\nb.wav",rain\n')
    (job,) = read_list(tmp_path / "list.csv")
    assert (Path(job.path).name, job.queries) == ("a\nb.wav", ("rain",))


@pytest.mark.parametrize(
    ("header", "row", "read"),
    [
        (
            "file,label,split",
            "a.wav,hum, low,train",
            lambda path: read_clip_list(path.parent, "train"),
        ),
        ("file,label,split", "a.wav,hum", lambda path: read_clip_list(path.parent, "train")),
        ("file,label,split", "a.wav,hum, low,train", lambda path: read_clips(path, "train")),
        ("file,label", "a.wav,hum, low", lambda path: table_of_recordings(path, Columns())),
        ("input,query", "a.wav,dog, barking", lambda path: list(read_list(path))),
    ],
)
def test_a_row_that_is_cut_at_a_comma_is_refused(
    tmp_path: Path, header: str, row: str, read: Callable[[Path], Any]
) -> None:
    """Else its query would be "dog", or the clip would silently be of no split."""
    soundfile.write(tmp_path / "a.wav", [0.1] * 9, 8000)
    path = tmp_path / "clips.csv"
    path.write_text(f"{header}\n{row}\n")
    with pytest.raises(ValueError, match=r"clips\.csv is not .*line 2 has (more|fewer) cells"):
        read(path)


def test_a_list_may_leave_out_queries(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("input,query\na.wav\nb.wav,rain\n")
    assert [job.queries for job in read_list(tmp_path / "list.csv")] == [(), ("rain",)]
