"""From public data sets to lists, and training on them: faulty recordings, other rates, the command."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import public_sets
import pytest
import soundfile
import soxr
from command import Run, content, names
from public_sets import RATE, items, record, report
from tiny import StubConfig, StubEncoder

from qsep.queries.interface import TextQuery
from qsep.recipes.data.mixtures.segments import CaptionedClip, read_captions
from qsep.recipes.data.prepare import recordings
from qsep.recipes.data.prepare.captions import Request, prepare_captions
from qsep.recipes.data.prepare.recordings import Care, check
from qsep.recipes.data.prepare.tree import youtube_keys
from qsep.recipes.data.wording import book_of_labels
from qsep.recipes.training.build import build_data
from qsep.recipes.training.config import read_recipe
from qsep.separation.storage.results import Results

PLAIN = Care()


def prepare(dataset: str, folder: Path, out: Path, care: Care = PLAIN) -> Any:
    return prepare_captions(Request(dataset, folder, {}), out, care)


@pytest.mark.parametrize(
    ("stem", "ids"),
    [
        ("-0123456789", ["-0123456789"]),
        ("Y-0123456789", ["-0123456789"]),
        ("Yabcdefghij", ["Yabcdefghij"]),
        ("abcdefghijk_000030", ["abcdefghijk"]),
        ("Yabcdefghij_30.000_40.000", ["Yabcdefghij"]),
        ("Yabcdefgh_12", ["abcdefgh_12"]),
        ("Yabcdefghij_1", ["Yabcdefghij"]),
        ("YYbcdefghij_30_40", ["YYbcdefghij"]),
        ("Yabcdefghij__30", ["abcdefghij_"]),
        ("abcdefghijk-2", []),
        ("too_short", []),
        ("not an id 1", []),
    ],
)
def test_youtube_ids_are_read_from_file_names(stem: str, ids: list[str]) -> None:
    assert youtube_keys(stem) == ids


def damaged(folder: Path) -> dict[str, str]:
    """More recordings of FSD50K, all of them faulty, and the message for each."""
    audio = folder / "FSD50K.dev_audio"
    whole = record(folder / "whole.flac", seconds=3).read_bytes()
    (folder / "whole.flac").unlink()
    (audio / "1.flac").write_bytes(whole[: len(whole) // 2])
    (audio / "2.wav").write_text("this is no recording")
    soundfile.write(audio / "3.wav", np.zeros(0), RATE)
    samples = np.zeros(RATE, np.float32)
    samples[-3] = np.nan
    soundfile.write(audio / "4.wav", samples, RATE, subtype="FLOAT")
    (audio / "5.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    return {
        "1.flac": "is damaged after 0.0 s: copy it again, save what is left with "
        "ffmpeg -i 1.flac repaired.wav, or separate it with --salvage",
        "2.wav": "is not audio that libsndfile or ffmpeg reads: check that it is a recording, "
        "or convert it to WAV or FLAC",
        "3.wav": "holds no audio: record or export it again",
        "4.wav": "holds a NaN or infinite sample at 1.000 s: repair it, export it again, "
        "or separate it with --nan zero",
        "5.m4a": "training reads WAV, FLAC, Ogg and MP3: add --sample-rate to convert it",
    }


def test_unusable_recordings_are_listed_with_the_reason(tmp_path: Path) -> None:
    folder = public_sets.fsd50k(tmp_path / "in")
    reasons = damaged(folder)
    with (folder / "FSD50K.ground_truth/dev.csv").open("a") as file:
        file.writelines(f"{number},Dog,/m/7,train\n" for number in range(1, 7))
    (folder / "FSD50K.dev_audio/.hidden.wav").write_text("not looked at")
    record(folder / "FSD50K.dev_audio/elsewhere.wav")
    record(folder / "copy/64760.mp3")
    done = prepare("fsd50k", folder, tmp_path / "out")
    assert done.clips == {"train": 3, "dev": 2, "test": 1}
    assert done.problems == {"duplicate": 1, "missing": 1, "unreadable": 5, "unlisted": 1}
    assert report(tmp_path / "out") == [
        ("64760.mp3", "duplicate", str(folder / "FSD50K.dev_audio/64760.wav")),
        ("6", "missing", "train"),
        ("elsewhere.wav", "unlisted", ""),
        *((name, "unreadable", reason) for name, reason in reasons.items()),
    ]


def test_damage_in_the_middle_is_found_by_reading_whole_files(tmp_path: Path) -> None:
    samples = np.zeros(4 * RATE, np.float32)
    samples[RATE] = np.inf
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    assert check(tmp_path / "a.wav", thorough=False).problem == ""
    assert check(tmp_path / "a.wav", thorough=True).problem == (
        "holds a NaN or infinite sample at 1.000 s: repair it, export it again, "
        "or separate it with --nan zero"
    )


def test_lists_point_to_the_recordings_in_their_folders(tmp_path: Path) -> None:
    folder = public_sets.clotho(tmp_path / "disk/clotho")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    before = content(folder)
    prepare("clotho", tmp_path / "link/clotho", tmp_path / "out")
    assert content(folder) == before
    wavs = [item["wav"] for item in items(tmp_path / "out", "train")]
    assert wavs[1] == "../disk/clotho/development/Santa Motor.wav"
    (clip,) = [c for c in read_captions(tmp_path / "out", "train") if "Santa" in c.file]
    texts = tuple(f"Santa Motor.wav {n} in development" for n in range(1, 6))
    assert clip == CaptionedClip(wavs[1], texts)
    inside = prepare("clotho", folder, folder)  # the lists beside the recordings
    assert inside.problems == {}
    assert items(folder, "dev")[0]["wav"] == "validation/Radio.wav"


def test_the_publishers_lists_may_be_in_another_folder(tmp_path: Path) -> None:
    folder = public_sets.audiocaps(tmp_path / "in")
    shutil.move(folder / "dataset", tmp_path / "lists")
    request = Request("audiocaps", folder, {}, tmp_path / "lists")
    assert prepare_captions(request, tmp_path / "out", PLAIN).clips["test"] == 2


def test_a_second_run_reads_only_changed_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = public_sets.esc50(tmp_path / "in"), tmp_path / "out"
    (folder / "audio/1-1000-A-0.wav").write_text("broken")
    first = prepare("esc50", folder, out)
    before = content(out)
    with (out / ".checked.jsonl").open("a") as file:
        file.write('{"key": "cut off by an inter')
    read: list[str] = []

    def check(path: Path, thorough: bool) -> recordings.Checked:
        read.append(path.name)
        return recordings.Checked(9.5)

    monkeypatch.setattr(recordings, "check", check)
    assert prepare("esc50", folder, out) == first
    assert read == []
    after = content(out)
    lists = [name for name in before if name != ".checked.jsonl"]
    assert [after[name] for name in lists] == [before[name] for name in lists]
    record(folder / "audio/1-1000-A-0.wav", seconds=9.5)
    done = prepare("esc50", folder, out)
    assert (read, done.problems) == (["1-1000-A-0.wav"], {})


def test_at_another_rate_recordings_become_mono_wav_files_in_the_folder(tmp_path: Path) -> None:
    folder, out = public_sets.esc50(tmp_path / "in"), tmp_path / "in/prepared"
    time = np.arange(44100) / 44100
    left, right = np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 1000 * time)
    path = folder / "audio/1-1000-A-0.wav"
    soundfile.write(path, 0.4 * np.stack([left, right, right, right], axis=1), 44100, "FLOAT")
    done = prepare("esc50", folder, out, care=Care(16000))
    assert (done.clips, done.problems) == ({"train": 6, "dev": 2, "test": 2}, {})
    target = out / "audio-16000/audio/1-1000-A-0.wav"
    samples, rate = soundfile.read(target)
    assert (rate, soundfile.info(target).subtype) == (16000, "PCM_16")
    expected = soxr.resample(0.2 * (left + right), 44100, 16000, quality="HQ")  # first two channels
    np.testing.assert_allclose(samples, expected, atol=3.2e-5)  # a step of 16 bits
    before = {name: (out / name).stat().st_mtime_ns for name in names(out) if ".wav" in name}
    assert len(before) == 10
    again = prepare("esc50", folder, out, care=Care(16000))  # and finds nothing in its own folder
    assert again == done
    assert before == {name: (out / name).stat().st_mtime_ns for name in before}


def test_a_full_disk_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(results: object, name: str, write: object) -> None:
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(Results, "write", full)
    folder = public_sets.esc50(tmp_path / "in")
    with pytest.raises(OSError, match="is the disk full"):
        prepare("esc50", folder, tmp_path / "out", care=Care(16000))
    assert names(tmp_path / "out") == {".checked.jsonl"}


def test_the_command_counts_recordings_and_problems(qsep: Run, folder: Path) -> None:
    public_sets.audiocaps(folder / "in")
    outcome = qsep("data", "captions", "audiocaps", "in", "-o", "out", "--jobs", "2")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "out/train.json: 2 recordings",
        "out/dev.json: 3 recordings, 2 of them held out of train",
        "out/test.json: 2 recordings",
        "1 missing: listed, but the recording does not exist",
        "listed in: out/report.csv",
    ]
    public_sets.esc50(folder / "esc")
    assert qsep("data", "captions", "esc50", "esc", "fold=2", "-o", "esc").code == 0
    outcome = qsep("data", "join", "out", "esc", "-o", "all", "--exclude", "esc")
    assert outcome.out.splitlines()[:3] == [
        "all/train.json: 8 recordings",
        "all/dev.json: 3 recordings",
        "all/test.json: 4 recordings",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("esc10", "in"),
            "'esc10' is not a known data set: expected one of audiocaps, audioset, clotho, esc50, "
            "fsd50k, vggsound, wavcaps",
        ),
        (("esc50", "in", "folds=1"), "esc50 has no setting 'folds'; it knows fold"),
        (("esc50", "in", "fold=9"), "fold='9'; expected one of 1, 2, 3, 4, 5"),
        (("clotho", "in", "fold"), "'fold': expected KEY=VALUE"),
        (("esc50", "nowhere"), "nowhere is not a folder: give the folder of your data set"),
        (("esc50", "empty"), "empty: no recordings in it"),
        (("esc50", "in", "--exclude", "no.csv"), "no.csv: no such list"),
    ],
)
def test_a_usage_error_is_reported_in_one_line(
    qsep: Run, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    public_sets.esc50(folder / "in")
    (folder / "empty").mkdir()
    outcome = qsep("data", "captions", *arguments, "-o", "out")
    assert (outcome.code, outcome.error) == (2, message)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("audiosep", 32000),
        ("audiosep-exact", 32000),
        ("uss", 32000),
        ("dcase2024", 16000),
        ("flowsep", 16000),
    ],
)
def test_every_recipe_for_captions_mixes_the_prepared_recordings(
    tmp_path: Path, name: str, rate: int
) -> None:
    folder = public_sets.audiocaps(tmp_path / "in", seconds=1.2)
    prepare("audiocaps", folder, tmp_path / "out")
    recipe, _ = read_recipe(name, [f"data.folder={tmp_path / 'out'}"])
    for validation in (False, True):
        mixtures = build_data(recipe, book_of_labels(()), rate, validation)
        sources, queries, _ = mixtures[3]
        assert sources.shape == (2, 1, recipe.mix["segment_samples"])
        assert (sources.square().mean(dim=-1) > 0).all()
        if name != "uss":
            assert isinstance(queries[0], TextQuery)
            kinds = ("Noise of kind", "A valley") if validation else ("Noise of kind",)
            assert queries[0].text.startswith(kinds)


@pytest.mark.parametrize(
    ("recipe", "datasets"),
    [
        ("audiosep", ("audioset", "vggsound", "audiocaps", "clotho", "wavcaps")),
        ("dcase2024", ("fsd50k", "clotho")),
    ],
)
def test_recipes_train_on_the_prepared_recordings(
    qsep: Run,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: str,
    datasets: tuple[str, ...],
) -> None:
    from qsep.recipes.training import build
    from qsep.separation.storage import checkpoint, config

    def build_encoder(kind: str, settings: dict[str, Any]) -> Any:
        return StubEncoder(StubConfig(dim=512))

    for module in (build, checkpoint, config):
        monkeypatch.setattr(module, "build_encoder", build_encoder)
    for dataset in datasets:
        getattr(public_sets, dataset)(folder / dataset, seconds=1.2)
        assert qsep("data", "captions", dataset, dataset, "-o", f"out/{dataset}").code == 0
    assert qsep("data", "join", *(f"out/{d}" for d in datasets), "-o", "out/all").code == 0
    small = ["separator.channels=[3, 4, 5, 6, 6, 6]", "separator.window_samples=256"]
    small += ["separator.sample_rate=8000", "separator.hop_samples=80", "mix.segment_samples=8000"]
    small += ["train.steps=1", "train.batch_size=2", "train.num_workers=0", "train.log_every=1"]
    small += ["data.num_validation=2", "data.folder=out/all"]
    outcome = qsep("train", recipe, *small, "-o", "run", "--accelerator", "cpu")
    assert outcome.code == 0, outcome.err
    log = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    assert any(np.isfinite(entry.get("l1", np.nan)) for entry in log)
