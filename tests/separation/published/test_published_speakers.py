"""Networks of speakers and of stems by their names in the registry, from the hub and from an address."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_hub import local_hub, use
from released_backbones import (
    htdemucs_package,
    mossformer2_state,
    tiger_speech_state,
    write_htdemucs,
    write_mossformer2,
    write_tiger_speech,
)

from qsep.separation.api import load
from qsep.separation.published.reader import load_published
from qsep.separation.published.registry import REGISTRY, published_models
from qsep.separation.storage.checkpoint import load_checkpoint
from qsep.separation.storage.model_card import licence_of


def write(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny file of the model, in the released format."""
    writers: dict[str, Callable[[], Path]] = {
        "tiger-speech": lambda: write_tiger_speech(folder, tiger_speech_state()),
        "mossformer2": lambda: write_mossformer2(folder, mossformer2_state()),
        "htdemucs": lambda: write_htdemucs(
            folder / "955717e8-8726e21a.th", htdemucs_package(), monkeypatch
        ),
    }
    return writers[name]()


@pytest.mark.parametrize(
    ("name", "query", "licence"),
    [
        ("tiger-speech", "speaker 2", "apache-2.0"),
        ("mossformer2", "speaker 1", "apache-2.0"),
        ("htdemucs", "bass", "mit"),
    ],
)
def test_a_name_gives_what_its_file_gives(
    name: str,
    query: str,
    licence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write(name, tmp_path, monkeypatch)
    pattern = rf"^\[{name}\]\n.*?(?=^\[)"
    (table,) = re.findall(pattern, REGISTRY.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    table = re.sub(r', sha256 = "\w+"', "", table)  # of files that are not tiny
    with local_hub() as hub:
        table = table.replace("https://dl.fbaipublicfiles.com", hub.address)
        (tmp_path / "registry.toml").write_text(table, "utf-8")
        monkeypatch.setenv("QSEP_REGISTRY", str(tmp_path / "registry.toml"))
        use(hub, tmp_path / "caches", monkeypatch)
        for file in published_models()[name].files:
            content = (path.parent / file.name).read_bytes()
            if file.url:
                hub.put(file.url.removeprefix(hub.address), content)
            else:
                hub.put(f"/{file.hub}/resolve/{file.revision}/{file.file}", content)
        model = load(name, "cpu")
    source: Any = model.source
    assert licence_of((source / "README.md").read_text()) == licence
    by_name, by_file = load_checkpoint(source)[0], load_published(path)[0]
    recording = (
        np.random.default_rng(0).normal(size=(by_name.num_channels or 1, 3000)).astype(np.float32)
    )
    target = model.separate(recording, query, by_name.sample_rate).target
    expected = load(str(path), "cpu").separate(recording, query, by_file.sample_rate).target
    np.testing.assert_array_equal(target, expected)
    assert np.abs(target).max() > 1e-3
