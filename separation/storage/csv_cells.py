"""Cells of CSV files that no spreadsheet runs as a formula."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def starts_formula(text: str) -> bool:
    """Whether a spreadsheet might run the text, or the text behind apostrophes, as a formula."""
    return text.lstrip("'").startswith(FORMULA_SIGNS)


def inert(cells: Iterable[Any]) -> list[Any]:
    """The cells, with an apostrophe before text that would start a formula; numbers stay."""
    return [f"'{c}" if isinstance(c, str) and starts_formula(c) else c for c in cells]


def plain(cell: str) -> str:
    """The text of a cell written by `inert`."""
    return cell[1:] if cell.startswith("'") and starts_formula(cell) else cell
