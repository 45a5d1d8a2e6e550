"""qsep.recipes.data.corpus: recordings of one's own made into a corpus, checked, counted and packed."""

import csv
import hashlib
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import typer
from uneven_noise import RATE, uneven_noise

from qsep.queries.reading.book import read_book
from qsep.recipes.cli.data.corpora import check_data
from qsep.recipes.data.corpus.checking import check_corpus
from qsep.recipes.data.corpus.counting import count, page_of, text_of
from qsep.recipes.data.corpus.folder import SplitRule, make_corpus
from qsep.recipes.data.corpus.measuring import facts_of, measure_all, read_mono
from qsep.recipes.data.corpus.open_sounds import rebuild
from qsep.recipes.data.corpus.recordings import (
    Columns,
    Recording,
    label_of,
    read_folder,
    read_table,
)
from qsep.recipes.data.corpus.rendering import render_folders
from qsep.recipes.data.corpus.shards import read_shards, write_shards
from qsep.recipes.data.corpus.splits import draw_splits, whole_groups
from qsep.recipes.data.mixtures.clips import load_takes

HALF = SplitRule({"dev": 0.25})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two labels of five and four good recordings, and one of each fault."""
    root = tmp_path / "source"
    for number, label in enumerate(("My Dog", "kettle")):
        (root / label).mkdir(parents=True)
        for take in range(5 - number):
            audio = uneven_noise(10 * number + take, 1.2 + 0.1 * take)
            soundfile.write(root / label / f"take {take}.wav", audio, RATE)
    (root / "kettle" / "evening").mkdir()
    for take in range(2):
        soundfile.write(root / "kettle" / "evening" / f"{take}.flac", uneven_noise(50 + take), RATE)
    dog = root / "My Dog"
    (dog / "copy.wav").write_bytes((dog / "take 0.wav").read_bytes())
    quieter = soxr.resample(0.3 * uneven_noise(1, 1.3)[3001:], RATE, 22050)
    soundfile.write(dog / "of take 1.ogg", quieter, 22050)
    soundfile.write(dog / "clipped.wav", np.clip(6 * uneven_noise(60), -1, 1), RATE)
    soundfile.write(dog / "short.wav", uneven_noise(61, 0.05), RATE)
    soundfile.write(dog / "silent.wav", np.zeros(RATE), RATE)
    (dog / "damaged.wav").write_bytes(b"RIFF and nothing more")
    soundfile.write(dog / "both.wav", uneven_noise(62), RATE)
    (root / "kettle" / "both.wav").write_bytes((dog / "both.wav").read_bytes())
    return root


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_unusable_recordings_are_left_out_of_the_corpus(source: Path, tmp_path: Path) -> None:
    corpus = make_corpus(read_folder(source), tmp_path / "data", HALF, 2)
    actual = {(Path(row["file"]).name, row["fault"]) for row in rows_of(corpus.report)}
    assert {
        ("damaged.wav", "unreadable"),
        ("silent.wav", "silent"),
        ("short.wav", "short"),
        ("take 0.wav", "duplicate"),
        ("both.wav", "two labels"),
        ("clipped.wav", "clipped"),
    } <= actual
    assert {name for name, fault in actual if fault == "near-duplicate"} <= {"of take 1.ogg", "take 1.wav"}  # fmt: skip  # noqa: E501
    assert corpus.faults["near-duplicate"] == 1
    clips = rows_of(tmp_path / "data" / "clips.csv")
    # copy, clipped, of take 1, takes 1 to 4; takes 0 to 3, two of the evening
    assert Counter(clip["label"] for clip in clips) == {"my_dog": 7, "kettle": 6}
    for clip in clips:
        info = soundfile.info(tmp_path / "data" / clip["file"])
        assert (info.channels, info.samplerate) == (1, int(clip["sample_rate"]))
        assert info.duration == pytest.approx(float(clip["seconds"]), abs=1e-3)


def test_groups_and_equal_content_stay_in_one_split(source: Path, tmp_path: Path) -> None:
    for seed in range(4):
        out = tmp_path / f"data {seed}"
        make_corpus(read_folder(source), out, SplitRule({"dev": 0.4}, seed=seed), 2)
        clips = rows_of(out / "clips.csv")
        splits: dict[str, set[str]] = {}
        for clip in clips:
            splits.setdefault(clip["group"], set()).add(clip["split"])
        assert all(len(actual) == 1 for actual in splits.values())
        assert {(clip["label"], clip["split"]) for clip in clips} == {
            (label, split) for label in ("my_dog", "kettle") for split in ("train", "dev")
        }
        assert sum(clip["group"] == "kettle/evening" for clip in clips) == 2
        assert check_corpus(out, 2).sound


def test_a_corpus_made_again_is_the_same_and_keeps_the_edited_wordings(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    make_corpus(read_folder(source), out, HALF, 1)
    before = (out / "clips.csv").read_bytes()
    (out / "phrases.toml").write_text("[labels.my_dog]\nname = 'Rex'\nphrases = ['Rex']\n")
    (source / "kettle" / "take 3.wav").unlink()
    make_corpus(read_folder(source), out, HALF, 2)
    assert (out / "phrases.toml").read_text().startswith("[labels.my_dog]\nname = 'Rex'")
    listed = {row["file"] for row in rows_of(out / "clips.csv")}
    there = {path.relative_to(out).as_posix() for path in out.rglob("*.flac")}
    assert there == listed
    soundfile.write(source / "kettle" / "take 3.wav", uneven_noise(13, 1.5), RATE)
    make_corpus(read_folder(source), out, HALF, 1)
    assert (out / "clips.csv").read_bytes() == before


def test_wordings_are_a_phrase_book_of_the_labels(source: Path, tmp_path: Path) -> None:
    make_corpus(read_folder(source), tmp_path / "data", HALF, 2)
    book = read_book([str(tmp_path / "data" / "phrases.toml")])
    assert list(book.classes) == ["kettle", "my_dog"]
    assert book.classes["my_dog"].name == "my dog"
    assert {"a kettle", "the kettle", "kettle noise"} <= set(book.classes["kettle"].phrases)


def test_a_table_names_files_labels_groups_and_splits(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", "sub/b.wav"):
        soundfile.write(tmp_path / name, uneven_noise(3), RATE)
    table = tmp_path / "list.csv"
    table.write_text(
        "path,kind,who,part,author\na,Door bell,x,train,Ann\nsub/b.wav,door-bell,y,val,\n"
    )
    actual = read_table(table, Columns("path", "kind", "who", "part"))
    assert actual == [
        Recording(tmp_path / "a.wav", "door_bell", "x", "train", (("author", "Ann"),)),
        Recording(tmp_path / "sub" / "b.wav", "door_bell", "y", "dev"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,kind\na.wav,x\n", "no column 'file'; it has path, kind"),
        ("file,label\na.wav,\n", "line 2: no label"),
        ("file,label\na.wav,Other\n", "line 2: 'Other' cannot be a label"),
        ("file,label\n", "no rows"),
    ],
)
def test_an_invalid_table_is_refused_with_the_reason(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "list.csv", Columns())


def test_labels_are_letters_and_digits_joined_by_underscores() -> None:
    assert label_of("  Front-door Bell 2!") == "front_door_bell_2"
    assert label_of("Große Trommel") == "große_trommel"


def test_splits_take_their_share_of_every_label_in_whole_groups() -> None:
    labels = ["a"] * 20 + ["b"] * 10 + ["c"] * 2 + ["d"]
    groups = [f"g{i // 2}" for i in range(20)] + [f"h{i}" for i in range(13)]
    splits = draw_splits(labels, groups, {"dev": 0.2, "test": 0.1}, seed=3)
    counts = Counter(zip(labels, splits, strict=True))
    assert (counts["a", "dev"], counts["b", "dev"], counts["c", "dev"]) == (4, 2, 1)
    assert (counts["a", "test"], counts["b", "test"]) == (2, 1)
    assert counts["c", "train"] == 1  # never the last
    assert counts["d", "train"] == 1
    assert all(splits[i] == splits[i + 1] for i in range(0, 20, 2))
    assert draw_splits(labels, groups, {"dev": 0.2, "test": 0.1}, seed=4) != splits


def test_groups_join_by_name_and_by_content() -> None:
    roots = whole_groups(["x", "", "x", "y", ""], [(3, 4), (2, 4)])
    assert len({roots[i] for i in (0, 2, 3, 4)}) == 1
    assert roots[1] != roots[0]


def test_facts_of_a_recording_match_its_synthesis() -> None:
    time = np.arange(2 * RATE) / RATE
    low, high = np.sin(2 * np.pi * 440 * time), 0.5 * np.sin(2 * np.pi * 9500 * time)
    tone = (0.25 * (low + high)).astype(np.float32)
    tone[RATE:] = 0
    tone[100:104] = 1.0
    facts = facts_of(tone, RATE, 2)
    assert facts.seconds == 2.0
    assert facts.peak == 1.0
    assert facts.active == pytest.approx(0.5, abs=0.02)
    assert facts.clipped == pytest.approx(4 / (2 * RATE))
    assert facts.high == pytest.approx(0.2, abs=0.02)  # 0.5^2 of 1 + 0.5^2
    # half of it of power (0.25^2 + 0.125^2) / 2
    assert facts.level_db == pytest.approx(10 * np.log10(0.5 * 0.0390625), abs=0.05)


def test_a_corpus_with_equal_content_in_two_splits_is_invalid_and_the_command_names_it(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_corpus(read_folder(source), tmp_path / "data", HALF, 2)
    path = tmp_path / "data" / "clips.csv"
    rows = rows_of(path)
    for row in rows:
        if row["group"] == "kettle/evening":
            row["split"] = "dev" if row["file"].endswith(rows[0]["file"][-9:]) else "train"
    evening = [row for row in rows if row["group"] == "kettle/evening"]
    evening[0]["split"], evening[1]["split"] = "train", "dev"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    checked = check_corpus(tmp_path / "data", 2)
    assert not checked.sound
    (fault,) = [fault for fault in checked.faults if fault.fault == "in two splits"]
    assert fault.file.endswith(evening[1]["file"])
    with pytest.raises(typer.Exit) as ended:
        check_data(tmp_path / "data")
    assert ended.value.exit_code == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"{fault.file}: in two splits, {fault.remark}" in lines


def test_counts_are_those_of_the_list(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_corpus(read_folder(source), data, HALF, 2)
    (data / "kinds.csv").write_text(
        'kind,plain,families\nmy_dog,my dog,"pets,home"\nkettle,,home\n'
    )
    facts = measure_all(sorted(data.rglob("*.flac")), 2)
    counts = count(data, facts)
    assert {name: amount.clips for name, amount in counts["family"].items()} == {
        "home": 13,
        "pets": 7,
    }
    seconds = sum(soundfile.info(path).duration for path in data.rglob("*.flac"))
    assert counts["family"]["home"].seconds == pytest.approx(seconds, abs=0.01)
    assert len(counts["label"]["kettle"].groups) == 5
    header, dogs, *_ = text_of(counts).splitlines()
    assert header.endswith("  minutes  above 8 kHz, dB  narrow, %")
    assert dogs.split()[:2] == ["my_dog", "7"]
    median = np.median([facts_of(*read_mono(p)).high for p in data.rglob("my_dog/*.flac")])
    assert dogs.split()[-2] == f"{10 * np.log10(median):.0f}"
    # 2 labels, 2 families, source, licence.
    assert page_of("mine & yours", counts).count("<svg") == 6


def test_shards_hold_every_recording_once_and_give_the_same_takes(
    source: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "shards"
    make_corpus(read_folder(source), data, HALF, 2)
    shards = write_shards(data, out, 150_000)
    assert len(shards) > 3
    assert all((out / shard.file).stat().st_size <= 150_000 for shard in shards if shard.clips > 1)
    names = [name for shard in shards for name in tarfile.open(out / shard.file).getnames()]
    assert len(names) == len(set(names)) == 2 * 13
    packed = {
        entry.row["file"]: entry.content for s in ("train", "dev") for entry in read_shards(out, s)
    }
    assert packed == {row["file"]: (data / row["file"]).read_bytes() for row in rows_of(data / "clips.csv")}  # fmt: skip  # noqa: E501
    loose, taken = load_takes(data, "train", 16000), load_takes(out, "train", 16000)
    assert list(loose) == list(taken)
    for label, takes in loose.items():
        assert [take.group for take in takes] == [take.group for take in taken[label]]
        for ours, theirs in zip(takes, taken[label], strict=True):
            assert np.array_equal(ours.waveform, theirs.waveform)
    again = write_shards(data, tmp_path / "again", 150_000)
    assert again == shards  # their hashes among the rest


def test_a_shard_that_was_changed_is_refused(source: Path, tmp_path: Path) -> None:
    make_corpus(read_folder(source), tmp_path / "data", HALF, 2)
    (shard, *_) = write_shards(tmp_path / "data", tmp_path / "shards", 10**6)
    (tmp_path / "shards" / shard.file).write_bytes(b"")
    with pytest.raises(ValueError, match=r"dev-00000\.tar: differs from its entry in index\.json"):
        list(read_shards(tmp_path / "shards", "dev"))


def test_a_manifest_is_rendered_into_folders(tmp_path: Path) -> None:
    from qsep.evaluation.protocols.sounds150 import load

    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", uneven_noise(ord(name), 0.3), RATE)
    (tmp_path / "m.csv").write_text(
        "id,query,seconds,target,target_start,interferers,interferer_starts,snr_db,"
        "target_label,interferer_labels\nm0,a bell,0.2,a.wav,0,b.wav,0,0,bell,dog\n"
        "m1,a dog,0.2,b.wav,0,a.wav,0,0,dog,bell\n"
    )
    items = load(tmp_path, tmp_path / "m.csv")
    assert list(render_folders(items, tmp_path / "all", 1)) == ["m0", "m1"]
    assert list(render_folders(items, tmp_path / "out", 1, max_items=1)) == ["m0"]
    assert not (tmp_path / "out" / "m1").exists()
    mixture, target, rest = (
        soundfile.read(tmp_path / "out" / "m0" / f"{part}.wav")[0]
        for part in ("mixture", "target", "rest")
    )
    assert mixture == pytest.approx(target + rest, abs=1e-6)
    assert np.array_equal(mixture.astype(np.float32), items.render(0).mixture)
    assert (tmp_path / "out" / "m0" / "query.txt").read_text() == "a bell"
    # The same bytes at any time: libsndfile's own chunk of the peak has the time in it.
    assert b"PEAK" not in (tmp_path / "out" / "m0" / "mixture.wav").read_bytes()


def test_open_sounds_finds_sources_by_the_end_of_their_names(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    files = {
        "ESC-50/audio/1-79113-A-5.wav": 5.0,
        "ESC-50/audio/2-122104-B-0.wav": 5.0,
        "game/audio/actor/fauna/cattle_03.ogg": 1.0,
        "other/audio/cattle_03.ogg": 1.0,
        "drops/Droplet1.wav": 0.4,
        "drops/Droplet2.wav": 0.4,
        "drops/Dropout1.wav": 0.4,
    }
    for seed, (name, seconds) in enumerate(files.items()):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(sources / name, uneven_noise(seed, seconds, 44100), 44100)
    rest = {
        "label": "x",
        "split": "train",
        "group": "g",
        "licence": "CC0",
        "author": "",
        "url": "u",
    }
    listed = [
        ("audio/train/x/ESC-50_esc50at16k__1-79113-A-5_3163.ogg", "ESC-50", "5.001"),
        ("audio/train/x/ESC-10_2-122104-B_6667.ogg", "ESC-10", "5.001"),
        ("audio/train/x/0ad_0ad-data__actor_fauna_cattle_03_42.ogg", "0ad-data", "1.0"),
        ("audio/train/x/hedgewars-data_hedgewars-data__Droplet2_58.ogg", "hedgewars-data", "0.9"),
        ("audio/train/x/soundfont-sf-GMbank_sf_GMbank_5_6484.ogg", "soundfont sf_GMbank", "4"),
        ("audio/train/x/petz_petz__petz_kitty_meow_1147.ogg", "petz", "2"),
    ]
    clips = [{"file": f, "dataset": d, "seconds": s} | rest for f, d, s in listed]
    corpus = rebuild(sources, tmp_path / "out", 2, clips=clips)
    assert corpus.num_clips == 4
    assert corpus.problems == {"rendered": 1, "not found": 1}
    durations = [soundfile.info(tmp_path / "out" / file).duration for file, _, _ in listed[:4]]
    assert durations[:3] == pytest.approx([5.0, 5.0, 1.0], abs=0.01)
    assert 0.8 < durations[3] <= 0.9  # both droplets and a gap, cut as listed
    cattle = soundfile.read(tmp_path / "out" / listed[2][0])[0]
    expected = soxr.resample(soundfile.read(sources / "game/audio/actor/fauna/cattle_03.ogg")[0], 44100, 32000)  # fmt: skip  # noqa: E501
    assert np.corrcoef(cattle[:30000], expected[:30000])[0, 1] > 0.95
    assert [row["file"] for row in rows_of(tmp_path / "out" / "clips.csv")] == [f for f, _, _ in listed[:4]]  # fmt: skip  # noqa: E501


def test_the_index_of_shards_gives_their_hashes(source: Path, tmp_path: Path) -> None:
    make_corpus(read_folder(source), tmp_path / "data", HALF, 2)
    write_shards(tmp_path / "data", tmp_path / "shards", 10**6)
    listed = json.loads((tmp_path / "shards" / "index.json").read_text())["shards"]
    for shard in listed:
        content = (tmp_path / "shards" / shard["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
    assert sum(shard["clips"] for shard in listed) == 13
