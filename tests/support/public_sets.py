"""Public data sets in miniature, in the layouts in which their publishers give them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 8000


def record(path: Path, seconds: float = 0.25, rate: int = RATE, num_channels: int = 1) -> Path:
    """Noise, in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    samples = 0.1 * rng.standard_normal((int(seconds * rate), num_channels))
    soundfile.write(path, samples, rate)
    return path


def records(folder: Path, *names: str, seconds: float = 0.25) -> None:
    for name in names:
        record(folder / name, seconds)


def write_table(path: Path, *rows: Sequence[object], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def items(folder: Path, split: str) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((folder / f"{split}.json").read_text())["data"]
    return content


def report(folder: Path) -> list[tuple[str, ...]]:
    """File's name, problem, remark."""
    with (folder / "report.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "problem", "remark"]
    return [(Path(name).name, problem, remark) for name, problem, remark in rows]


def audiocaps(folder: Path, seconds: float = 0.25) -> Path:
    """Four recordings to train on of five listed, one to validate with, two to test on; ids hold - and _."""
    header = ("audiocap_id", "youtube_id", "start_time", "caption")
    train = [f"tran_{n}-abcd" for n in range(5)]
    rows = [(n, video_id, 30, f"Noise of kind {n}, far off") for n, video_id in enumerate(train)]
    write_table(folder / "dataset/train.csv", header, *rows)
    val, test = "Yal_0123456", ("test_0_0000", "-test_1_000")
    write_table(
        folder / "dataset/val.csv", header, *((n, val, 0, f"A valley, {n}") for n in range(5))
    )
    write_table(
        folder / "dataset/test.csv",
        header,
        *((n, test[n // 5], 120, f"A test, {n}") for n in range(10)),
    )
    names = [f"train/Y{video_id}.wav" for video_id in train[:4]]
    names += [f"val/Y{val}.wav", *(f"test/Y{video_id}.wav" for video_id in test)]
    records(folder, *names, seconds=seconds)
    return folder


def clotho(folder: Path, seconds: float = 0.25) -> Path:
    columns = ("file_name", *(f"caption_{n}" for n in range(1, 6)))
    parts = {
        "development": ["Santa Motor.wav", "rain: on a roof .wav", "été.wav", "Radio.wav"],
        "validation": ["Radio.wav", "wind.wav"],
        "evaluation": ["toy rattle 2.wav"],
    }
    for part, names in parts.items():
        rows = [(name, *(f"{name} {n} in {part}" for n in range(1, 6))) for name in names]
        write_table(folder / f"clotho_captions_{part}.csv", columns, *rows)
        for name in names:
            record(folder / part / name.replace(":", "_").replace(" .", "."), seconds)
    metadata = (
        "file_name,keywords,sound_id,sound_link\nété.wav,a;b,1234,x\nRadio.wav,c,Not found,x\n"
    )
    (folder / "clotho_metadata_development.csv").write_bytes(metadata.encode("latin-1"))
    return folder


def fsd50k(folder: Path, auto_captions: bool = True, seconds: float = 0.25) -> Path:
    truth = folder / "FSD50K.ground_truth"
    guitar = "Guitar,Plucked_string_instrument,Musical_instrument,Music"
    guitar_mids = "/m/0342h,/m/0fx80y,/m/04szw,/m/04rlf"
    dog, dog_mids = "Dog,Animal", "/m/0bt9lr,/m/0jbk"
    vroom = "Accelerating_and_revving_and_vroom"
    dev = [
        ("64760", f"Electric_guitar,{guitar}", f"/m/02sgy,{guitar_mids}", "train"),
        ("16399", f"Bark,{dog}", f"/m/05tny_,{dog_mids}", "train"),
        ("63", guitar, guitar_mids, "train"),
        ("17", f"Electric_guitar,{guitar},{vroom}", f"/m/02sgy,{guitar_mids},/m/07q2z82", "val"),
        ("18", dog, dog_mids, "val"),
    ]
    write_table(truth / "dev.csv", ("fname", "labels", "mids", "split"), *dev)
    held = ("37199", f"Bark,{dog}", f"/m/05tny_,{dog_mids}")
    write_table(truth / "eval.csv", ("fname", "labels", "mids"), held)
    write_table(truth / "vocabulary.csv", (0, "Bark", "/m/6"))
    records(folder, *(f"FSD50K.dev_audio/{row[0]}.wav" for row in dev), seconds=seconds)
    records(folder, "FSD50K.eval_audio/37199.wav", seconds=seconds)
    if auto_captions:
        data = [{"wav": f"{name}.wav", "caption": f"Sound {name}."} for name in ("64760", "17")]
        write_json(folder / "fsd50k_dev_auto_caption.json", {"num": 2, "data": data})
    return folder


def vggsound(folder: Path, seconds: float = 0.25) -> Path:
    rows = [("-JUBdOr8Hes", 30, "race car, auto racing", "train")]
    rows += [(f"abcdefghij{n}", n, f"sound {n}", "train") for n in range(3)]
    rows += [("0n-Z2AQCRnU", 385, "people eating noodle", "test")]
    write_table(folder / "vggsound.csv", *rows)
    for video_id, start, *_ in rows:
        record(folder / f"audio/{video_id}_{start:06d}.wav", seconds)
    return folder


def audioset(folder: Path, seconds: float = 0.25) -> Path:
    def segments(*rows: tuple[str, str]) -> str:
        lines = [f'{video_id}, 30.000, 40.000, "{mids}"' for video_id, mids in rows]
        header = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=1, num_segs=1\n"
        return (
            f"{header}# YTID, start_seconds, end_seconds, positive_labels\n{chr(10).join(lines)}\n"
        )

    folder.mkdir(parents=True, exist_ok=True)
    balanced = segments(("--PJHxphWEs", "/m/09x0r,/m/0jbk"), ("balanced__1", "/m/0jbk"))
    (folder / "balanced_train_segments.csv").write_text(balanced)
    unbalanced = segments(("unbalance_2", "/m/05zppz"), ("unbalance_3", "/m/09x0r"))
    (folder / "unbalanced_train_segments.csv").write_text(unbalanced)
    (folder / "eval_segments.csv").write_text(segments(("evaluate__4", "/m/0jbk,/m/09x0r")))
    names = ["balanced/Y--PJHxphWEs.flac", "balanced/Ybalanced__1.mp3"]
    names += ["part00/unbalance_2_30.000_40.000.ogg", "part01/unbalance_3_30000_40000.wav"]
    records(folder, *names, "eval/evaluate__4.wav", seconds=seconds)
    return folder


def esc50(folder: Path, seconds: float = 0.25) -> Path:
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    rows = []
    for fold in range(1, 6):
        for number, category in enumerate(("dog", "vacuum_cleaner")):
            name = f"{fold}-{1000 * fold + number}-A-{number}.wav"
            rows.append((name, fold, number, category, number == 0, 1000 * fold + number, "A"))
            record(folder / "audio" / name, seconds)
    write_table(folder / "meta/esc50.csv", header, *rows)
    return folder


def wavcaps(folder: Path, seconds: float = 0.25) -> Path:
    """In two parts there is a recording 2219; a test set has one of AudioSet and one of Freesound."""
    lists = {
        "AudioSet_SL/as_final.json": ["Yb0RFKhbpFJA.wav", "YvfY_TJq7n_U.wav"],
        "BBC_Sound_Effects/bbc_final.json": ["NHU05093069"],
        "FreeSound/fsd_final.json": ["2219", "180913"],
        "SoundBible/sb_final.json": ["2219"],
    }
    for name, ids in lists.items():
        part = Path(name).parent.name
        data = [
            {"id": each, "caption": f"{each} of {part}.", "duration": 1.5, "title": "x"}
            for each in ids
        ]
        content = {"num_captions_per_audio": 1, "data": data}
        write_json(folder / "json_files" / name, content)
        stems = [each.removesuffix(".wav") for each in ids]
        records(
            folder, *(f"Zip_files/{part}/mnt/{part}_flac/{s}.flac" for s in stems), seconds=seconds
        )
    write_json(folder / "json_files/FreeSound/fsd_final_2s.json", {"data": []})
    blacklists = folder / "json_files/blacklist"
    all_of_it = {"AudioSet": ["YvfY_TJq7n_U.wav", "Yb0RFKhbpFJA.wav"], "FreeSound": []}
    write_json(blacklists / "blacklist_exclude_all_ac.json", all_of_it)
    test = {"AudioSet": ["YvfY_TJq7n_U.wav"], "FreeSound": []}
    write_json(blacklists / "blacklist_exclude_test_ac.json", test)
    esc = {"AudioSet": [], "FreeSound": ["180913"]}
    write_json(blacklists / "blacklist_exclude_ub8k_esc50_vggsound.json", esc)
    return folder
