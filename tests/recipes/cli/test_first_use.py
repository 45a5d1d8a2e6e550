"""The experience of a first use: levels in words, usage errors, the demo's description."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import Run, names, record

from qsep.queries.constraints import Span
from qsep.recipes.demo import listen
from qsep.recipes.inference.level_words import finding_in_words, level_in_words


@pytest.mark.parametrize(
    ("level_db", "words"),
    [
        (0.0, "nearly all of the energy"),
        (-7.0, "about a fifth of the energy"),  # 10 ** -0.7 = 0.1995
        (-3.01, "about half of the energy"),
        (-19.9, "about a hundredth of the energy"),
        (-20.1, "under a hundredth of the energy; likely not there"),
        (-200.0, "under a hundredth of the energy; likely not there"),
        (3.01, "2.0 times the energy of the whole"),
    ],
)
def test_levels_in_words(level_db: float, words: str) -> None:
    assert level_in_words(level_db) == words


@pytest.mark.parametrize(
    ("level_db", "is_doubtful"), [(-7.9, False), (-8.1, True), (-20.0, True), (-20.1, False)]
)
def test_a_queried_sound_that_is_quiet_may_be_another(level_db: float, is_doubtful: bool) -> None:
    words = level_in_words(level_db)
    assert finding_in_words(level_db) == words + is_doubtful * "; faint, or another sound"


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("0:01-0:03", Span(1, 3)),
        ("1:30-", Span(90)),
        ("75:10-1:15:10.5", Span(4510, 4510.5)),
        ("59.5-1:00", Span(59.5, 60)),
    ],
)
def test_spans_as_a_clock_shows_them(text: str, span: Span) -> None:
    assert Span.parse(text) == span


def test_the_query_may_follow_the_recording(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "street.wav")
    done = qsep("separate", "street.wav", "a dog", "-m", tiny_model)
    assert (done.code, names(folder)) == (0, {"street.wav", "street.a-dog.wav"})
    level = float(done.out.split(" s, ")[1].split(" dB")[0])
    assert done.out.strip().endswith(f"dB of the input: {finding_in_words(level)}")


@pytest.mark.parametrize("second", ["b.wav", "there/dog"])
def test_a_missing_recording_is_no_query(
    qsep: Run, tiny_model: Path, folder: Path, second: str
) -> None:
    record(folder / "a.wav")
    assert "say which sound" in qsep("separate", "a.wav", second, "-m", tiny_model).error
    done = qsep("separate", "a.wav", "rain", "-q", "rain", "-m", tiny_model)
    assert "rain does not exist" in done.error
    assert names(folder) == {"a.wav"}


def test_usage_errors_read_like_other_errors(qsep: Run, folder: Path) -> None:
    assert qsep("report").error == "missing argument 'RUN...': see qsep report --help"
    wrong = qsep("separate", "a.wav", "--outt", "x").error
    assert wrong.startswith("no such option: --outt")
    assert wrong.endswith(": see qsep separate --help")
    assert qsep("seperate").error.startswith("no such command 'seperate'")


def test_verbose_says_what_is_used_and_how_long_it_took(
    qsep: Run, tiny_model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record(folder / "a.wav")
    command = ("separate", "a.wav", "-q", "rain", "-m", tiny_model)
    assert qsep(*command).code == 0
    assert "took" not in caplog.text
    assert qsep(*command, "--verbose", "--overwrite").code == 0
    assert f"tiny from {tiny_model}, on cpu at 8000 Hz" in caplog.text
    assert "a.wav took" in caplog.text


def test_doctor_says_how_to_install_what_is_missing(
    qsep: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    lines = qsep("doctor").out.splitlines()
    missing = [line for line in lines if "not installed" in line or "not found" in line]
    assert any(line.startswith("ffmpeg not found") for line in missing)
    assert [line for line in missing if "install" not in line.partition(": ")[2]] == []


def test_auto_writes_to_the_working_folder_by_default(qsep: Run, folder: Path) -> None:
    record(folder / "a.wav", 24000, 16000)
    assert qsep("auto", "a.wav", "--json").code == 0
    assert "a.auto.json" in names(folder)


def test_the_parts_of_the_demo_sum_to_its_scene() -> None:
    scene, parts, _ = listen.scene_parts()
    assert set(parts) == {kind for expected in listen.EXPECTED for kind in expected.parts}
    assert np.allclose(sum(parts.values()), scene, atol=1e-12)
    silent = parts["speech"][:, : int(0.8 * 44100)]  # the first sentence begins at 0.9 s
    assert np.abs(silent).max() < 2**-14  # rounding to 16 bits


def test_the_demo_says_how_good_its_results_are(tmp_path: Path) -> None:
    _, parts, rate = listen.scene_parts()
    for expected, error in zip(listen.EXPECTED, (0.5, 0.1, 1.0, 0.5, 0.5), strict=True):
        part = np.sum([parts[kind] for kind in expected.parts], axis=0)
        result = part * (1 - error)  # SDR is -20 log10 of the error
        file = listen.result_file(tmp_path, expected.query)
        soundfile.write(file, result.T, rate, subtype="DOUBLE")
    message = "\n".join(listen.describe(tmp_path))
    assert "fair: some of the other sounds remains: SDR 6.0 dB" in message
    assert "very good: SDR 20.0 dB" in message
    assert "poor: SDR 0.0 dB" in message
    assert (tmp_path / listen.PICTURE).read_bytes().startswith(b"\x89PNG")
