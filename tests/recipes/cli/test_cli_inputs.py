"""`qsep separate` on recordings that need a choice, and targets that are left out by their level."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command import Run, names, record

from qsep.recipes.inference.lost_band import loses_band
from qsep.separation.api import load
from qsep.separation.audio.source import ReadOptions


def rows_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_nan_samples_are_zero_on_request(
    qsep: Run, tiny_model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = np.random.default_rng(3).uniform(-0.7, 0.7, 4001).astype(np.float32)
    samples[[1600, 1700]] = np.nan
    soundfile.write(folder / "a.wav", samples, 8000, subtype="FLOAT")
    soundfile.write(folder / "b.wav", np.nan_to_num(samples), 8000, subtype="FLOAT")
    refused = qsep("separate", "a.wav", "-q", "rain", "-m", tiny_model)
    assert (refused.code, names(folder)) == (1, {"a.wav", "b.wav"})
    done = qsep("separate", "a.wav", "b.wav", "-q", "rain", "--nan", "zero", "-m", tiny_model)
    assert done.code == 0
    assert "a.wav: 2 NaN or infinite samples from 0.200 to 0.212 s were set to zero" in caplog.text
    assert (folder / "a.rain.wav").read_bytes() == (folder / "b.rain.wav").read_bytes()


def test_another_treatment_of_nan_is_a_usage_error(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav")
    done = qsep("separate", "a.wav", "-q", "rain", "--nan", "keep", "-m", tiny_model)
    assert (done.code, "nan is 'keep'; expected refuse or zero" in done.error) == (2, True)


def test_mono_gives_one_channel_and_the_parts_sum_to_the_mean(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav", 5001, 11025, 6, "FLOAT")
    done = qsep("separate", "a.wav", "-q", "rain", "--residual", "--mono", "-m", tiny_model)
    assert done.code == 0
    whole = soundfile.read(folder / "a.wav")[0]
    target, residual = (
        soundfile.read(folder / f"a.{name}.wav")[0] for name in ("rain", "rain.residual")
    )
    assert target.shape == (5001,)
    # two roundings to float32 of values under 1
    np.testing.assert_allclose(target + residual, whole.mean(axis=1), rtol=0, atol=1.2e-7)


def test_a_damaged_file_is_separated_on_request(
    qsep: Run, tiny_model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = record(folder / "a.flac", 20001)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert qsep("separate", "a.flac", "-q", "rain", "-m", tiny_model).code == 1
    done = qsep("separate", "a.flac", "-q", "rain", "--salvage", "-m", tiny_model)
    assert done.code == 0
    assert soundfile.info(folder / "a.rain.wav").frames == 8192
    assert "damaged after 1.02 s, where 1.48 s are lost; 1.02 s of audio were read" in caplog.text


def test_python_reads_files_with_the_same_options(tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav", 5001, 11025, 3)
    model = load(tiny_model)
    result = model.separate("a.wav", "rain", read_options=ReadOptions(mono=True))
    assert result.target.shape == (1, 5001)
    with pytest.raises(ValueError, match="give them for files only"):
        model.separate(torch.zeros(5), "rain", read_options=ReadOptions(mono=True))


# A level below which nothing is written


def test_targets_under_the_level_are_reported_and_not_written(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav")
    options = ("-q", "rain", "-q", "flute", "--residual", "--json", "-m", tiny_model)
    levels = [row["level_db"] for row in rows_of(qsep("separate", "a.wav", *options).out)]
    between = f"{sum(levels) / 2:.3f}"
    quiet, loud = ("rain", "flute") if levels[0] < levels[1] else ("flute", "rain")
    for option in ("--min-level", "--min-score"):
        done = qsep("separate", "a.wav", *options, "-o", option[2:], option, between)
        assert done.code == 0
        rows = {row["query"]: row for row in rows_of(done.out)}
        files = [f"{option[2:]}/a.{quiet}.wav", f"{option[2:]}/a.{quiet}.residual.wav"]
        assert (rows[quiet]["files"], rows[quiet]["omitted"]) == ([], files)
        assert "omitted" not in rows[loud]
        assert [row["level_db"] for row in rows.values()] == levels
        assert names(folder / option[2:]) == {f"a.{loud}.wav", f"a.{loud}.residual.wav"}


def test_an_earlier_result_under_the_level_is_removed_with_overwrite(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav")
    command = ("separate", "a.wav", "-q", "rain", "-m", tiny_model)
    assert qsep(*command).code == 0
    assert qsep(*command, "--min-level", "90").code == 2
    assert names(folder) == {"a.wav", "a.rain.wav"}
    done = qsep(*command, "--min-level", "90", "--overwrite")
    assert done.code == 0
    assert done.out.startswith("a.rain.wav  not written, 0.4 s, ")
    assert names(folder) == {"a.wav"}


@pytest.mark.parametrize("other", [("--exclusive",), ("-o", "-")])
def test_a_level_contradicts_what_needs_every_target(
    qsep: Run, tiny_model: Path, folder: Path, other: tuple[str, ...]
) -> None:
    record(folder / "a.wav")
    done = qsep("separate", "a.wav", "-q", "rain", *other, "--min-level", "-20", "-m", tiny_model)
    assert done.code == 2
    assert done.error == f"{' '.join(other)} needs every target: leave --min-level out"


def test_a_bulk_run_records_what_it_omitted_and_does_not_repeat_it(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    (folder / "in").mkdir()
    record(folder / "in" / "a.wav")
    command = ("separate", "in", "-q", "rain", "-o", "out", "--min-level", "90", "-m", tiny_model)
    assert qsep(*command).code == 0
    (row,) = rows_of((folder / "out" / "manifest.jsonl").read_text())[1:]
    assert (row["outputs"], row["omitted"]) == ([], ["out/a.rain.wav"])
    assert "0 recordings done, 0 failed, 1 done before" in qsep(*command).err
    other = qsep(*command[:-3], "-90", *command[-2:])  # another level is another run
    assert "1 recordings done, 0 failed, 0 done before" in other.err
    assert names(folder / "out") == {"manifest.jsonl", "a.rain.wav"}


# What is said once a run


def test_frequencies_that_are_lost_are_said_once(
    qsep: Run, tiny_model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, rate in (("a.wav", 8000), ("b.wav", 44100), ("c.wav", 96000)):
        record(folder / name, 3001, rate)

    def warnings(*arguments: str) -> list[str]:
        caplog.clear()
        assert qsep("separate", *arguments, "-q", "rain", "-m", tiny_model).code == 0
        return [message for message in caplog.messages if "sample rate" in message]

    (warning,) = warnings("a.wav", "b.wav", "c.wav")
    text = (
        "b.wav has a sample rate of 44.1 kHz, but tiny works at 8: targets hold nothing above 4 kHz"
    )
    assert warning.startswith(text)
    assert len(warnings(".", "-o", "out")) == 1
    assert warnings("a.wav", "-o", "other") == []


@pytest.mark.parametrize(
    ("rate", "model_rate", "lost"),
    [
        (96000, 32000, True),
        (192000, 32000, True),
        (48000, 32000, False),  # what is above 16 kHz in music and video is hardly heard
        (44100, 16000, True),
        (16000, 16000, False),
        (8000, 32000, False),
        (96000, 96000, False),
    ],
)
def test_the_loss_is_worth_a_word_where_it_is_heard_or_was_wanted(
    rate: int, model_rate: int, lost: bool
) -> None:
    assert loses_band(rate, model_rate) is lost


def test_files_of_a_folder_that_are_no_audio_are_counted(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    (folder / "in" / "deep").mkdir(parents=True)
    record(folder / "in" / "a.wav")
    for name in ("notes.txt", "deep/other.TXT", "deep/cover.jpg", "README", ".hidden"):
        (folder / "in" / name).write_text("none")
    command = ("separate", "in", "-q", "rain", "-o", "in", "-m", tiny_model)
    line = "qsep: 4 files left out, whose names are not those of audio (.txt, no ending, .jpg)"
    for _ in range(2):  # the second time, results lie there too
        assert [each for each in qsep(*command).err.splitlines() if "left out" in each] == [line]
    assert "left out" not in qsep(*command, "--quiet").err
