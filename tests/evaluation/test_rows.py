"""items.csv: rows are read back as they were written, also those of a version with fewer metrics."""

from pathlib import Path

import pytest

from qsep.evaluation.rows import read_rows, write_rows
from qsep.evaluation.scores import COLUMNS, NUMBERS, Row


def row(item_id: str, **values: object) -> Row:
    return {**dict.fromkeys(COLUMNS), "id": item_id, "label": "", "query": 'a "dog", barking'} | {
        "setting": "",
        "silent": "",
        **values,
    }


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [row("a", si_sdr=-3.25, num_sources=2), row("b", leakage_db=0.0)]
    write_rows(tmp_path / "items.csv", rows)
    assert read_rows(tmp_path / "items.csv") == rows


def test_a_metric_that_was_not_measured_yet_is_none(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    before = [name for name in COLUMNS if name != NUMBERS[-1]]
    values = {"id": "a", "query": "dog", "si_sdr": "1.5"}
    lines = [before, [values.get(name, "") for name in before]]
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    (row,) = read_rows(path)
    assert (row["id"], row["si_sdr"], row[NUMBERS[-1]]) == ("a", 1.5, None)


@pytest.mark.parametrize("header", ["id,label", ",".join([*COLUMNS, "mood"])])
def test_unknown_columns_are_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "items.csv").write_text(header + "\n")
    with pytest.raises(ValueError, match="other columns than this version writes"):
        read_rows(tmp_path / "items.csv")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("-3.25", "-3#25"),
        ('barking"', "barking"),
        ("-3.25,", "-3.25,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,"),
    ],
)
def test_a_damaged_row_is_named_by_file_and_line(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "items.csv"
    write_rows(path, [row("a"), row("b", si_sdr=-3.25)])
    text = path.read_text()
    first, second = text[: text.index("\nb,")], text[text.index("\nb,") :]
    assert before in second
    path.write_text(first + second.replace(before, after))
    with pytest.raises(ValueError, match=r"items\.csv, line 3, is damaged .*--overwrite"):
        read_rows(path)
