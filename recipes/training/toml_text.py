"""Plain values as TOML, to show a recipe merged from several files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

WIDTH = 100


def toml_text(content: Mapping[str, Any]) -> str:
    """A table as TOML. Values: strings, numbers, booleans, tables, and lists of these."""
    parts: list[str] = []
    write_table("", content, parts)
    return "\n".join(parts).strip() + "\n"


def write_table(name: str, table: Mapping[str, Any], parts: list[str]) -> None:
    """Append a table's lines to `parts`: its values first, then its tables, as TOML requires."""
    values = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if name and (values or not table):
        parts.append(f"\n[{name}]")
    parts += [f"{key_text(key)} = {value_text(value)}" for key, value in values.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            write_table(f"{name}.{key_text(key)}" if name else key_text(key), value, parts)


def key_text(key: str) -> str:
    """A key, quoted if it has to be."""
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isalnum() and bare.isascii() else json.dumps(key, ensure_ascii=False)


def value_text(value: Any) -> str:
    """A value in TOML; long lists take one line an entry."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):  # in a list; other tables are written by write_table
        return "{ " + ", ".join(f"{key_text(k)} = {value_text(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        items = [value_text(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= WIDTH else "[\n" + "".join(f"  {i},\n" for i in items) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
