"""Lists of captioned recordings: what must not be trained on, what is held out, and joining."""

from pathlib import Path
from typing import Any

import public_sets
import pytest
from command import names
from public_sets import items, record, report, write_json, write_table

from qsep.recipes.data.mixtures.segments import read_captions
from qsep.recipes.data.prepare.caption_lists import held_out_of, join
from qsep.recipes.data.prepare.captions import Request, prepare_captions
from qsep.recipes.data.prepare.overlaps import read_origins
from qsep.recipes.data.prepare.recordings import Care


def prepare(dataset: str, folder: Path, out: Path, *exclude: Path) -> Any:
    return prepare_captions(Request(dataset, folder, {}, None, exclude), out, Care())


def test_with_too_few_recordings_only_the_report_is_written(tmp_path: Path) -> None:
    folder = public_sets.vggsound(tmp_path / "in")
    (folder / "audio/abcdefghij0_000000.wav").unlink()
    with pytest.raises(
        ValueError, match=r"3 usable recordings, but training and validation need 4; .*report"
    ):
        prepare("vggsound", folder, tmp_path / "out")
    assert names(tmp_path / "out") == {".checked.jsonl", "report.csv"}
    assert report(tmp_path / "out") == [("abcdefghij0", "missing", "train")]


def test_one_percent_is_held_out_independently_of_other_recordings() -> None:
    train = [{"wav": f"{n}.wav", "origin": f"bbc:{n}"} for n in range(700)]
    rest, dev = held_out_of(train)
    assert (len(rest), len(dev)) == (693, 7)
    thinned = [item for number, item in enumerate(train) if number % 7]
    kept = [item for item in held_out_of(thinned)[1] if item in dev]
    assert len(kept) >= 6 * sum(item in thinned for item in dev) // 7
    many = [{"wav": f"{n}.wav", "origin": f"bbc:{n}"} for n in range(110_000)]
    assert len(held_out_of(many)[1]) == 1000


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Path]:
    """Lists that name the videos abcdefghij0 and --PJHxphWEs or the sounds 64760 and 1000, in many forms."""
    header = (
        "# Segments csv created Sun\n# num_ytids=2\n# YTID, start_seconds, end_seconds, labels\n"
    )
    (tmp_path / "segments.csv").write_text(
        f'{header}abcdefghij0, 30.000, 40.000, "/m/1"\n--PJHxphWEs, 1.000, 11.000, "/m/1"\n'
    )
    (tmp_path / "lines.csv").write_text("abcdefghij0\nY--PJHxphWEs.wav\n")
    write_table(
        tmp_path / "audiosep.csv",
        ("idx", "caption", "labels", "src_wav", "noise_wav"),
        (64760, "a", "b", "Yabcdefghij0.wav", "c"),
        (1, "a", "b", "Y--PJHxphWEs.wav", "c"),
    )
    name = "abcdefghij0_000030+++--PJHxphWEs_000001"
    write_table(tmp_path / "pairs.csv", ("file_id", "mix_wav"), (name, f"data/mix/{name}.wav"))
    write_table(tmp_path / "fsd.csv", ("fname", "labels"), (64760, "Dog"), (1000, "Cat"))
    write_table(tmp_path / "dcase.csv", ("source", "noise", "snr"), (64760, 3, 4), (1000, 3, 4))
    write_table(
        tmp_path / "esc.csv", ("filename", "fold"), ("1-64760-A-0.wav", 1), ("3-1000-B-2.wav", 3)
    )
    black = {"AudioSet": ["Yabcdefghij0.wav"], "FreeSound": ["64760", "1000"]}
    write_json(tmp_path / "black.json", black)
    data = [{"wav": "x/64760.wav", "caption": "1000"}, {"wav": "y/1000.flac", "caption": "b"}]
    write_json(tmp_path / "ours/test.json", {"data": data})
    return {path.stem: path for path in tmp_path.glob("*.*")} | {"ours": tmp_path / "ours"}


def test_exclusion_lists_are_read_in_several_forms(lists: dict[str, Path]) -> None:
    videos = {"youtube:abcdefghij0", "youtube:--PJHxphWEs"}
    sounds = {"freesound:64760", "freesound:1000"}
    for name in ("segments", "lines", "audiosep", "pairs"):
        assert read_origins(lists[name]) == videos, name
    for name in ("fsd", "dcase", "esc", "ours"):
        assert read_origins(lists[name]) == sounds, name
    assert read_origins(lists["black"]) == {"youtube:abcdefghij0"} | sounds


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "text,caption\na,b\n", "no column of # ytid"),
        ("a.csv", "fname\nno id\n", "names no recordings by YouTube id or Freesound id"),
        ("a.json", "[]", "not a list of recordings"),
        ("a.json", '{"data": [3]}', "not a list of recordings"),
    ],
)
def test_a_file_of_another_form_is_refused_as_a_list(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_origins(tmp_path / name)
    with pytest.raises(ValueError, match=r"neither dev\.json nor test\.json in it"):
        read_origins(tmp_path)


def test_excluded_recordings_leave_train_and_dev_but_stay_in_test(
    tmp_path: Path, lists: dict[str, Path]
) -> None:
    folder = public_sets.esc50(tmp_path / "in")
    write_table(tmp_path / "out.csv", ("fname",), (1000,), (4001,), (5000,))
    done = prepare("esc50", folder, tmp_path / "out", tmp_path / "out.csv", lists["fsd"])
    # Of fold 4 one is left to validate with, of the other folds 5; two of these join the one.
    assert (done.clips, done.held_out) == ({"train": 3, "dev": 3, "test": 2}, 2)
    excluded = [(name, kind) for name, kind, _ in report(tmp_path / "out")]
    assert excluded == [("1-1000-A-0.wav", "excluded"), ("4-4001-A-1.wav", "excluded")]
    assert [Path(i["wav"]).name[0] for i in items(tmp_path / "out", "test")] == ["5", "5"]


def joined(tmp_path: Path) -> Path:
    """AudioSet and AudioCaps share --PJHxphWEs: it is in train of the one and in test of the other."""
    audioset = public_sets.audioset(tmp_path / "audioset")
    record(audioset / "balanced/YmoreAudioS1.wav")
    with (audioset / "balanced_train_segments.csv").open("a") as file:
        file.write('moreAudioS1, 0.000, 10.000, "/m/0jbk"\n')
    audiocaps = public_sets.audiocaps(tmp_path / "audiocaps")
    with (audiocaps / "dataset/test.csv").open("a") as file:
        file.write("11,--PJHxphWEs,30,Someone speaks to a dog\n")
    record(audiocaps / "test/Y--PJHxphWEs.wav")
    prepare("audioset", audioset, tmp_path / "prepared/audioset")
    prepare("audiocaps", audiocaps, tmp_path / "prepared/audiocaps")
    return tmp_path / "prepared"


def test_joined_lists_keep_test_recordings_of_one_out_of_training_on_another(
    tmp_path: Path,
) -> None:
    prepared = joined(tmp_path)
    both = [prepared / "audioset", prepared / "audiocaps"]
    done = join(both, tmp_path / "deep/er/all")
    parts = {s: [item for folder in both for item in items(folder, s)] for s in ("train", "dev")}
    shared = "youtube:--PJHxphWEs"
    for split, before in parts.items():
        after = [item["origin"] for item in items(tmp_path / "deep/er/all", split)]
        assert sorted(after) == sorted(i["origin"] for i in before if i["origin"] != shared)
    assert done.problems == {"excluded": 1}
    assert report(tmp_path / "deep/er/all") == [
        ("Y--PJHxphWEs.flac", "excluded", f"{shared} is in test")
    ]
    clips = read_captions(tmp_path / "deep/er/all", "train")
    assert all((tmp_path / "deep/er/all" / clip.file).is_file() for clip in clips)
    tests = {item["caption"]: item["wav"] for item in items(tmp_path / "deep/er/all", "test")}
    assert tests["Someone speaks to a dog"] == "../../../audiocaps/test/Y--PJHxphWEs.wav"


def test_folders_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    prepared = joined(tmp_path)
    with pytest.raises(ValueError, match="a folder is given twice"):
        join([prepared / "audioset", prepared / "audiocaps/../audioset"], tmp_path / "all")
    with pytest.raises(ValueError, match="its lists would be replaced"):
        join([prepared / "audioset"], prepared / "audioset")
    with pytest.raises(ValueError, match=r"data\.folder must hold train\.json"):
        join([prepared], tmp_path / "all")
    assert not (tmp_path / "all").exists()
