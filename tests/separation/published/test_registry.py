"""qsep.separation.published.registry: facts of published models, and unknown names."""

import re
from pathlib import Path

import pytest

from qsep.separation.api import load, models, shipped_models
from qsep.separation.published.registry import (
    PublishedFile,
    no_such_model,
    published_as,
    published_models,
)

TABLE = """
[{name}]
system = "AudioSep"
knows = "{knows}"
paper = "none"
licence = "MIT"
licence_id = "mit"
files = [{files}]
"""


def write(path: Path, name: str = "mine", files: str = "", knows: str = "bells") -> Path:
    files = files or '{ url = "http://127.0.0.1/a.ckpt" }'
    path.write_text(TABLE.format(name=name, files=files, knows=knows))
    return path


def test_the_models_trained_on_hive_come_first() -> None:
    assert list(published_models())[:2] == ["audiosep-hive", "flowsep-hive"]


@pytest.mark.parametrize("name", list(published_models()))
def test_every_entry_is_well_formed(name: str) -> None:
    model = published_models()[name]
    assert re.search(r"arXiv \d{4}\.\d{4,5}", model.paper)
    assert model.licence
    assert model.knows
    assert bool(model.note) == (not model.converter)
    assert bool(model.use) == (model.kind == "encoder")
    assert bool(model.rate) == (model.kind == "separator")
    assert model.files[0].unless_holds == ""
    for file in model.files:
        assert re.fullmatch(r"([0-9a-f]{64})?", file.sha256)
        assert re.fullmatch(r"main|[0-9a-f]{40}", file.revision)
        if file.entry:
            assert published_models()[file.entry].kind == "encoder"


def test_a_file_on_zenodo_has_the_records_address() -> None:
    file = PublishedFile(file="a,b=1.ckpt", zenodo=42)
    assert file.address == "https://zenodo.org/records/42/files/a%2Cb%3D1.ckpt?download=1"
    assert file.where == "https://zenodo.org/records/42"


def test_a_repository_of_the_hub_is_known_by_its_entry() -> None:
    assert published_as("AlayaLab/AudioSep-hive") == "audiosep-hive"
    assert published_as("Audio-AGI/AudioSep") == "audiosep"
    assert published_as("somebody/else") is None


def test_the_users_registry_comes_first_and_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "own.toml", "mine")
    path.write_text(
        path.read_text() + TABLE.format(name="uss", knows="bells", files='{ url = "x" }')
    )
    monkeypatch.setenv("QSEP_REGISTRY", str(path))
    assert list(published_models())[:3] == ["mine", "uss", "audiosep-hive"]
    assert published_models()["uss"].knows == "bells"
    assert published_models()["mine"].files[0].name == "a.ckpt"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ('{ file = "a", hub = "a/b", zenodo = 3 }', "needs one of hub, space, zenodo, url"),
        ('{ file = "a" }', "needs one of hub, space, zenodo, url"),
        ('{ hub = "a/b" }', "a file without a name"),
        ('{ url = "x", mirror = "y" }', "unknown key 'mirror'"),
    ],
)
def test_a_file_with_missing_or_extra_keys_is_refused(
    files: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "own.toml", files=files)
    monkeypatch.setenv("QSEP_REGISTRY", str(path))
    with pytest.raises(ValueError, match=rf"\A{re.escape(str(path))}: model mine: .*{message}"):
        published_models()


@pytest.mark.parametrize(
    ("text", "message"), [("[a", "not TOML"), ('[a]\nsystem = "x"', "no files|missing")]
)
def test_an_invalid_registry_is_refused_by_its_name(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.toml").write_text(text)
    monkeypatch.setenv("QSEP_REGISTRY", str(tmp_path / "own.toml"))
    with pytest.raises(ValueError, match=message):
        published_models()
    monkeypatch.setenv("QSEP_REGISTRY", str(tmp_path / "none.toml"))
    with pytest.raises(ValueError, match=r"none\.toml: No such file or directory: check QSEP_REG"):
        published_models()


def test_names_that_load_takes_are_shipped_and_published_separators() -> None:
    names = models()
    assert names[: len(shipped_models())] == shipped_models()
    assert {"audiosep-hive", "flowsep-hive", "uss", "clipsep-nit"} <= set(names)
    assert not {"panns", "clip", "laion-clap", "audiosep-dp"} & set(names)


@pytest.mark.parametrize(("name", "meant"), [("audioseq", "audiosep"), ("Sounds_21", "sounds21")])
def test_an_error_about_a_misspelt_name_lists_the_nearest_and_all(name: str, meant: str) -> None:
    message = str(no_such_model(name, ["flow-small", "sounds21"]))
    assert message.startswith(
        f"{name}: no such model; did you mean {meant}? Included are flow-small, "
    )
    assert "published are audiosep-hive, flowsep-hive, audiosep," in message


def test_an_error_about_an_unknown_name_lists_all() -> None:
    with pytest.raises(ValueError, match=r"^zzz: no such model\. Included are .*; published are"):
        load("zzz")


def test_an_encoder_is_no_separator() -> None:
    with pytest.raises(ValueError, match=r"panns is a query encoder \(PANNs Cnn14\)"):
        load("panns")


def test_unsupported_models_say_why_and_where_they_are() -> None:
    with pytest.raises(ValueError, match=r"audiosep-dp cannot be used: .*records/14208090"):
        load("audiosep-dp")
