"""Answers of the listening page, read back: how often each system was preferred, with an exact interval."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qsep.queries.files.tables import as_table
from qsep.separation.storage.csv_cells import plain

from ..metrics.statistics import binomial_interval
from .listening import CODE_DIGITS, LETTERS, Pairs

COLUMNS = ("page", "session", "listener", "item", "code", "answer")
ANSWERS = ("first", "second", "same")


@dataclass(frozen=True)
class Answer:
    """One answer. preferred: "A", "B", or "" for no difference. session: of one listener at one page."""

    session: str
    listener: str
    item: str
    preferred: str


def answer_files(paths: Sequence[Path]) -> list[Path]:
    """The files, with folders replaced by the CSV files in them; ValueError if there are none."""
    files = [
        file for path in paths for file in (sorted(path.glob("*.csv")) if path.is_dir() else [path])
    ]
    if not files:
        raise ValueError(f"{', '.join(map(str, paths))}: no CSV file of answers there")
    return files


def read_answers(files: Sequence[Path], pairs: Pairs) -> list[Answer]:
    """The answers of all files, with the order of the two systems undone.

    Raises ValueError, in one line, for a file that is not of a page of these pairs, and for answers that come
    twice.
    """
    answers: list[Answer] = []
    sources: dict[tuple[str, str], Path] = {}
    for path in files:
        for answer in _read(path, pairs):
            key = answer.session, answer.item
            if key in sources:
                raise ValueError(f"{path}: an answer to {answer.item} is in {sources[key]} too")
            sources[key] = path
            answers.append(answer)
    return answers


def _read(path: Path, pairs: Pairs) -> list[Answer]:
    with path.open(encoding="utf-8-sig", newline="") as file, as_table(path):
        rows = list(csv.DictReader(file))
    answers = []
    for number, row in enumerate(rows, start=2):
        if not set(COLUMNS) <= row.keys() or any(row[column] is None for column in COLUMNS):
            raise ValueError(f"{path}, line {number}: expected the columns {', '.join(COLUMNS)}")
        cells = {column: plain(row[column]) for column in COLUMNS}
        if cells["page"] != pairs.identity[:CODE_DIGITS]:
            raise ValueError(
                f"{path}: answers to a page of other sounds, or of A and B swapped: name the folders that "
                "the page was made of, in that order"
            )
        letters = [x for x in LETTERS if pairs.code(cells["item"], x) == cells["code"]]
        if not letters or cells["answer"] not in ANSWERS:
            raise ValueError(f"{path}, line {number}: damaged: {cells['item']}, {cells['answer']}")
        other = LETTERS.replace(letters[0], "")
        preferred = {"first": letters[0], "second": other, "same": ""}[cells["answer"]]
        answers.append(Answer(cells["session"], cells["listener"], cells["item"], preferred))
    return answers


def preference_lines(answers: Sequence[Answer], first: str, second: str) -> list[str]:
    """The printed summary: both systems by name, their counts, the interval, a verdict, and each listener."""
    if not answers:
        return ["no answers"]
    total = Counter(answer.preferred for answer in answers)
    sessions = Counter(answer.session for answer in answers)
    lines = [
        f"A: {first}",
        f"B: {second}",
        f"{len(answers)} answers of {len(sessions)} listeners: A {total['A']}, B {total['B']}, no difference "
        f"{total['']}",
    ]
    decided = total["A"] + total["B"]
    if decided:
        low, high = binomial_interval(total["A"], decided)
        verdict = "no preference shown"
        if low > 0.5 or high < 0.5:
            verdict = f"{'A' if low > 0.5 else 'B'} is preferred"
        lines.append(
            f"A preferred in {total['A'] / decided:.1%} of {decided} decided, 95 % interval {low:.1%} to "
            f"{high:.1%} (exact, binomial): {verdict}"
        )
    if len(sessions) > 1:
        lines.append(
            "The interval assumes independent answers; those of one listener or to one item are not quite so."
        )
        for session in sessions:
            of_session = [answer for answer in answers if answer.session == session]
            count = Counter(answer.preferred for answer in of_session)
            name = of_session[0].listener or session
            lines.append(f"  {name}: A {count['A']}, B {count['B']}, no difference {count['']}")
    return lines
