"""`qsep models read`, --strict, and how `qsep separate` reports its reading of queries."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from command import STUB, Run, names, record
from tiny_settings import SETTINGS

from qsep.queries.encoders import minilm
from qsep.queries.encoders.phrase_book import Config, build
from qsep.queries.interface import TextQuery
from qsep.separation.api import load
from qsep.separation.components import build_separator
from qsep.separation.storage.checkpoint import carry_encoder, describe, save_checkpoint

BOOK = """
[labels.dog]
name = "a dog barking"
phrases = ["dog", "hound"]
[labels.cat]
name = "a cat meowing"
phrases = ["cat"]
[labels.rain]
name = "rain falling"
phrases = ["rain"]
[families.animals]
name = "animals"
members = ["dog", "cat"]
phrases = ["animals"]
"""
CLASSES = ["dog", "cat", "rain"]


@pytest.fixture(name="model")
def model_with_a_book(qsep: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def encode_many(self: minilm.MiniLM, texts: list[str]) -> torch.Tensor:
        return STUB.encode([TextQuery(text) for text in texts]).pooled

    monkeypatch.setattr(minilm.MiniLM, "encode_many", encode_many)
    (folder.parent / "book.toml").write_text(BOOK)
    encoder = build(Config(phrases=str(folder.parent / "book.toml")))
    separator = build_separator("class_unet", SETTINGS["class_unet"] | {"classes": CLASSES})
    description = describe("class_unet", separator, "phrase_book", encoder, {})
    carried = carry_encoder(description, encoder, folder.parent)
    model_folder = folder.parent / "model"
    save_checkpoint(
        model_folder, description, separator.state_dict(), "# Card\n", encoder_files=carried
    )
    return model_folder


def test_words_are_read_without_a_recording(qsep: Run, model: Path) -> None:
    outcome = qsep("models", "read", "the animals", "no cat", "-m", model)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "'the animals' is read as animals (dog, cat)",
        "  dog                  1.00",
        "  cat                  1.00",
        "'no cat' is read as everything but a cat meowing (3 of 4 classes)",
        "  dog                  1.00",
        "  rain                 1.00",
        "  other                1.00",
    ]


def test_readings_as_json_are_one_object_a_line(qsep: Run, model: Path) -> None:
    lines = qsep("models", "read", "hound and rain", "cta", "-m", model, "--json").out.splitlines()
    first, second = map(json.loads, lines)
    assert first["classes"] == {"dog": 1.0, "rain": 1.0}
    assert first["understood"] == "a dog barking + rain falling"
    assert second["classes"] == {"cat": 1.0}
    assert second["notes"] == ["'cta' is taken for 'cat'"]


def test_models_without_a_book_say_so(qsep: Run, tiny_model: Path) -> None:
    outcome = qsep("models", "read", "dog", "-m", tiny_model)
    assert outcome.code == 2
    assert "does not read queries as classes" in outcome.error


def test_separating_says_how_the_words_are_read(qsep: Run, model: Path, folder: Path) -> None:
    record(folder / "a.wav")
    outcome = qsep("separate", "a.wav", "-q", "animals", "-m", model)
    assert outcome.code == 0
    assert outcome.err == "qsep: 'animals' is read as animals (dog, cat)\n"
    outcome = qsep("separate", "a.wav", "-q", "animals", "-m", model, "--json", "--overwrite")
    assert outcome.err == ""
    reading = json.loads(outcome.out)["reading"]
    assert reading["families"] == ["animals"]
    assert reading["classes"] == {"dog": 1.0, "cat": 1.0}


def test_a_stream_says_what_unknown_words_mean_there(
    qsep: Run, model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record(folder / "a.wav")
    command = ("live", "--input", "a.wav", "-m", model)
    assert qsep(*command, "-q", "a theremin", "--output", "b.wav").code == 0
    assert "in a stream 'a theremin' means what no class explains" in caplog.text
    caplog.clear()
    assert qsep(*command, "-q", "animals", "--output", "c.wav").code == 0
    assert "in a stream" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--strict"], "is unlike every sound"), (["--min-similarity", "0.7"], "less than 0.7")],
)
def test_strict_refuses_unknown_words_and_writes_nothing(
    qsep: Run, model: Path, folder: Path, options: list[str], message: str
) -> None:
    record(folder / "a.wav")
    outcome = qsep("separate", "a.wav", "-q", "dog", "-q", "a theremin", "-m", model, *options)
    assert outcome.code == 2
    assert "'a theremin'" in outcome.error
    assert message in outcome.error
    assert names(folder) == {"a.wav"}
    assert qsep("separate", "a.wav", "-q", "dog", "-m", model, *options).code == 0


def test_unknown_words_are_warned_of(
    qsep: Run, model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record(folder / "a.wav")
    outcome = qsep("separate", "a.wav", "-q", "a theremin", "-m", model)
    assert outcome.code == 0
    assert "'a theremin' is unlike every sound that this model knows" in caplog.text


def test_scripts_that_are_not_read_are_refused_in_a_line(
    qsep: Run, model: Path, folder: Path
) -> None:
    record(folder / "a.wav")
    outcome = qsep("separate", "a.wav", "-q", "собака", "-m", model)
    assert outcome.code == 2
    assert "not Cyrillic" in outcome.error
    assert names(folder) == {"a.wav"}


def test_results_hold_their_reading(model: Path) -> None:
    loaded = load(model)
    results = loaded.separate(torch.rand(1, 9000), ["hound", "no animals"])
    assert [result.reading.understood for result in results if result.reading] == [
        "a dog barking",
        "everything but animals",
    ]
    assert results[1].reading == loaded.read("no animals")
    assert dataclasses.replace(results[0], reading=None).reading is None
