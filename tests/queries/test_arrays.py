"""queries.files.arrays: safetensors files by NumPy alone, compared with the format's own library."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qsep.queries.files.arrays import TYPES, read_arrays

KINDS = [np.dtype(kind) for kind in TYPES.values()]


def stored(path: Path) -> dict[str, np.ndarray]:
    """Arrays of all types and of several shapes, written by the library."""
    generator = np.random.default_rng(3)
    arrays = {
        f"{kind}-{'x'.join(map(str, shape))}": (
            generator.integers(0, 200, shape).astype(np.int64).astype(kind)
        )
        for kind in KINDS
        for shape in [(), (3,), (2, 5), (1, 0, 4)]
    }
    save_file(arrays, path, metadata={"format": "np"})
    return arrays


def test_arrays_are_those_that_the_library_wrote(tmp_path: Path) -> None:
    expected = stored(tmp_path / "a.safetensors")
    actual = read_arrays(tmp_path / "a.safetensors")
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        np.testing.assert_array_equal(actual[name], array, strict=True)


def test_arrays_cannot_be_written_to(tmp_path: Path) -> None:
    stored(tmp_path / "a.safetensors")
    array = read_arrays(tmp_path / "a.safetensors")["float32-3"]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def rewritten(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:  # type: ignore[type-arg]
    """The content with another header."""

    def damage(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + length :]

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: b"", "empty"),
        (lambda content: content[:5], "cut off"),
        (lambda content: content[:40], "cut off"),
        (lambda content: content[:-1], "is cut off"),
        (lambda content: content + b"x", "more bytes than its header says"),
        (lambda content: b"\xff" * 8 + content[8:], "cut off"),
        (lambda content: (2).to_bytes(8, "little") + b"[]", "header is not in the format"),
        (lambda content: (3).to_bytes(8, "little") + b"{a}", "Expecting"),
        (rewritten(lambda header: header["a"].update(shape=[3])), "the size of its shape"),
        (rewritten(lambda header: header["a"].update(shape=[-2, -1])), "the size of its shape"),
        (rewritten(lambda header: header["a"].update(shape=["2"])), "header is not in the format"),
        (
            rewritten(lambda header: header["a"].update(dtype="BF16")),
            "a has numbers of the type BF16",
        ),
        (rewritten(lambda header: header["a"].update(data_offsets=[4, 12])), "instead of 0"),
        (rewritten(lambda header: header["a"].update(data_offsets=[0])), "not enough values"),
        (rewritten(lambda header: header["a"].pop("data_offsets")), "header is not in the format"),
        (rewritten(lambda header: header["b"].update(data_offsets=[0, 4])), "instead of"),
        (rewritten(lambda header: header.update(a=1)), "header is not in the format"),
    ],
)
def test_damaged_files_are_refused_in_one_line(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": np.ones(2, np.float32), "b": np.ones(1, np.float32)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=reason) as caught:
        read_arrays(path)
    assert str(caught.value).startswith(f"{path}: damaged (")
    assert str(caught.value).endswith("); fetch the checkpoint again")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"b\.safetensors: missing; fetch the checkpoint again"):
        read_arrays(tmp_path / "b.safetensors")
