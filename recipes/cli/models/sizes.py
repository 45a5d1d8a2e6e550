"""Sizes of folders, in bytes and in words."""

from pathlib import Path


def size_of(folder: Path) -> int:
    """Bytes of all files below the folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def in_words(num_bytes: int) -> str:
    """As "1.2 GB", "83 MB" or "0.4 MB"; "?" for 0, which means unknown."""
    if not num_bytes:
        return "?"
    if num_bytes < 1e6:
        return f"{max(num_bytes, 1e5) / 1e6:.1f} MB"
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
