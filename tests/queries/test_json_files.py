"""qsep.queries.files.json_files: JSON of unknown origin is content or a ValueError."""

import json
from pathlib import Path

import pytest
from repository import ROOT

from qsep.queries.files.json_files import json_content


def test_content_is_what_was_written(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, "ä"], "b": {"c": True}}
    (tmp_path / "a.json").write_text(json.dumps(content), "utf-8")
    assert json_content(tmp_path / "a.json") == content


@pytest.mark.parametrize("content", [b"", b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b"{a}"])
def test_anything_else_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        json_content(tmp_path / "a.json")


def test_files_are_read_in_no_other_way() -> None:
    for folder in ("queries", "separation", "evaluation", "recipes"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            if "json.loads(" in text and "benchmarks" not in path.parts:
                assert ".read_text(" not in text.partition("json.loads(")[2].partition("\n")[0], (
                    path
                )
