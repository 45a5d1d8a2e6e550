"""`qsep listen`: two systems compared by ear; a thin shell, as main.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import OverwriteOption

QUESTION = "Which of the two is better?"


def listen(
    first: Annotated[
        Path, typer.Argument(help="A: a folder of results, or a run of 'qsep evaluate'.")
    ],
    second: Annotated[Path, typer.Argument(help="B: another of the same items.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page, FILE.html.")] = Path(
        "listen.html"
    ),
    answers: Annotated[
        list[Path] | None,
        typer.Option(
            help="Read these CSV files of answers, or a folder of them, instead of writing a page, and print "
            "which is preferred. Repeatable."
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(help="Folder of the original recordings, played beside the results."),
    ] = None,
    number: Annotated[
        int, typer.Option("--number", "-n", min=1, help="How many items, drawn by the seed.")
    ] = 20,
    seed: Annotated[
        int, typer.Option(min=0, help="Draws the items, and which of the two comes first.")
    ] = 0,
    question: Annotated[str, typer.Option(help="The page's heading.")] = QUESTION,
    max_seconds: Annotated[
        float, typer.Option(min=0.1, help="Longer sounds are cut to this length.")
    ] = 20.0,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a page on which people compare A and B blindly; then read their answers.

    The page is one file that works offline. Each row has both sounds in a random order.
    """
    from qsep.evaluation.report.listening import read_pairs, write_listening_page
    from qsep.evaluation.report.preferences import answer_files, preference_lines, read_answers
    from qsep.separation.storage.results import Results

    if answers:
        files = answer_files(answers)
        pairs = read_pairs(first, second)
        print("\n".join(preference_lines(read_answers(files, pairs), str(first), str(second))))
        return
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"-o {out}: end the page's name in .html")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: add --overwrite or choose another name with -o")
    results = Results(out.parent, "listen", shared=True)
    results.claim(out.name)
    pairs = read_pairs(first, second, recordings)
    if pairs.num_missing:
        print(f"qsep: {pairs.num_missing} items are only in A or only in B", file=sys.stderr)
    warnings = write_listening_page(pairs, out, number, seed, question, max_seconds, results.commit)
    for warning in warnings:
        print(f"qsep: {warning}", file=sys.stderr)
    num_rows, size = min(number, len(pairs.pairs)), out.stat().st_size / 1e6
    print(f"{out}: {num_rows} rows, {size:.1f} MB; then qsep listen A B --answers FOLDER")
