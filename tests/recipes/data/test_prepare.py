"""From videos to training data: which are kept, how they are split, and the report of the others."""

import csv
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import Run, content
from PIL import Image
from prepared import write_index

from qsep.queries.files.threads import AHEAD
from qsep.recipes.data.index import VideoClip, read_index
from qsep.recipes.data.prepare import videos as preparing
from qsep.recipes.data.prepare.one_video import VideoError, centre_square, find_videos
from qsep.recipes.data.prepare.videos import Prepared, prepare, split

needs_ffmpeg = pytest.mark.skipif(
    not shutil.which("ffmpeg"), reason="reading videos needs ffmpeg, which is not on the path"
)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Videos are pretended to have as many frames as their names say after a dash; "bad" ones are broken."""
    collected: list[str] = []

    def extract(video: Path, audio: Path, frames: Path, staging: Path, results: object) -> int:
        assert staging.is_dir()
        collected.append(video.name)
        if "bad" in video.stem:
            raise VideoError("ffmpeg reports: moov atom not found")
        return int(video.stem.rpartition("-")[2])

    monkeypatch.setattr(preparing, "extract", extract)
    monkeypatch.setattr(preparing, "require_tools", lambda: None)
    return collected


def problems(done: Prepared) -> list[tuple[str, ...]]:
    with done.report.open(newline="") as file:
        rows = [tuple(row) for row in csv.reader(file)]
    assert rows[0] == ("file", "problem", "remark")
    return rows[1:]


def test_clips_are_split_in_the_order_that_pythons_own_shuffle_gives() -> None:
    clips = [VideoClip(f"{index}.wav", "", 9, "") for index in range(11)]
    state = random.getstate()
    random.seed(1234)
    order = list(range(11))
    random.shuffle(order)
    random.setstate(state)
    train, val = split(clips, 0.2)
    assert [clip.audio for clip in train + val] == [f"{index}.wav" for index in order]
    assert (len(train), len(val)) == (8, 3)  # 8.8 rounded down
    assert [len(part) for part in split(clips, 0.1)] == [9, 2]


def test_music_is_labelled_by_its_folders_and_kept_over_5_frames(
    tmp_path: Path, seen: list[str]
) -> None:
    videos = [
        f"in/solo/{label}/{label[0]}{n}-{n}.mp4" for label in ("flute", "erhu") for n in (5, 6, 9)
    ]
    touch(tmp_path, *videos, "in/solo/flute/notes.txt", "in/.trash/x-9.mp4")
    done = prepare("music", tmp_path / "in", tmp_path / "out")
    assert sorted(seen) == ["e5-5.mp4", "e6-6.mp4", "e9-9.mp4", "f5-5.mp4", "f6-6.mp4", "f9-9.mp4"]
    clips = read_index(tmp_path / "out", "train") + read_index(tmp_path / "out", "val")
    assert sorted(clips, key=lambda clip: clip.audio) == [
        VideoClip("audio/erhu/e6-6.wav", "preprocessed/erhu/e6-6", 6, "erhu"),
        VideoClip("audio/erhu/e9-9.wav", "preprocessed/erhu/e9-9", 9, "erhu"),
        VideoClip("audio/flute/f6-6.wav", "preprocessed/flute/f6-6", 6, "flute"),
        VideoClip("audio/flute/f9-9.wav", "preprocessed/flute/f9-9", 9, "flute"),
    ]
    assert done.clips == {"train": 3, "val": 1}
    assert done.problems == {"short": 2}
    short = [str(tmp_path / "in" / "solo" / name) for name in ("erhu/e5-5.mp4", "flute/f5-5.mp4")]
    remark = "5 frames; more than 5 are needed"
    assert problems(done) == [(name, "short", remark) for name in short]


def test_videos_on_musics_list_without_a_file_count_as_missing(
    tmp_path: Path, seen: list[str]
) -> None:
    touch(tmp_path, "in/erhu/a-9.mp4", "in/erhu/a-9.webm", "in/flute/a-9.mp4")
    listing = tmp_path / "solo.json"
    listing.write_text('{"videos": {"erhu": ["a-9", "b"], "tuba": ["a-9"]}}')
    done = prepare("music", tmp_path / "in", tmp_path / "out", listing)
    first, second = (str(tmp_path / "in/erhu" / name) for name in ("a-9.mp4", "a-9.webm"))
    assert problems(done) == [
        (second, "duplicate", first),
        ("erhu/b", "missing", ""),
        ("tuba/a-9", "missing", ""),
    ]
    assert done.clips == {"train": 1, "val": 1}


def test_vggsound_is_labelled_by_its_list_and_kept_over_8_frames(
    tmp_path: Path, seen: list[str]
) -> None:
    names = ["abcdefghi-8", "abcdefghi-9", "Bbcdefgh-12", "Tbcdefgh-13", "nolist-9", "badvideo-99"]
    touch(tmp_path, *(f"in/{name}.mp4" for name in names))
    (tmp_path / "in/vggsound.csv").write_text(
        'abcdefghi-8,30,"people marching",train\nabcdefghi-9,1,"dog, bow-wow",train\n'
        'Bbcdefgh-12,0,rain,train\nTbcdefgh-13,5,"police car (siren)",test\n'
        "badvideo-99,7,rain,train\nAAAAAAAAAAA,20,rain,test\n"
    )
    done = prepare("vggsound", tmp_path / "in", tmp_path / "out", num_jobs=3)
    folder = str(tmp_path / "in")
    assert problems(done) == [
        (f"{folder}/badvideo-99.mp4", "broken", "ffmpeg reports: moov atom not found"),
        ("AAAAAAAAAAA", "missing", ""),
        (f"{folder}/abcdefghi-8.mp4", "short", "8 frames; more than 8 are needed"),
        (f"{folder}/nolist-9.mp4", "unlisted", ""),
    ]
    assert done.problems == {"unlisted": 1, "missing": 1, "broken": 1, "short": 1}
    clips = read_index(tmp_path / "out", "train") + read_index(tmp_path / "out", "val")
    dog = VideoClip("audio/a/b/abcdefghi-9.wav", "preprocessed/a/b/abcdefghi-9", 9, "dog bow-wow")
    rain = VideoClip("audio/B/b/Bbcdefgh-12.wav", "preprocessed/B/b/Bbcdefgh-12", 12, "rain")
    assert set(clips) == {dog, rain}
    (test,) = read_index(tmp_path / "out", "test")
    assert (test.label, test.num_frames) == ("police car (siren)", 13)


def test_a_youtube_id_may_be_followed_by_the_clips_times(tmp_path: Path, seen: list[str]) -> None:
    touch(tmp_path, "in/-0_23456789_000030-9.mp4", "in/a0_23456789_30000-10.mp4")
    listing = tmp_path / "list.csv"
    listing.write_text("-0_23456789,30,rain,train\na0_23456789,30,dog,train\n")
    prepare("vggsound", tmp_path / "in", tmp_path / "out", listing)
    clips = read_index(tmp_path / "out", "train") + read_index(tmp_path / "out", "val")
    assert {clip.audio for clip in clips} == {
        "audio/-/0/-0_23456789.wav",
        "audio/a/0/a0_23456789.wav",
    }


def test_clips_of_a_published_test_list_are_in_neither_train_nor_val(
    tmp_path: Path, seen: list[str]
) -> None:
    touch(tmp_path, *(f"in/erhu/{name}-9.mp4" for name in "abcdefgh"))
    held = [VideoClip(f"data/MUSIC/audio/erhu/{name}-9.wav", "x", 9, "erhu") for name in "bg"]
    write_index(tmp_path / "published.csv", held)
    done = prepare(
        "music", tmp_path / "in", tmp_path / "out", held_out=[tmp_path / "published.csv"]
    )
    assert done.clips == {"train": 4, "val": 2, "test": 2}
    test = [clip.audio for clip in read_index(tmp_path / "out", "test")]
    assert test == ["audio/erhu/b-9.wav", "audio/erhu/g-9.wav"]
    rest = read_index(tmp_path / "out", "train") + read_index(tmp_path / "out", "val")
    assert not {clip.audio for clip in rest} & set(test)


def test_without_usable_videos_the_error_names_the_report(tmp_path: Path, seen: list[str]) -> None:
    touch(tmp_path, "in/erhu/bad-9.mp4", "in/erhu/a-3.mp4")
    with pytest.raises(
        ValueError, match=r"none of 2 videos can be used; .*out/report\.csv says why"
    ):
        prepare("music", tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out/report.csv").read_text().count("\n") == 3
    assert not (tmp_path / "out/train.csv").exists()


def test_a_full_disk_stops_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def extract(*arguments: object) -> int:
        started.append(arguments)
        raise OSError("out: no space left on device")

    monkeypatch.setattr(preparing, "extract", extract)
    monkeypatch.setattr(preparing, "require_tools", lambda: None)
    touch(tmp_path, *(f"in/erhu/{index}.mp4" for index in range(200)))
    with pytest.raises(OSError, match="no space left"):
        prepare("music", tmp_path / "in", tmp_path / "out", num_jobs=2)
    assert len(started) <= 2 * AHEAD
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,start,label,split\n", "expected rows of YouTube id, start, label, train or test; got"),
        ("abcdefghijk,3,dog\n", "got 'abcdefghijk,3,dog'"),
    ],
)
def test_a_list_that_is_not_vggsounds_is_refused(
    tmp_path: Path, seen: list[str], text: str, message: str
) -> None:
    touch(tmp_path, "in/a.mp4")
    (tmp_path / "in/vggsound.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        prepare("vggsound", tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("text", ["[]", "{}", '{"videos": ["a"]}', "no json"])
def test_a_list_that_is_not_musics_is_refused(tmp_path: Path, seen: list[str], text: str) -> None:
    touch(tmp_path, "in/erhu/a-9.mp4")
    (tmp_path / "solo.json").write_text(text)
    with pytest.raises(ValueError, match=r"solo\.json: not one of MUSIC's lists of videos"):
        prepare("music", tmp_path / "in", tmp_path / "out", tmp_path / "solo.json")


def test_videos_in_linked_folders_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "disk/b.MP4", "disk/c.txt", "in/a.webm")
    (tmp_path / "in/more").symlink_to(tmp_path / "disk")
    paths = [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path / "in")]
    assert paths == ["in/a.webm", "in/more/b.MP4"]


@pytest.mark.parametrize("size", [(320, 240), (239, 411), (224, 224), (90, 71), (1000, 225)])
def test_pictures_are_resized_and_cropped_as_torchvision_does(size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    rng = np.random.default_rng(size)
    picture = Image.fromarray(rng.integers(256, size=(size[1], size[0], 3), dtype=np.uint8))
    bicubic = transforms.InterpolationMode.BICUBIC
    theirs = transforms.CenterCrop(224)(transforms.Resize(224, bicubic)(picture))
    assert np.array_equal(np.asarray(centre_square(picture)), np.asarray(theirs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("music", "nowhere"), "nowhere is not a folder: give the folder of your videos"),
        (("audioset", "."), "'audioset' is not a known data set: expected music or vggsound"),
        (("music", "."), ".: no videos in it"),
        (
            ("vggsound", "in"),
            "in/vggsound.csv: no such file; give VGGSound's vggsound.csv with --list",
        ),
    ],
)
def test_a_usage_error_is_reported_in_one_line(
    qsep: Run, folder: Path, seen: list[str], arguments: tuple[str, str], message: str
) -> None:
    if arguments[1] == "in":
        touch(folder, "in/a.mp4")
    outcome = qsep("data", "prepare", *arguments, "-o", "out")
    assert (outcome.code, outcome.error) == (2, message)
    assert not (folder / "out").exists()


def test_without_ffmpeg_one_line_says_how_to_install_it(
    qsep: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(folder, "in/erhu/a.mp4")
    monkeypatch.setenv("PATH", str(folder))
    outcome = qsep("data", "prepare", "music", "in", "-o", "out")
    assert outcome.code == 2
    assert outcome.error.startswith("ffmpeg is needed to read videos: install ffmpeg (apt")


def test_the_command_counts_clips_and_problems(qsep: Run, folder: Path, seen: list[str]) -> None:
    touch(folder, "in/erhu/a-9.mp4", "in/erhu/b-7.mp4", "in/erhu/c-2.mp4", "in/erhu/d-3.mp4")
    outcome = qsep("data", "prepare", "music", "in", "-o", "out", "--jobs", "2")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "out/train.csv: 1 clips",
        "out/val.csv: 1 clips",
        "2 short: too few frames",
        "listed in: out/report.csv",
    ]


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., Path]:
    """film(name, seconds, *inputs): a video of 5 colour frames a second and a tone of 1 kHz."""

    def make(name: str, seconds: int, tone: bool = True, size: str = "96x64") -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i"]
        command += [f"testsrc=size={size}:rate=5:duration={seconds}"]
        if tone:
            command += [
                "-f",
                "lavfi",
                "-i",
                f"sine=frequency=1000:duration={seconds}:sample_rate=44100",
            ]
        subprocess.run([*command, "-c:v", "mpeg4", "-ac", "2", path], check=True)
        return path

    return make


@needs_ffmpeg
def test_a_video_becomes_a_sound_and_a_picture_a_second(
    tmp_path: Path, film: Callable[..., Path]
) -> None:
    film("erhu/100% mine.mkv", 7)
    film("flute/b.mp4", 8, size="64x96")
    done = prepare("music", tmp_path / "in", tmp_path / "out", num_jobs=2)
    assert done.problems == {}
    clips = read_index(tmp_path / "out", "train") + read_index(tmp_path / "out", "val")
    for clip in clips:
        seconds = {"erhu": 7, "flute": 8}[clip.label]
        samples, rate = soundfile.read(tmp_path / "out" / clip.audio)
        assert (rate, samples.ndim) == (16000, 1)
        assert soundfile.info(tmp_path / "out" / clip.audio).subtype == "PCM_16"
        assert len(samples) / rate == pytest.approx(seconds, abs=0.1)  # the codec pads
        middle = samples[16000:32000]
        assert abs(np.fft.rfft(middle)).argmax() == 1000
        frames = sorted((tmp_path / "out" / clip.frames).iterdir())
        assert [path.name for path in frames] == [f"{n:06d}.jpg" for n in range(1, len(frames) + 1)]
        assert clip.num_frames == len(frames)
        assert seconds <= len(frames) <= seconds + 2  # ffmpeg may repeat the first and last
        with Image.open(frames[0]) as picture:
            assert (picture.size, picture.mode, picture.format) == ((224, 224), "RGB", "JPEG")


@needs_ffmpeg
def test_a_second_run_processes_only_the_remaining_videos(
    tmp_path: Path, film: Callable[..., Path]
) -> None:
    for name in ("a", "b"):
        film(f"erhu/{name}.mkv", 7)
    (tmp_path / "in/erhu/cut.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    film("erhu/mute.mkv", 7, tone=False)
    out = tmp_path / "out"
    first = prepare("music", tmp_path / "in", out)
    assert first.problems == {"broken": 2}
    remarks = {Path(name).name: remark for name, _, remark in problems(first)}
    assert remarks.keys() == {"cut.mp4", "mute.mkv"}
    assert all(re.match(r"ffmpeg reports: \w", remark) for remark in remarks.values())
    before = content(out)
    (out / "audio/erhu/a.wav").write_bytes(b"kept")  # there already, and left as it is
    shutil.rmtree(out / "preprocessed/erhu/b")  # half of it lost: made anew
    assert prepare("music", tmp_path / "in", out) == first
    assert content(out) == before | {"audio/erhu/a.wav": b"kept"}
    shutil.rmtree(out / "preprocessed/erhu/b")
    (out / "audio/erhu/b.wav").write_bytes(b"changed by somebody")
    assert prepare("music", tmp_path / "in", out).problems == {"broken": 3}
    assert (out / "audio/erhu/b.wav").read_bytes() == b"changed by somebody"
