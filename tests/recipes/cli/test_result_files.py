"""Names, formats and places of the results of `qsep separate` and `qsep auto`."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import Run, content, names, record

from qsep.separation.audio.file_names import Naming
from qsep.separation.audio.formats import FORMATS

# --format


@pytest.mark.parametrize(
    ("subtype", "written"), [("PCM_U8", "PCM_16"), ("PCM_16", "PCM_16"), ("PCM_24", "PCM_24")]
)
def test_flac_holds_the_samples_of_the_wav_and_the_parts_sum_to_the_input(
    qsep: Run, tiny_model: Path, folder: Path, subtype: str, written: str
) -> None:
    record(folder / "a.wav", 70001, num_channels=2, subtype=subtype)  # more than one block
    command = ("separate", "a.wav", "-q", "rain", "--residual", "-m", tiny_model)
    assert qsep(*command, "--format", "flac").code == 0
    assert names(folder) == {"a.wav", "a.rain.flac", "a.rain.residual.flac"}
    assert soundfile.info(folder / "a.rain.flac").subtype == written
    target, rest, whole = (
        soundfile.read(folder / name)[0]
        for name in ("a.rain.flac", "a.rain.residual.flac", "a.wav")
    )
    np.testing.assert_array_equal(target + rest, whole)
    assert qsep(*command).code == 0
    step = 2.0 ** -(7 if subtype == "PCM_U8" else 15)  # of the coarser of the two files
    np.testing.assert_allclose(target, soundfile.read(folder / "a.rain.wav")[0], atol=step)


@pytest.mark.parametrize(("ending", "tolerance"), [("flac", 2**-24 + 1e-8), ("aiff", 0.0)])
def test_floats_become_24_bits_in_flac_and_stay_floats_in_aiff(
    qsep: Run, tiny_model: Path, folder: Path, ending: str, tolerance: float
) -> None:
    record(folder / "a.wav", subtype="FLOAT")
    command = ("separate", "a.wav", "-q", "rain", "-m", tiny_model)
    assert qsep(*command, "--format", ending).code == qsep(*command).code == 0
    written, wav = (soundfile.read(folder / f"a.rain.{name}")[0] for name in (ending, "wav"))
    np.testing.assert_allclose(written, wav, rtol=0, atol=tolerance)  # half a step of 24 bits


@pytest.mark.parametrize(
    ("ending", "container", "codec"),
    [("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III")],
)
def test_a_lossy_result_keeps_rate_channels_length_and_most_of_the_sound(
    qsep: Run, tiny_model: Path, folder: Path, ending: str, container: str, codec: str
) -> None:
    time = np.arange(20011) / 16000
    tones = 0.3 * np.sin(2 * np.pi * np.outer(time, (220, 331)))
    soundfile.write(folder / "a.wav", tones, 16000)
    command = ("separate", "a.wav", "-q", "rain", "-m", tiny_model)
    assert qsep(*command, "--format", ending).code == qsep(*command).code == 0
    info = soundfile.info(folder / f"a.rain.{ending}")
    assert (info.format, info.subtype, info.samplerate, info.channels, info.frames) == (
        *(container, codec),
        *(16000, 2, 20011),
    )
    lossy, wav = (soundfile.read(folder / f"a.rain.{name}")[0] for name in (ending, "wav"))
    error_db = 10 * np.log10(np.square(lossy - wav).sum() / np.square(wav).sum())
    assert error_db < -10  # wrong by a sample, the tones alone would be at -16 dB; inverted at +6


@pytest.mark.parametrize(
    ("rate", "num_channels", "ending", "message"),
    [
        (8000, 9, "flac", "a.wav: FLAC holds up to 8 channels, not 9: use --format wav"),
        (44100, 1, "opus", "a.wav: Opus cannot hold a sample rate of 44100 Hz: use --format wav"),
        (8000, 3, "mp3", "a.wav: MP3 holds up to 2 channels, not 3: use --format wav"),
    ],
)
def test_unsupported_format_settings_give_one_line(
    *,
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    rate: int,
    num_channels: int,
    ending: str,
    message: str,
) -> None:
    record(folder / "a.wav", rate=rate, num_channels=num_channels)
    done = qsep("separate", "a.wav", "-q", "rain", "-m", tiny_model, "--format", ending, "--quiet")
    assert (done.code, done.out, done.error) == (1, "", message)
    assert names(folder) == {"a.wav"}


# --name


def test_a_template_names_targets_and_residuals(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav")
    command = ("separate", "a.wav", "-q", "rain", "-q", "a dog", "--residual", "-m", tiny_model)
    assert qsep(*command, "--name", "{index}-{query} of {stem}.{ext}", "-o", "x").code == 0
    assert names(folder / "x") == {
        *("1-rain of a.wav", "1-rain.residual of a.wav"),
        *("2-a-dog of a.wav", "2-a-dog.residual of a.wav"),
    }
    assert qsep(*command, "--name", "{query}.flac", "--exclusive", "-o", "y").code == 0
    assert names(folder / "y") == {"rain.flac", "a-dog.flac", "residual.flac"}


def test_auto_takes_templates_and_formats(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav", 9000)
    command = ("auto", "a.wav", "-o", "out", "-m", tiny_model, "--threshold", "1e-6")
    assert qsep(*command, "--name", "{index} {query}.{ext}", "--format", "flac").code == 0
    sounds = {name for name in names(folder / "out") if name.endswith(".flac")}
    assert names(folder / "out") == {*sounds, "a.auto.json", "a.auto.png"}
    assert "1 " in {name[:2] for name in sounds}
    assert soundfile.info(folder / "out" / min(sounds)).frames == 9000
    # An earlier run's sounds are removed under their own names.
    assert qsep(*command, "--overwrite").code == 0
    assert not any(name.endswith(".flac") for name in names(folder / "out"))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{stem}.{label}.{ext}", "unknown field {label}: expected {stem}, {query}, {index}, {ext}"),
        ("{stem.__class__}.{ext}", "unknown field {stem.__class__}"),
        ("{query!r}.{ext}", "unknown field {query!r}"),
        ("{index:03}.{ext}", "unknown field {index:03}"),
        ("{}.{ext}", "unknown field {}"),
        ("{query.{ext}", "a literal brace is doubled"),
        ("x/{query}.{ext}", "is a path: use -o for the folder"),
        ("..\\{query}.{ext}", "is a path"),
        (".{query}.{ext}", "begins with a dot"),
        ("n" * 250 + "{query}.{ext}", "is too long"),
        ("{query}", "must end in .{ext} or .wav, .flac"),
        ("", "must end in .{ext}"),
        ("{stem}.{query}.wma", "results cannot be written as .wma: expected wav, flac"),
        ("{stem}.{ext}", "a.wav is an input too"),
        ("x.{ext}", "would both be written to x.wav: give --name {stem}, {query} or {index}"),
    ],
)
def test_a_bad_template_gives_one_line(
    qsep: Run, tiny_model: Path, folder: Path, template: str, message: str
) -> None:
    record(folder / "a.wav")
    queries = ("-q", "rain", "-q", "dog") if template.startswith("x.") else ("-q", "rain")
    done = qsep("separate", "a.wav", *queries, "--name", template, "-m", tiny_model)
    assert (done.code, message in done.error) == (2, True), done.error
    assert names(folder) == {"a.wav"}


def test_names_of_two_recordings_must_differ(qsep: Run, tiny_model: Path, folder: Path) -> None:
    for name in ("a.wav", "b.wav"):
        record(folder / name)
    template = ("--name", "{query}.{ext}", "-o", "out", "-m", tiny_model)
    assert "a.wav and b.wav would both be written to out/rain.wav" in (
        qsep("separate", "a.wav", "b.wav", "-q", "rain", *template).error
    )
    assert "needs {stem} for several inputs" in qsep("auto", "a.wav", "b.wav", *template).error
    assert names(folder) == {"a.wav", "b.wav"}


@pytest.mark.parametrize("template", ["{stem}.{query}.{ext}", "{stem}{stem}-{index}-{query}.{ext}"])
@pytest.mark.parametrize("stem", ["x", "x" * 250, "é" * 120, os.fsdecode(b"\xff" * 240)])
def test_a_name_fits_into_255_bytes(template: str, stem: str) -> None:
    query = "a query of many words that does not fit into any name at all, whatever is cut from it"
    target, residual = Naming(template).result_names(stem, query, True, index=1234)
    assert len(os.fsencode(residual)) <= 255
    assert target != residual


# -o


@pytest.mark.parametrize("file", ["dog.wav", "x/d{o}g.flac", "dog.MP3", "dog.aif"])
def test_a_single_result_goes_to_the_file_that_is_named(
    qsep: Run, tiny_model: Path, folder: Path, file: str
) -> None:
    record(folder / "a.wav")
    done = qsep("separate", "a.wav", "a dog", "-o", file, "-m", tiny_model)
    assert done.code == 0, done.err
    assert names(folder) == {"a.wav", file}
    formats = {"wav": "WAV", "flac": "FLAC", "MP3": "MP3", "aif": "AIFF"}
    assert soundfile.info(folder / file).format == formats[file.rpartition(".")[2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-q", "rain", "-q", "dog"), "-o out.wav is one file, but there are 2 results"),
        (("-q", "rain", "--residual"), "there are 2 results: give -o a folder"),
        (("b.wav", "-q", "rain"), "there are 2 results"),
        (("-q", "rain", "--name", "{query}.{ext}"), "-o out.wav already names the file"),
        (("-q", "rain", "--format", "flac"), "--format flac contradicts the name 'out.wav'"),
        (("-q", "rain", "--format", "wma"), f"--format wma: expected {', '.join(FORMATS)}"),
        (("-q", "rain", "-o", "out.m4a"), "results cannot be written as .m4a"),
        (("-q", "rain", "-o", "a.wav"), "a.wav is an input too"),
    ],
)
def test_a_file_for_several_results_gives_one_line(
    qsep: Run, tiny_model: Path, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    for name in ("a.wav", "b.wav"):
        record(folder / name)
    done = qsep("separate", "a.wav", "-o", "out.wav", *arguments, "-m", tiny_model)
    assert (done.code, message in done.error) == (2, True), done.error
    assert names(folder) == {"a.wav", "b.wav"}


def test_a_folder_may_be_called_like_a_file(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav")
    (folder / "out.wav").mkdir()
    assert qsep("separate", "a.wav", "-q", "rain", "-o", "out.wav", "-m", tiny_model).code == 0
    assert names(folder) == {"a.wav", "out.wav/a.rain.wav"}


def test_an_existing_file_is_kept(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav")
    record(folder / "out.wav")
    before = content(folder)
    command = ("separate", "a.wav", "rain", "-o", "out.wav", "-m", tiny_model)
    assert "out.wav exists" in qsep(*command).error
    assert "no earlier qsep separate wrote it" in qsep(*command, "--overwrite").error
    assert content(folder) == before


def test_auto_needs_a_folder(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav")
    done = qsep("auto", "a.wav", "-o", "out.wav", "-m", tiny_model)
    assert (done.code, done.error) == (
        2,
        "-o out.wav is a file: 'qsep auto' writes several, so give -o a folder",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
@pytest.mark.parametrize("file_format", ["wav", "flac", "ogg"])
def test_results_go_to_a_folder_whose_name_is_not_text(
    qsep: Run, tiny_model: Path, folder: Path, file_format: str
) -> None:
    record(folder / "a.wav", 900)
    out = os.fsdecode(b"\xe4")
    done = qsep(
        *("separate", "a.wav", "-q", "rain", "-m", tiny_model, "--format", file_format, "-o", out)
    )
    assert done.code == 0, done.err
    with (folder / out / f"a.rain.{file_format}").open("rb") as file:
        assert soundfile.info(file).frames == 900
