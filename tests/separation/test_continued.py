"""Separating a file again after an interruption: the results are those of a run without one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny import StubConfig, StubEncoder, noise, tiny_separator

from qsep.queries.constraints import NO_CONSTRAINTS, Constraints
from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.separation.api import Model, files, separate_file
from qsep.separation.audio.file_names import Naming
from qsep.separation.audio.source import AudioError
from qsep.separation.audio.target_files import TargetFiles
from qsep.separation.inference import chunks
from qsep.separation.inference import recording as recording_stream
from qsep.separation.inference.chunks import geometry
from qsep.separation.storage import unfinished
from qsep.separation.storage.unfinished import Unfinished

SECONDS = 19


def model(kind: str = "band_unet") -> Model:
    separator = tiny_separator(kind)
    return Model(separator, StubEncoder(StubConfig(dim=separator.query_dim)), "tiny", "print")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return record(tmp_path / "long.wav", 8000)


def record(path: Path, rate: int, channels: int = 1, subtype: str = "PCM_16") -> Path:
    waveform = noise(SECONDS * rate, channels, scale=0.4).numpy()
    soundfile.write(path, waveform, rate, subtype=subtype)
    return path


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 1.5 seconds, a state for each block, and every recording counts as long.

    What this process has left counts as that of a process that is gone.
    """
    monkeypatch.setattr(
        recording_stream, "geometry", lambda separator, rule, **_: geometry(separator, 1.5, rule)
    )
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(files, "LONG_BYTES", 1)
    monkeypatch.setattr(unfinished, "is_abandoned", lambda path: True)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """interrupt(n, error): the n-th block that is written from now on raises the error instead."""
    write = TargetFiles.write

    def after(num_blocks: int, error: BaseException | None = None) -> None:
        left = [num_blocks]

        def counting(self: TargetFiles, *blocks: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise error or KeyboardInterrupt
            write(self, *blocks)

        monkeypatch.setattr(TargetFiles, "write", counting)

    return after


@pytest.fixture
def separated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first samples of the chunks that are separated, at the model's rate."""
    firsts: list[int] = []
    targets_of = chunks.Chunks._targets_of

    def noting(self: chunks.Chunks, *arguments: Any) -> Any:
        firsts.append(self._start)
        return targets_of(self, *arguments)

    monkeypatch.setattr(chunks.Chunks, "_targets_of", noting)
    return firsts


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("kind", "rate", "channels", "subtype", "file_format", "words", "constraints"),
    [
        ("band_unet", 8000, 1, "PCM_16", "wav", ["rain"], NO_CONSTRAINTS),
        ("band_unet", 22050, 2, "PCM_24", "flac", ["rain", "a dog"], NO_CONSTRAINTS),
        ("band_unet", 1000, 1, "FLOAT", "wav", ["rain"], Constraints(["wind"], spans=["1-17"])),
        ("band_unet", 44100, 1, "PCM_U8", "wav", ["rain", "a dog"], Constraints(exclusive=True)),
        ("clipsep", 11025, 1, "PCM_16", "wav", ["rain", "a dog", "wind"], NO_CONSTRAINTS),
        ("flow_unet", 8000, 1, "PCM_16", "aiff", ["rain"], Constraints(consistent=True)),
    ],
)
def test_a_continued_file_equals_one_without_an_interruption(
    kind: str,
    rate: int,
    channels: int,
    subtype: str,
    file_format: str,
    words: list[str],
    constraints: Constraints,
    tmp_path: Path,
    interrupt: Callable[..., None],
    separated: list[int],
) -> None:
    path = record(tmp_path / "long.wav", rate, channels, subtype)
    queries = [TextQuery(text) for text in words]

    def separate(folder: Path) -> list[dict[str, Any]]:
        return separate_file(
            *(model(kind), path, queries, folder),
            residual=True,
            constraints=constraints,
            naming=Naming(file_format=file_format),
        )

    expected_rows = separate(tmp_path / "whole")
    num_whole = len(separated)
    assert num_whole > 8
    for num_blocks in (3, 9, 10):
        interrupt(num_blocks)
        with pytest.raises(KeyboardInterrupt):
            separate(tmp_path / "out")
    separated.clear()
    interrupt(10**9)
    rows = separate(tmp_path / "out")
    assert len(separated) < num_whole
    assert min(separated) > 0 or len(words) > 2  # of three words the last has a pass of its own
    expected, actual = content(tmp_path / "whole"), content(tmp_path / "out")
    assert actual.keys() == expected.keys()  # and nothing temporary
    for name, whole in expected.items():
        assert actual[name] == whole, name
    for row, expected_row in zip(rows, expected_rows, strict=True):
        assert row | {"files": []} == expected_row | {"files": []}


def test_passes_that_are_done_are_not_repeated(
    tmp_path: Path, recording: Path, interrupt: Callable[..., None], separated: list[int]
) -> None:
    queries = [TextQuery(text) for text in ("rain", "a dog", "wind")]
    separate_file(model("clipsep"), recording, queries, tmp_path / "whole")
    num_of_pass = len(separated) // 2
    interrupt(num_of_pass + 6)
    with pytest.raises(KeyboardInterrupt):
        separate_file(model("clipsep"), recording, queries, tmp_path / "out")
    interrupt(1)  # as soon as the second pass has opened its files
    with pytest.raises(KeyboardInterrupt):
        separate_file(model("clipsep"), recording, queries, tmp_path / "out")
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".part"]  # none without all
    interrupt(10**9)
    separated.clear()
    rows = separate_file(model("clipsep"), recording, queries, tmp_path / "out")
    assert 0 < len(separated) < num_of_pass
    assert [row["query"] for row in rows] == ["rain", "a dog", "wind"]
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("file_format", ["wav", "flac"])
@pytest.mark.parametrize("num_complete", [1, 2, 3])
def test_files_that_were_complete_at_the_interruption_stay(
    file_format: str, num_complete: int, tmp_path: Path, recording: Path, monkeypatch: Any
) -> None:
    arguments = (model(), recording, [TextQuery("rain"), TextQuery("a dog")])
    naming = Naming(file_format=file_format)
    separate_file(*arguments, tmp_path / "whole", True, naming=naming)
    set_complete, left = Unfinished.set_complete, [num_complete]

    def interrupted(self: Unfinished, *paths: Path) -> None:
        set_complete(self, *paths)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Unfinished, "set_complete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        separate_file(*arguments, tmp_path / "out", True, naming=naming)
    rows = separate_file(*arguments, tmp_path / "out", True, naming=naming)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert all(row["level_db"] is not None for row in rows)


def test_targets_that_are_too_faint_are_left_out_after_an_interruption_too(
    tmp_path: Path, recording: Path, interrupt: Callable[..., None]
) -> None:
    interrupt(5)
    arguments = (model(), recording, [TextQuery("rain"), TextQuery("a dog")], tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        separate_file(*arguments, min_level_db=100.0)
    interrupt(10**9)
    rows = separate_file(*arguments, min_level_db=100.0)
    assert [row["files"] for row in rows] == [[], []]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("change", ["recording", "query", "model", "options"])
def test_other_work_for_the_same_files_begins_anew_and_says_so(
    change: str,
    tmp_path: Path,
    recording: Path,
    interrupt: Callable[..., None],
    separated: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    interrupt(8)
    with pytest.raises(KeyboardInterrupt):
        separate_file(model(), recording, [TextQuery("rain")], tmp_path / "out")
    interrupt(10**9)
    changed, query, constraints = model(), TextQuery("rain"), NO_CONSTRAINTS
    if change == "recording":
        os.utime(recording, (0, 0))
    elif change == "query":
        query = TextQuery("Rain!")  # written to a file of the same name
    elif change == "model":
        changed.fingerprint = "another"
    else:
        constraints = Constraints(spans=["1-"])
    separated.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        separate_file(changed, recording, [query], tmp_path / "out", constraints=constraints)
    assert min(separated) == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"{recording}: what an earlier run left unfinished is removed: it was done with other "
        "settings, the recording has changed, or it is damaged"
    ]
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_other_queries_leave_the_work_for_its_own(
    tmp_path: Path, recording: Path, interrupt: Callable[..., None], separated: list[int]
) -> None:
    interrupt(8)
    with pytest.raises(KeyboardInterrupt):
        separate_file(model(), recording, [TextQuery("rain")], tmp_path / "out")
    interrupt(10**9)
    separate_file(model(), recording, [TextQuery("a dog")], tmp_path / "out")
    separated.clear()
    separate_file(model(), recording, [TextQuery("rain")], tmp_path / "out")
    assert min(separated) > 0
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (SystemExit(143), True),
        (AudioError("a fault of the recording"), False),
        (MemoryError(), False),
        (OSError(28, "No space left on device"), True),
    ],
)
def test_work_is_kept_where_it_may_end_otherwise(
    error: BaseException,
    is_kept: bool,
    tmp_path: Path,
    recording: Path,
    interrupt: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    interrupt(8, error)
    with caplog.at_level(logging.WARNING), pytest.raises(type(error)):
        separate_file(model(), recording, [TextQuery("rain")], tmp_path / "out")
    messages = [record.getMessage() for record in caplog.records]
    kept = f"{recording}: what is done is kept for 7 days: the same command continues it"
    assert messages == [kept] * is_kept
    assert len(list((tmp_path / "out").iterdir())) == is_kept


@pytest.mark.parametrize("reason", ["short", "early", "temporary", "streaming"])
def test_what_is_not_worth_keeping_leaves_nothing(
    reason: str,
    tmp_path: Path,
    recording: Path,
    interrupt: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    separator = model()
    if reason == "short":
        monkeypatch.setattr(files, "LONG_BYTES", recording.stat().st_size + 1)
    elif reason == "early":
        monkeypatch.setattr(unfinished, "SAVE_SECONDS", 3600.0)
    elif reason == "temporary":
        (tmp_path / "qsep-vm-1-2-0a.part").mkdir()
        recording = recording.rename(tmp_path / "qsep-vm-1-2-0a.part" / "stdin")
    else:
        monkeypatch.setattr(Model, "can_continue", False)
    interrupt(8)
    with pytest.raises(KeyboardInterrupt):
        separate_file(separator, recording, [TextQuery("rain")], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_causal_models_and_several_candidates_cannot_be_continued() -> None:
    assert model().can_continue
    assert not model("flow_unet").best_of_n(2, "consistency").can_continue
    causal = model("queried:causal")
    assert causal.separator.capabilities.streaming
    assert not causal.can_continue


def test_levels_of_a_continued_file_count_all_of_it(
    tmp_path: Path, interrupt: Callable[..., None]
) -> None:
    """Half of the recording is much louder, with an offset."""
    waveform = noise(SECONDS * 8000, 1, scale=0.1).numpy()
    waveform[: 12 * 8000] = 0.3 + 0.5 * waveform[: 12 * 8000]
    soundfile.write(tmp_path / "long.wav", waveform, 8000)
    arguments = (model(), tmp_path / "long.wav", [TextQuery("rain")])
    (whole,) = separate_file(*arguments, tmp_path / "whole")
    interrupt(9)
    with pytest.raises(KeyboardInterrupt):
        separate_file(*arguments, tmp_path / "out")
    interrupt(10**9)
    (row,) = separate_file(*arguments, tmp_path / "out")
    target, _ = soundfile.read(row["files"][0])
    mixture, _ = soundfile.read(tmp_path / "long.wav")
    expected = 10 * np.log10(target.var() / mixture.var())
    assert row["level_db"] == whole["level_db"] == pytest.approx(expected, abs=0.01)


def test_a_continued_chunk_is_right_from_its_first_sample_on() -> None:
    separator = tiny_separator()
    cut = geometry(separator, 1.5)
    queries = QueryEmbedding(noise(2, separator.query_dim))
    mixture = noise(1, 7 * cut.step + 99)

    def targets(num_known: int) -> torch.Tensor:
        core = chunks.Chunks(separator, queries, cut, num_known=num_known)
        return torch.cat([*core.push(mixture), *core.finish()], dim=-1)

    whole = targets(0)
    first = 3 * cut.step
    for num_known in (first, first + cut.fade - 1, first + cut.fade):
        continued = targets(num_known)
        assert torch.equal(continued[..., num_known:], whole[..., num_known:])
        num_silent = 2 + (num_known == first + cut.fade)
        assert not continued[..., : num_silent * cut.step].any()
        assert continued[..., num_silent * cut.step + cut.fade :].any()
