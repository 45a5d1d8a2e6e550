"""The jobs of `qsep serve`, without a page."""

import json
import logging
import os
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import STUB, Run, record

from qsep.queries.constraints import Span
from qsep.queries.encoders import minilm
from qsep.recipes.inference.level_words import finding_in_words
from qsep.recipes.serve.api import Api, uploaded
from qsep.recipes.serve.choice import by_name, finders_among, local_models
from qsep.recipes.serve.jobs import Jobs, Limits, Request, Sound, in_lines
from qsep.recipes.serve.messages import collected_warnings, message_of, without_folders
from qsep.recipes.serve.pictures import HEIGHT, LEFT, RIGHT, WIDTH, draw, levels_of, seconds_at
from qsep.recipes.serve.server import Address, free_port, sweep

RATE = 8000
LIMITS = Limits(seconds=2.0, megabytes=1, sounds=3, letters=40, candidates=4)


@pytest.fixture
def jobs(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setattr(minilm.MiniLM, "encode", lambda self, queries: STUB.encode(queries))
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    return Jobs(tmp_path / "served", {"tiny": str(tiny_model)}, ["tiny"], "cpu", LIMITS)


@pytest.fixture
def street(jobs: Jobs) -> Path:
    return record(jobs.folder / "street.wav", num_samples=3001, num_channels=2)


def test_target_and_rest_of_each_sound_sum_to_the_recording(jobs: Jobs, street: Path) -> None:
    shares: list[float] = []
    answer = jobs.separate(street, Request(["a dog", "rain", "a violin"]), shares.append)
    assert [sound.name for sound in answer.sounds] == ["a dog", "rain", "a violin"]
    mixture = soundfile.read(street, dtype="int16")[0]
    for sound in answer.sounds:
        assert sound.rest is not None
        target, rest = (
            soundfile.read(file, dtype="int16")[0] for file in (sound.target, sound.rest)
        )
        assert target.shape == (3001, 2)
        assert np.array_equal(target + rest, mixture)
        energies = [float(np.square(part.astype(float)).sum()) for part in (target, mixture)]
        level_db = 10 * np.log10(energies[0] / energies[1])
        # Of rounding to 16 bits and to 0.01.
        assert sound.level_db == pytest.approx(level_db, abs=0.02)
        assert sound.level == finding_in_words(sound.level_db)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)


def test_outside_of_the_span_a_target_is_silent(jobs: Jobs, street: Path) -> None:
    (sound,) = jobs.separate(street, Request(["a dog"], span="0.1-0:00.25")).sounds
    target = soundfile.read(sound.target, dtype="int16")[0]
    assert not target[: round(0.1 * RATE)].any()
    assert not target[round(0.25 * RATE) :].any()
    assert target[round(0.15 * RATE) : round(0.2 * RATE)].any()


def test_negatives_change_the_target(jobs: Jobs, street: Path) -> None:
    plain, without = (
        soundfile.read(jobs.separate(street, Request(["a dog"], not_wanted)).sounds[0].target)[0]
        for not_wanted in ([], ["rain"])
    )
    assert np.abs(plain - without).max() > 1e-3


def test_the_zip_holds_every_file_and_says_what_they_are(jobs: Jobs, street: Path) -> None:
    answer = jobs.separate(street, Request(["a dog", "rain"]))
    with zipfile.ZipFile(answer.archive) as packed:
        assert packed.testzip() is None
        names = set(packed.namelist())
        described = json.loads(packed.read("street.json"))
        target = packed.read("street.a-dog.wav")
    files = {file.name for sound in answer.sounds for file in (sound.target, sound.rest) if file}
    assert names == files | {"street.json"}
    assert len(files) == 4
    assert target == answer.sounds[0].target.read_bytes()
    assert described["sounds"][1]["rest"] == "street.rain.residual.wav"
    assert str(jobs.folder) not in json.dumps(described)


@pytest.mark.parametrize(
    ("level_db", "absent"), [(-3.0, False), (-19.9, False), (-20.1, True), (-200.0, True)]
)
def test_a_sound_under_a_hundredth_of_the_energy_is_likely_absent(
    level_db: float, absent: bool
) -> None:
    sound = Sound("a dog", level_db, "", Path("target.wav"))
    assert sound.likely_absent is absent
    assert ("likely not there" in sound.level) is absent


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request([]), "say which sound to take out, as: a dog barking"),
        (Request(["  "]), "the query is empty; say which sound to separate, e.g. 'a dog barking'"),
        (Request(list("abcd")), "4 sounds at once: at most 3"),
        (Request(["a"], list("bcde")), "4 sounds at once: at most 3"),
        (Request(["x" * 41]), f"'{'x' * 41}' has 41 letters: at most 40"),
        (Request(["a dog"], ["a dog"]), "'a dog' is wanted and not wanted: drop one"),
        (
            Request(["a dog", "A  dog"]),
            "'a dog' and 'A  dog' would be one file: ask for one of them",
        ),
        (Request(["a"], model="/etc/passwd"), "no model '/etc/passwd' here: choose tiny"),
        (Request(["a"], candidates=5), "5 candidates: 1 to 4"),
        (
            Request(["a"], candidates=2),
            "this model is not generative, so it has a single candidate; use one that is, as flow-small",
        ),
        (
            Request(["a"], span="5"),
            "span '5': expected START-END in seconds, as 3.2-5.0, or 3.2-, or in minutes and seconds, "
            "as 0:03-1:05",
        ),
        (
            Request(["a"], span="3-4"),
            "span 3-4 lies outside the recording, which is 0.375 s long; 3- means to its end",
        ),
    ],
)
def test_errors_are_one_line_and_leave_no_files(
    jobs: Jobs, street: Path, request_: Request, message: str
) -> None:
    with pytest.raises(ValueError) as raised:
        jobs.separate(street, request_)
    assert str(raised.value) == message
    assert os.listdir(jobs.folder) == ["street.wav"]


def test_a_recording_beyond_the_limits_is_refused(jobs: Jobs) -> None:
    long = record(jobs.folder / "long.wav", num_samples=2 * RATE + 1)
    with pytest.raises(ValueError, match=r"^long.wav is longer than 2 s: send a part of it"):
        jobs.separate(long, Request(["a dog"]))
    large = jobs.folder / "large.wav"
    large.write_bytes(bytes(1_000_001))
    with pytest.raises(ValueError, match=r"^large.wav is larger than 1 MB: send a part of it"):
        jobs.find(large)
    with pytest.raises(ValueError, match=r"^give a recording first"):
        jobs.separate(None, Request(["a dog"]))
    with pytest.raises(ValueError, match=r"^the recording is no longer here: upload it again$"):
        jobs.separate(jobs.folder / "gone.wav", Request(["a dog"]))


def test_a_header_that_claims_too_little_ends_the_job_later(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match=r"^the recording is longer than 2 s"):
        jobs.limited(None)(3.5, 0.1)
    shares: list[float] = []
    jobs.limited(shares.append)(1.0, 2.0)
    assert shares == [0.5]


def test_one_job_at_a_time(jobs: Jobs, street: Path) -> None:
    jobs.separate(street, Request(["a dog"]))  # loads the model
    done = threading.Event()

    def work() -> None:
        jobs.separate(street, Request(["rain"]))
        done.set()

    with jobs._one_at_a_time:
        other = threading.Thread(target=work)
        other.start()
        assert not done.wait(0.2)
    other.join(60)
    assert done.is_set()


def test_everything_is_found_in_the_demo_scene_by_its_default(tmp_path: Path) -> None:
    from qsep.recipes.demo.make_scene import SCENE_FILE

    jobs = Jobs(tmp_path, {"sounds21": "sounds21"}, ["sounds21"], "cpu")
    answer = jobs.find(SCENE_FILE)
    assert "a flute" in {sound.name for sound in answer.sounds}
    levels = [sound.level_db or 0.0 for sound in answer.sounds]
    assert levels == sorted(levels, reverse=True)
    for sound in answer.sounds:
        assert sound.about.startswith("probability 0.")
        assert soundfile.info(sound.target).frames == soundfile.info(SCENE_FILE).frames
    assert answer.timeline is not None
    with zipfile.ZipFile(answer.archive) as packed:
        assert {"scene.a-flute.wav", "scene.auto.png", "scene.json"} <= set(packed.namelist())
    assert not list(tmp_path.rglob("*.auto.json"))  # it names folders


def test_detection_is_refused_for_models_without_classes(jobs: Jobs, street: Path) -> None:
    with pytest.raises(ValueError) as raised:
        jobs.find(street, "other")
    assert str(raised.value) == "'other' cannot detect sounds: choose tiny"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/tmp/a b/street.wav is not audio", "street.wav is not audio"),
        ("cannot read /home/me/x/y.flac: gone", "cannot read y.flac: gone"),
        ("[Errno 2] No such file: '/var/z.wav'", "[Errno 2] No such file: 'z.wav'"),
        (r"C:\Users\me\x.wav is damaged", "x.wav is damaged"),
        ("~/x/y.wav", "y.wav"),
        ("/tmp/a b", "the server's folder"),
        (
            "3/4 of 8 kHz and/or see https://example.org/a/b",
            "3/4 of 8 kHz and/or see https://example.org/a/b",
        ),
    ],
)
def test_messages_name_no_folder_of_the_machine(text: str, shown: str) -> None:
    assert without_folders(text, [Path("/tmp/a b")]) == shown


def test_unexpected_errors_are_logged_and_only_their_type_is_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown = message_of(KeyError("/secret/place"))
    assert shown == "something went wrong here (KeyError): the server's log says where"
    assert "/secret/place" in caplog.text
    assert message_of(OSError(2, "No such file", "/tmp/x/y.wav")) == "y.wav: No such file"


def test_warnings_of_other_threads_are_not_collected() -> None:
    log = logging.getLogger("qsep")
    with collected_warnings() as warnings:
        other = threading.Thread(target=log.warning, args=("theirs",))
        other.start()
        other.join()
        log.warning("%s", "ours")
    log.warning("later")
    assert warnings == ["ours"]


def test_every_line_is_a_query() -> None:
    assert in_lines(" a dog \n\nrain\r\na dog\n") == ["a dog", "rain"]
    assert in_lines(None) == []


def test_only_uploaded_files_are_read(jobs: Jobs, street: Path, tmp_path: Path) -> None:
    outside = record(tmp_path / "outside.wav")
    (jobs.folder / "link.wav").symlink_to(outside)
    assert uploaded({"path": str(street)}, jobs.folder) == street.resolve()
    for path in (outside, jobs.folder / ".." / "outside.wav", jobs.folder / "link.wav"):
        assert uploaded({"path": str(path)}, jobs.folder) is None
    for other in ({"path": 3}, {}, None, 7):
        assert uploaded(other, jobs.folder) is None
    with pytest.raises(RuntimeError, match=r"^give a recording first"):
        Api(jobs, RuntimeError).separate({"path": str(outside)}, ["a dog"])


def test_the_api_returns_plain_values(jobs: Jobs, street: Path) -> None:
    api = Api(jobs, RuntimeError)
    assert api.models() == {"separate": ["tiny"], "find": ["tiny"]}
    answer = api.separate({"path": str(street)}, ["a dog"], span="0-0.2")
    target = answer["sounds"][0]["target"]
    assert target["meta"] == {"_type": "gradio.FileData"}
    assert target["orig_name"] == "street.a-dog.wav"
    assert Path(target["path"]).is_relative_to(jobs.folder)
    assert json.loads(json.dumps(answer)) == answer
    for wrong, message in (
        ({"sounds": [3]}, "sounds: expected a list of words, as ['a dog barking']"),
        ({"sounds": ["a"], "candidates": "many"}, "candidates: expected a whole number"),
    ):
        with pytest.raises(RuntimeError) as raised:
            api.separate({"path": str(street)}, **wrong)
        assert str(raised.value) == message


def test_models_are_called_by_names_without_folders(tiny_model: Path) -> None:
    assert by_name(["sounds150", str(tiny_model)]) == {
        "sounds150": "sounds150",
        "tiny": str(tiny_model),
    }
    with pytest.raises(ValueError, match="are both called tiny: rename one"):
        by_name([str(tiny_model), f"{tiny_model}/../tiny"])
    assert local_models()[0] == "sounds150"
    assert finders_among(by_name(["sounds150", "sounds21"])) == ["sounds150", "sounds21"]


def test_a_spectrogram_shows_a_tone_where_it_is(tmp_path: Path) -> None:
    time_ = np.arange(5 * RATE) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 1000 * time_) * (time_ >= 2) * (time_ < 3)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, tone], 1), RATE)
    levels = levels_of(tmp_path / "tone.wav")
    assert levels.seconds == 5.0
    row = levels.decibels.max(axis=1).argmax()
    # 1000 Hz is 1000.0 mel of 2146.1 at 4000 Hz; rows are counted from the top.
    assert row == 127 - int(128 * 999.99 / 2146.06)
    loud = np.flatnonzero(levels.decibels[row] > levels.loudest - 20)
    columns = levels.decibels.shape[1]
    edges = loud[0] / columns * 5, (loud[-1] + 1) / columns * 5
    # A window of 2048 samples, 0.256 s at 8 kHz, reaches half of that over both ends.
    assert edges == pytest.approx((2, 3), abs=0.13 + 5 / columns)


def test_clicks_on_a_picture_are_read_as_the_times_drawn_there(tmp_path: Path) -> None:
    from matplotlib.image import imread

    levels = levels_of(record(tmp_path / "street.wav", num_samples=4 * RATE))
    picture = imread(draw(levels, tmp_path / "span.png", span=Span(1.0, 3.5)))
    assert picture.shape[:2] == (HEIGHT, WIDTH)
    line = picture[HEIGHT // 2, LEFT : WIDTH - RIGHT, :3]
    cyan = np.flatnonzero((line[:, 0] < 0.1) & (line[:, 1] > 0.9) & (line[:, 2] > 0.9)) + LEFT
    edges = [cyan[cyan < WIDTH / 2].mean(), cyan[cyan > WIDTH / 2].mean()]
    pixel = 4 / (WIDTH - LEFT - RIGHT)
    assert [seconds_at(x, 4.0) for x in edges] == pytest.approx([1.0, 3.5], abs=pixel + 0.005)
    assert seconds_at(0, 4.0) == 0.0
    assert seconds_at(WIDTH, 4.0) == 4.0
    inside, outside = (line[slice(*part)].mean() for part in ((400, 900), (0, 250)))
    assert outside < 0.5 * inside


def test_old_files_are_deleted_and_new_ones_kept(tmp_path: Path) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    (tmp_path / "old" / "deep" / "a.wav").write_bytes(b"1")
    sweep(tmp_path, 3600)
    assert (tmp_path / "old" / "deep" / "a.wav").exists()
    time.sleep(0.01)
    sweep(tmp_path, 0)
    assert not (tmp_path / "old" / "deep" / "a.wav").exists()


def test_a_taken_port_is_reported(qsep: Run) -> None:
    port = free_port(Address(port=0))
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ValueError, match=f"cannot listen at 127.0.0.1 port {port} .*--port or"):
            free_port(Address(port=port))
    with pytest.raises(ValueError, match=r"cannot listen at 203.0.113.7 port"):
        free_port(Address("203.0.113.7", 0))


def test_without_gradio_the_command_says_what_to_install(
    qsep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qsep.recipes.cli import serve

    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    done = qsep("serve")
    assert (done.code, done.error) == (2, "the page needs more packages: pip install 'qsep[serve]'")
