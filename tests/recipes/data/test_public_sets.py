"""Public data sets are read in their published layouts."""

import shutil
from pathlib import Path
from typing import Any

import public_sets
import pytest
from public_sets import items, record, report, write_table

from qsep.recipes.data.prepare.caption_lists import Written
from qsep.recipes.data.prepare.captions import Request, prepare_captions
from qsep.recipes.data.prepare.recordings import Care

DEV = "fname,labels,mids,split\n"


def prepare(dataset: str, folder: Path, **settings: str) -> Written:
    return prepare_captions(Request(dataset, folder, settings), folder / "out", Care())


def texts(folder: Path, split: str) -> dict[str, list[str]]:
    """Captions by the recording's name."""
    return {
        Path(item["wav"]).name: item.get("captions", [item["caption"]])
        for item in items(folder / "out", split)
    }


def fields(folder: Path, split: str, key: str) -> dict[str, Any]:
    return {Path(item["wav"]).name: item.get(key) for item in items(folder / "out", split)}


def test_audiocaps_has_five_captions_of_each_recording_to_test_on(tmp_path: Path) -> None:
    done = prepare("audiocaps", public_sets.audiocaps(tmp_path))
    # Four of five can be trained on; val has one recording, too few to mix, so that two of train join it.
    assert (done.clips, done.held_out) == ({"train": 2, "dev": 3, "test": 2}, 2)
    assert texts(tmp_path, "test") == {
        "Ytest_0_0000.wav": [f"A test, {n}" for n in range(5)],
        "Y-test_1_000.wav": [f"A test, {n}" for n in range(5, 10)],
    }
    captions = texts(tmp_path, "train") | texts(tmp_path, "dev")
    assert captions.pop("YYal_0123456.wav") == [f"A valley, {n}" for n in range(5)]
    assert captions == {f"Ytran_{n}-abcd.wav": [f"Noise of kind {n}, far off"] for n in range(4)}
    assert report(tmp_path / "out") == [("tran_4-abcd", "missing", "train")]
    assert fields(tmp_path, "test", "origin")["Ytest_0_0000.wav"] == "youtube:test_0_0000"
    assert set(fields(tmp_path, "test", "duration").values()) == {0.25}


def test_an_id_that_begins_with_y_is_distinguished_from_a_y_before_an_id(tmp_path: Path) -> None:
    folder = public_sets.audiocaps(tmp_path)
    shutil.move(folder / "val/YYal_0123456.wav", folder / "val/Yal_0123456.wav")
    record(folder / "val/Yvalley_0123.wav")
    header = ("youtube_id", "caption")
    write_table(folder / "dataset/val.csv", header, ("Yal_0123456", "a"), ("valley_0123", "b"))
    done = prepare("audiocaps", folder)
    assert (done.clips["dev"], done.held_out) == (2, 0)
    assert texts(folder, "dev") == {"Yal_0123456.wav": ["a"], "Yvalley_0123.wav": ["b"]}


def test_clotho_finds_its_names_as_file_systems_have_changed_them(tmp_path: Path) -> None:
    done = prepare("clotho", public_sets.clotho(tmp_path))
    assert done.clips == {"train": 4, "dev": 2, "test": 1}
    assert done.problems == {}
    five = {f"caption_{n}": n for n in range(1, 6)}.values()
    assert texts(tmp_path, "train") == {
        "Santa Motor.wav": [f"Santa Motor.wav {n} in development" for n in five],
        "rain_ on a roof.wav": [f"rain: on a roof .wav {n} in development" for n in five],
        "été.wav": [f"été.wav {n} in development" for n in five],
        "Radio.wav": [f"Radio.wav {n} in development" for n in five],
    }
    assert texts(tmp_path, "dev")["Radio.wav"][0] == "Radio.wav 1 in validation"
    assert fields(tmp_path, "train", "origin")["été.wav"] == "freesound:1234"


def test_a_clotho_recording_without_a_freesound_id_is_known_by_part_and_name(
    tmp_path: Path,
) -> None:
    prepare("clotho", public_sets.clotho(tmp_path))
    assert (
        fields(tmp_path, "train", "origin")["Santa Motor.wav"] == "clotho:development/Santa Motor"
    )
    # Two recordings of one name in two parts, without ids: they are not taken for one.
    assert fields(tmp_path, "dev", "origin")["Radio.wav"] == "clotho:validation/Radio"


def test_fsd50k_takes_the_captions_of_dcase_and_else_its_most_specific_labels(
    tmp_path: Path,
) -> None:
    done = prepare("fsd50k", public_sets.fsd50k(tmp_path))
    assert done.clips == {"train": 3, "dev": 2, "test": 1}
    # Dog and Animal go together in this little list, so that neither is known to be the other's ancestor.
    assert texts(tmp_path, "train") == {
        "64760.wav": ["Sound 64760."],
        "16399.wav": ["Bark"],
        "63.wav": ["Guitar, Plucked string instrument, Musical instrument, Music"],
    }
    assert texts(tmp_path, "dev") == {"17.wav": ["Sound 17."], "18.wav": ["Dog, Animal"]}
    assert fields(tmp_path, "train", "labels")["16399.wav"] == ["Bark", "Dog", "Animal"]
    assert fields(tmp_path, "test", "origin") == {"37199.wav": "freesound:37199"}


def test_fsd50k_is_captioned_by_labels_on_request(tmp_path: Path) -> None:
    prepare("fsd50k", public_sets.fsd50k(tmp_path), captions="labels")
    assert texts(tmp_path, "train")["64760.wav"] == ["Electric guitar"]
    assert texts(tmp_path, "dev")["17.wav"] == ["Accelerating, revving, vroom"]


def test_vggsounds_captions_are_its_labels_commas_and_all(tmp_path: Path) -> None:
    done = prepare("vggsound", public_sets.vggsound(tmp_path))
    assert (done.clips, done.held_out) == ({"train": 2, "dev": 2, "test": 1}, 2)
    captions = texts(tmp_path, "train") | texts(tmp_path, "dev")
    assert captions["-JUBdOr8Hes_000030.wav"] == ["race car, auto racing"]
    assert texts(tmp_path, "test") == {"0n-Z2AQCRnU_000385.wav": ["people eating noodle"]}


def test_audioset_is_read_from_its_three_lists_whatever_its_files_are_called(
    tmp_path: Path,
) -> None:
    done = prepare("audioset", public_sets.audioset(tmp_path))
    assert (done.clips, done.problems) == ({"train": 2, "dev": 2, "test": 1}, {})
    assert texts(tmp_path, "train") | texts(tmp_path, "dev") == {
        "Y--PJHxphWEs.flac": ["Speech, Animal"],
        "Ybalanced__1.mp3": ["Animal"],
        "unbalance_2_30.000_40.000.ogg": ["Male speech, man speaking"],
        "unbalance_3_30000_40000.wav": ["Speech"],
    }
    assert fields(tmp_path, "test", "labels") == {"evaluate__4.wav": ["Animal", "Speech"]}


def test_audiosets_strong_labels_are_used_where_the_weak_ones_are_missing(tmp_path: Path) -> None:
    folder = public_sets.audioset(tmp_path)
    for name in ("balanced_train", "unbalanced_train", "eval"):
        (folder / f"{name}_segments.csv").unlink()
    rows = [("--PJHxphWEs_30000", 0.5, 1.5, "/m/0jbk"), ("--PJHxphWEs_30000", 0, 9, "/m/09x0r")]
    rows += [("--PJHxphWEs_30000", 3.5, 4.5, "/m/0jbk")]
    rows += [(f"{name}_30000", 0, 10, "/m/0jbk") for name in ("balanced__1", "unbalance_2")]
    rows += [("unbalance_3_0", 0, 10, "/t/dd99999")]
    header = ("segment_id", "start_time_seconds", "end_time_seconds", "label")
    write_table(folder / "audioset_train_strong.tsv", header, *rows, delimiter="\t")
    names = [("/m/0jbk", "Animal"), ("/t/dd99999", "Not in the ontology")]
    write_table(folder / "mid_to_display_name.tsv", *names, delimiter="\t")
    done = prepare("audioset", folder)
    assert done.clips == {"train": 2, "dev": 2, "test": 0}
    captions = texts(tmp_path, "train") | texts(tmp_path, "dev")
    assert captions["Y--PJHxphWEs.flac"] == ["Animal, Speech"]
    assert captions["unbalance_3_30000_40000.wav"] == ["Not in the ontology"]
    assert report(tmp_path / "out") == [("evaluate__4.wav", "unlisted", "")]


@pytest.mark.parametrize(("fold", "dev"), [("5", "4"), ("1", "5"), ("3", "2")])
def test_esc50_tests_on_one_fold_and_validates_on_the_one_before(
    tmp_path: Path, fold: str, dev: str
) -> None:
    done = prepare("esc50", public_sets.esc50(tmp_path), fold=fold)
    assert done.clips == {"train": 6, "dev": 2, "test": 2}
    assert {name[0] for name in texts(tmp_path, "test")} == {fold}
    assert {name[0] for name in texts(tmp_path, "dev")} == {dev}
    assert texts(tmp_path, "test")[f"{fold}-{fold}001-A-1.wav"] == ["vacuum cleaner"]
    assert fields(tmp_path, "test", "origin")[f"{fold}-{fold}001-A-1.wav"] == f"freesound:{fold}001"


def test_wavcaps_leaves_out_what_its_blacklists_name_of_test_sets(tmp_path: Path) -> None:
    done = prepare("wavcaps", public_sets.wavcaps(tmp_path))
    assert (done.clips, done.held_out) == ({"train": 2, "dev": 2, "test": 0}, 2)
    training_items = items(tmp_path / "out", "train") + items(tmp_path / "out", "dev")
    assert {(item["origin"], item["caption"]) for item in training_items} == {
        ("youtube:b0RFKhbpFJA", "Yb0RFKhbpFJA.wav of AudioSet_SL."),
        ("bbc:NHU05093069", "NHU05093069 of BBC_Sound_Effects."),
        ("freesound:2219", "2219 of FreeSound."),
        ("soundbible:2219", "2219 of SoundBible."),
    }
    for (
        item
    ) in training_items:  # numbers that two parts share are of the part whose folder they lie in
        assert item["caption"].removesuffix(".").rpartition(" ")[2] + "_flac/" in item["wav"]
    named = "blacklist_exclude_ub8k_esc50_vggsound.json"
    assert report(tmp_path / "out") == [
        (
            "YvfY_TJq7n_U.flac",
            "excluded",
            "youtube:vfY_TJq7n_U is named in blacklist_exclude_test_ac.json",
        ),
        ("180913.flac", "excluded", f"freesound:180913 is named in {named}"),
    ]


def test_single_parts_of_wavcaps_can_be_selected(tmp_path: Path) -> None:
    folder = public_sets.wavcaps(tmp_path)
    for name in ("2220", "2221", "2222"):
        record(folder / f"Zip_files/SoundBible/{name}.flac")
    data = [{"id": str(n), "caption": f"{n}"} for n in range(2219, 2223)]
    public_sets.write_json(folder / "json_files/SoundBible/sb_final.json", {"data": data})
    done = prepare("wavcaps", folder, parts="SoundBible")
    assert (done.clips, done.problems) == ({"train": 2, "dev": 2, "test": 0}, {})


def test_flat_folders_without_parts_are_as_good(tmp_path: Path) -> None:
    folder = public_sets.clotho(tmp_path)
    (folder / "clotho_captions_validation.csv").unlink()
    shutil.rmtree(folder / "validation")
    for part in ("development", "evaluation"):
        for path in (folder / part).iterdir():
            shutil.move(path, folder / path.name)
    done = prepare("clotho", folder)
    assert (done.clips, done.problems) == ({"train": 2, "dev": 2, "test": 1}, {})


@pytest.mark.parametrize(
    ("dataset", "name", "content", "message"),
    [
        ("audiocaps", "dataset/train.csv", None, "no train.csv in it; add the file as published"),
        ("audiocaps", "dataset/train.csv", "id,text\n1,a\n", "no column youtube_id, caption"),
        ("audiocaps", "dataset/train.csv", "youtube_id,caption\nab\n", "line 2: fewer cells"),
        ("audiocaps", "dataset/train.csv", b"youtube_id,caption\n\xff,a\n", "not a table in utf-8"),
        (
            "audiocaps",
            "more/train.csv",
            "youtube_id,caption\n",
            "two lists of one name; give the folder",
        ),
        ("clotho", "clotho_captions_development.csv", "file_name\n", "no column caption_1, cap"),
        ("fsd50k", "FSD50K.ground_truth/dev.csv", "fname,labels\n1,a\n", "no column mids, split"),
        ("fsd50k", "FSD50K.ground_truth/dev.csv", DEV + "1,a,b,x\n", "split 'x'"),
        ("fsd50k", "FSD50K.ground_truth/dev.csv", DEV + '1,"a,c",b,val\n', "2 labels, 1 mids"),
        ("fsd50k", "fsd50k_dev_auto_caption.json", "[]", "expected data with wav and caption"),
        ("vggsound", "vggsound.csv", "a,b\n", "expected rows of YouTube id, start, label"),
        ("audioset", "mid_to_display_name.tsv", "/m/x,a\n", "expected rows of mid and name"),
        ("audioset", "eval_segments.csv", "abcdefghijk, 0, 1\n", "got 'abcdefghijk,0,1'"),
        (
            "audioset",
            "eval_segments.csv",
            'abcdefghijk, 0, 1, "/m/x"\n',
            "gives abcdefghijk the label /m/x",
        ),
        ("esc50", "meta/esc50.csv", "filename,fold\n", "lacks the columns category, esc10"),
        ("wavcaps", "json_files/FreeSound/fsd_final.json", "{", "expected data with id and cap"),
        ("wavcaps", "json_files/FreeSound/fsd_final.json", '{"data": [{}]}', "expected data with"),
        ("wavcaps", "json_files/blacklist/blacklist_exclude_test_ac.json", None, "no blacklist_"),
    ],
)
def test_a_list_that_is_missing_or_wrong_is_refused_by_name(
    tmp_path: Path, dataset: str, name: str, content: str | bytes | None, message: str
) -> None:
    folder: Path = getattr(public_sets, dataset)(tmp_path)
    path = folder / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        prepare(dataset, folder)
    assert not (folder / "out").exists()
