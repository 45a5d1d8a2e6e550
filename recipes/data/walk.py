"""Walking through folders of other people's files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn


def every_folder(path: Path) -> bool:
    """True."""
    return True


def visible_files(
    folder: Path, follow_links: bool = True, enters: Callable[[Path], bool] = every_folder
) -> Iterator[Path]:
    """All files below a folder that are not hidden, folder by folder, sorted.

    follow_links: also into folders by links, but for those that lead back to where they lie in. enters: which
    subfolders to search. Raises ValueError for a folder that cannot be read.
    """
    for root, subfolders, files in os.walk(folder, onerror=refuse, followlinks=follow_links):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if not name.startswith(".")
            and not leads_back(Path(root, name))
            and enters(Path(root, name))
        )
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def refuse(error: OSError) -> NoReturn:
    """Raise ValueError about a folder that cannot be read, which os.walk would leave out silently."""
    raise ValueError(
        f"{error.filename} cannot be read ({error.strerror}): change its permissions, or move it elsewhere"
    ) from error


def leads_back(path: Path) -> bool:
    """Whether the path is a link to a folder that it lies in."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())
