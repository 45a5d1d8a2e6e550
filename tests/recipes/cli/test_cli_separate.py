"""`qsep separate`: what it writes, what it refuses, and in how many words."""

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import Run, content, names, record

import qsep.separation.api as api
from qsep.separation.api import files

# What is written


@pytest.mark.parametrize(
    ("rate", "num_channels", "num_samples", "subtype"),
    [
        (44100, 2, 44111, "PCM_16"),
        (8000, 1, 2753, "PCM_24"),
        (8000, 1, 1, "PCM_16"),
        (11025, 6, 1500, "PCM_U8"),
        (96000, 1, 9601, "PCM_32"),
    ],
)
def test_target_and_residual_of_pcm_sum_to_the_input_exactly(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    rate: int,
    num_channels: int,
    num_samples: int,
    subtype: str,
) -> None:
    record(folder / "a.wav", num_samples, rate, num_channels, subtype)
    assert qsep("separate", "a.wav", "-q", "rain", "--residual", "-m", tiny_model).code == 0
    parts = [
        soundfile.read(folder / f"a.{name}.wav", dtype="int32")[0].astype(np.int64)
        for name in ("rain", "rain.residual")
    ]
    whole = soundfile.read(folder / "a.wav", dtype="int32")[0]
    assert parts[0].any() or num_samples == 1
    # libsndfile reads unsigned bytes as signed ones around zero
    assert np.array_equal(parts[0] + parts[1], whole)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_residual_of_floats_is_the_input_less_the_target(
    qsep: Run, tiny_model: Path, folder: Path, subtype: str
) -> None:
    record(folder / "a.wav", 5003, 22050, 3, subtype)
    assert qsep("separate", "a.wav", "-q", "rain", "--residual", "-m", tiny_model).code == 0
    dtype = {"FLOAT": "float32", "DOUBLE": "float64"}[subtype]
    whole, target, residual = (
        soundfile.read(folder / name, dtype=dtype)[0]
        for name in ("a.wav", "a.rain.wav", "a.rain.residual.wav")
    )
    assert np.array_equal(whole - target, residual)
    assert 0.01 < np.square(target).sum() / np.square(whole).sum() < 1


@pytest.mark.parametrize(
    ("name", "rate", "num_channels", "num_samples", "subtype"),
    [
        ("a.wav", 44100, 2, 9001, "PCM_16"),
        ("a.wav", 8000, 1, 2753, "PCM_24"),
        ("a.wav", 22050, 3, 5000, "FLOAT"),
        ("a.flac", 16000, 2, 777, "PCM_24"),
        ("a.wav", 8000, 1, 1, "PCM_16"),
    ],
)
def test_the_result_has_the_format_of_the_input(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    name: str,
    rate: int,
    num_channels: int,
    num_samples: int,
    subtype: str,
) -> None:
    record(folder / name, num_samples, rate, num_channels, subtype)
    assert qsep("separate", name, "-q", "rain", "-o", "out", "-m", tiny_model).code == 0
    info = soundfile.info(folder / "out" / "a.rain.wav")
    assert (info.samplerate, info.channels, info.frames) == (rate, num_channels, num_samples)
    assert info.subtype == subtype


def test_every_input_is_separated_by_every_query(qsep: Run, tiny_model: Path, folder: Path) -> None:
    for name in ("a.wav", "b.wav"):
        record(folder / name)
    arguments = ("-q", "rain", "-q", "A dog, barking!", "-o", "out/deep", "-m", tiny_model)
    done = qsep("separate", "a.wav", "b.wav", *arguments)
    assert done.code == 0
    expected = {f"{stem}.{query}.wav" for stem in "ab" for query in ("rain", "a-dog-barking")}
    assert names(folder / "out" / "deep") == expected
    assert len(done.out.splitlines()) == 4


def test_silence_gives_silence(qsep: Run, tiny_model: Path, folder: Path) -> None:
    soundfile.write(folder / "a.wav", np.zeros(4000), 8000)
    done = qsep("separate", "a.wav", "-q", "rain", "--residual", "--json", "-m", tiny_model)
    assert done.code == 0
    assert json.loads(done.out)["level_db"] is None
    for name in ("a.rain.wav", "a.rain.residual.wav"):
        assert not soundfile.read(folder / name)[0].any()


def test_json_is_one_object_for_each_input_and_query(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav", 4000)
    arguments = ("-q", "rain", "-q", "flute", "--residual", "--json", "-m", tiny_model)
    rows = [json.loads(line) for line in qsep("separate", "a.wav", *arguments).out.splitlines()]
    assert [row["query"] for row in rows] == ["rain", "flute"]
    assert rows[0]["files"] == ["a.rain.wav", "a.rain.residual.wav"]
    assert {row["input"] for row in rows} == {"a.wav"}
    assert {row["seconds"] for row in rows} == {0.5}
    whole, target = (soundfile.read(folder / name)[0] for name in ("a.wav", "a.rain.wav"))
    level_db = 10 * np.log10(target.var() / whole.var())  # an offset is no sound
    assert rows[0]["level_db"] == pytest.approx(level_db, abs=0.0051)  # rounded to 0.01


def test_a_query_is_never_a_path(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav")
    before = names(folder.parent)
    assert qsep("separate", "a.wav", "-q", "../../etc/x", "-o", "out", "-m", tiny_model).code == 0
    (added,) = {name for name in names(folder.parent) - before if not name.startswith("cache")}
    assert added.startswith("here/out/a.etc-x-")


def test_an_input_named_twice_is_separated_once(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav")
    done = qsep("separate", "a.wav", "./a.wav", "-q", "rain", "-q", "rain", "-m", tiny_model)
    assert (done.code, len(done.out.splitlines())) == (0, 1)


def test_a_name_that_is_not_text_is_shown_escaped(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    name = os.fsdecode(b"\xff.wav")
    try:
        record(folder / "a.wav").rename(folder / name)
    except OSError:
        pytest.skip("this file system takes text names only")
    done = qsep("separate", name, "-q", "rain", "-m", tiny_model)
    assert done.code == 0
    assert done.out.startswith("\\udcff.rain.wav  0.4 s, ")


def test_overwrite_replaces_earlier_results(qsep: Run, tiny_model: Path, folder: Path) -> None:
    for num_samples in (2003, 3001):
        record(folder / "a.wav", num_samples)
        assert qsep("separate", "a.wav", "-q", "rain", "--overwrite", "-m", tiny_model).code == 0
        assert soundfile.info(folder / "a.rain.wav").frames == num_samples


def test_overwrite_replaces_nothing_that_no_run_wrote(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav")
    (folder / "a.rain.wav").write_text("mine")
    done = qsep("separate", "a.wav", "-q", "rain", "--overwrite", "-m", tiny_model)
    assert done.code == 2
    assert "a.rain.wav exists, and no earlier qsep separate wrote it" in done.error
    assert (folder / "a.rain.wav").read_text() == "mine"


def test_the_longest_name_of_a_file_system_is_separated(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    name = "é" * 125 + "x.wav"
    record(folder / name)
    done = qsep("separate", name, "-q", "a dog " * 90, "--residual", "-m", tiny_model)
    assert done.code == 0, done.err
    assert len(names(folder)) == 3


def test_any_error_in_one_file_does_not_stop_the_others(
    qsep: Run, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(folder / "good.wav")
    (folder / "bad.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVE" + bytes(70))
    record(folder / "worse.wav")
    original = files.separate_file

    def separate_file(model: api.Model, path: Path, *arguments: Any) -> Any:
        if path.name == "worse.wav":
            raise struct.error("ushort format requires 0 <= number <= (32767 *2 +1)")
        return original(model, path, *arguments)

    monkeypatch.setattr(files, "separate_file", separate_file)
    inputs = ("bad.wav", "worse.wav", "good.wav")
    done = qsep("separate", *inputs, "-q", "rain", "-m", tiny_model)
    assert done.code == 1
    lines = done.err.splitlines()
    assert len(lines) == 2
    assert "bad.wav" in lines[0]
    assert lines[1].startswith("qsep: error: worse.wav: error: ushort format requires")
    assert (folder / "good.rain.wav").is_file()
    assert not list(folder.glob(".qsep-*"))
    shown = qsep("--debug", "separate", "worse.wav", "-q", "rain", "-o", "x", "-m", tiny_model)
    assert "Traceback" in shown.err
    assert "struct.error" in shown.err


def test_an_unfamiliar_query_is_warned_of(
    qsep: Run, tiny_model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record(folder / "a.wav")
    assert qsep("separate", "a.wav", "-q", "a walrus", "-m", tiny_model).code == 0
    assert "'a walrus' is unlike every kind of sound that tiny knows" in caplog.text


# What is refused, before anything is done


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no.wav", "-q", "rain"), "no.wav does not exist: check the name"),
        (("a.wav",), "no query: say which sound to extract, as -q 'a dog barking'"),
        (("a.wav", "-q", ""), "the query is empty; say which sound"),
        (("a.wav", "-q", "rain", "-q", " \t"), "the query is empty; say which sound"),
        (("a.wav", "-q", "rain", "-o", "b.wav"), "b.wav exists: add --overwrite or choose another"),
        (("a.wav", "-q", "rain", "-o", "b.wav/out"), "b.wav"),
        (("a.wav", "-q", "flute"), "a.flute.wav exists: add --overwrite or choose another"),
        (("a.wav", "-q", "Rain", "-q", "rain"), "'Rain' and 'rain' would both be written to"),
        (("a.wav", "sub/a.wav", "-q", "rain"), "a.wav and sub/a.wav would both be written to"),
        (("a.wav", "a.flute.wav", "-q", "flute", "--overwrite"), "a.flute.wav is an input too"),
        (("a.wav", "-q", "rain", "-m", "nosuch"), "nosuch: no such model"),
        (("a.wav", "-q", "rain", "-m", "sub"), "sub: not a checkpoint folder"),
        (("a.wav", "-q", "rain", "--device", "abacus"), "device 'abacus' cannot be used"),
        (("a.wav", "-q", "rain", "--device", "cuda:99"), "device 'cuda:99' cannot be used"),
        (("x" * 300 + ".wav", "-q", "rain"), "File name too long"),
    ],
)
def test_a_usage_error_is_one_line_and_changes_nothing(
    qsep: Run, tiny_model: Path, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    (folder / "sub").mkdir()
    for name in ("a.wav", "b.wav", "sub/a.wav", "a.flute.wav"):
        record(folder / name)
    before = content(folder)
    if "-m" not in arguments:
        arguments = (*arguments, "-m", str(tiny_model))
    done = qsep("separate", *arguments)
    assert done.code == 2
    assert message in done.error
    assert done.out == ""
    assert content(folder) == before


def test_a_folder_that_cannot_be_written_to_is_refused(
    qsep: Run, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(folder / "a.wav")
    (folder / "locked").mkdir()
    # Asked of the system, for root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    done = qsep("separate", "a.wav", "-q", "rain", "-o", "locked/out", "-m", tiny_model)
    assert done.code == 2
    assert "locked cannot be written to: choose another folder with -o" in done.error


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_checkpoint_is_one_line(
    qsep: Run, tiny_model: Path, folder: Path, name: str
) -> None:
    record(folder / "a.wav")
    shutil.copytree(tiny_model, folder / "model")
    data = (folder / "model" / name).read_bytes()
    (folder / "model" / name).write_bytes(data[: len(data) // 2])
    done = qsep("separate", "a.wav", "-q", "rain", "-m", "model")
    assert done.code == 2
    assert f"{name}: damaged" in done.error
