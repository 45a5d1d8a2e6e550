"""What counts as done in a folder of results, and which files a bulk run may write again."""

import os
from pathlib import Path

import pytest

from qsep.recipes.inference.bulk.manifest import Manifest, Row, outputs_of, state_of
from qsep.separation.storage.results import Results, sha256_of

SETTINGS, RESULT = "these", "a.rain.wav"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    return path


def opened(folder: Path, settings: str = SETTINGS) -> Manifest:
    return Manifest(Results(folder, "separate", shared=True), settings)


def separated(recording: Path) -> Path:
    """The folder of a run that separated the recording."""
    folder = recording.parent / "out"
    manifest = opened(folder)
    manifest.begin({})
    file = manifest.results.write_text(RESULT, "result")
    num_bytes, modified = state_of(recording)
    row: Row = {"key": "a.wav", "query": "rain", "settings": SETTINGS, "error": None}
    row |= {"bytes": num_bytes, "modified": modified, "sha256": sha256_of(recording)}
    manifest.add([row | {"outputs": outputs_of(manifest.results, ".", [file])}])
    return folder


def is_done(folder: Path, recording: Path, settings: str = SETTINGS) -> bool:
    return opened(folder, settings).is_done("a.wav", "rain", recording)


def test_a_recording_is_done_with_the_settings_it_was_separated_with(recording: Path) -> None:
    folder = separated(recording)
    assert is_done(folder, recording)
    assert not is_done(folder, recording, "others")


def test_a_recording_is_changed_by_its_content_and_not_by_its_time(recording: Path) -> None:
    folder = separated(recording)
    os.utime(recording, (1, 1))
    assert is_done(folder, recording)
    recording.write_bytes(b"other")  # of the same size
    assert not is_done(folder, recording)


def test_a_truncated_result_does_not_count_as_done(recording: Path) -> None:
    folder = separated(recording)
    (folder / RESULT).write_text("resul")
    assert not is_done(folder, recording)


def test_only_results_of_the_same_settings_may_be_overwritten(recording: Path) -> None:
    folder = separated(recording)
    assert opened(folder).may_replace(RESULT)
    assert not opened(folder, "others").may_replace(RESULT)
    opened(folder).results.write_text("b.rain.wav", "of a run that wrote no row of it")
    assert opened(folder).may_replace("b.rain.wav")
    assert not opened(folder, "others").may_replace("b.rain.wav")


def test_a_truncated_line_does_not_affect_the_others(recording: Path) -> None:
    folder = separated(recording)
    with opened(folder).path.open("a") as file:
        file.write('{"key": "b.w')
    assert is_done(folder, recording)
    other = opened(folder)
    row: Row = {"key": "c.wav", "query": "rain", "settings": SETTINGS, "error": None, "outputs": []}
    num_bytes, modified = state_of(recording)
    row |= {"bytes": num_bytes, "modified": modified, "sha256": sha256_of(recording)}
    other.add([row])
    assert opened(folder).is_done("c.wav", "rain", recording)
