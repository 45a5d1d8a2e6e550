"""Anchor segments lie where the detector is surest of a label, and training cuts there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command import Run
from tiny import tiny_tagger

from qsep.queries.networks.cnn14_events import activity, anchor_start
from qsep.recipes.data.mixtures.segments import SegmentMixConfig, SegmentMixtures, read_captions
from qsep.recipes.data.prepare import anchors
from qsep.recipes.data.prepare.anchors import find_anchors

RATE = 32000


@pytest.fixture(name="data")
def lists(tmp_path: Path) -> Path:
    """Five recordings as `qsep data captions` lists them, and the detector beside them."""
    folder = tmp_path / "lists"
    folder.mkdir()
    rng = np.random.default_rng(3)
    items: list[dict[str, Any]] = []
    for name, seconds, labels in (
        ("a", 5, ["Speech", "Bark"]),
        ("b", 3, ["bark"]),
        ("short", 0.5, ["Dog"]),
        ("other", 2, ["a sentence of somebody"]),
    ):
        envelope = np.linspace(0.01, 0.5, round(seconds * RATE))
        soundfile.write(folder / f"{name}.wav", envelope * rng.standard_normal(len(envelope)), RATE)
        caption = ", ".join(labels)
        items.append({"wav": f"{name}.wav", "caption": caption, "labels": labels, "origin": name})
    (folder / "broken.wav").write_bytes(b"no audio")
    items.append({"wav": "broken.wav", "caption": "Speech"})
    (folder / "train.json").write_text(json.dumps({"data": items}))
    torch.save({"model": tiny_tagger().state_dict()}, tmp_path / "detector.pth")
    return tmp_path


def mined(data: Path, **settings: Any) -> list[dict[str, Any]]:
    find_anchors(data / "lists", data / "out", data / "detector.pth", **settings)
    content: list[dict[str, Any]] = json.loads((data / "out" / "train.json").read_text())["data"]
    return content


def test_each_label_of_a_recording_gets_the_start_of_its_own_anchor(data: Path) -> None:
    items = mined(data)
    named = [(item["wav"], item["caption"]) for item in items]
    assert named == [
        ("../lists/a.wav", "Bark"),
        ("../lists/a.wav", "Speech"),
        ("../lists/b.wav", "bark"),
    ]
    samples = torch.from_numpy(soundfile.read(data / "lists" / "a.wav", dtype="float32")[0])
    probabilities = activity(tiny_tagger(), samples)
    for item, number in ((items[0], 75), (items[1], 0)):
        start = anchor_start(probabilities[:, number])
        assert item["start"] == pytest.approx(start / 100)
        sure = probabilities[start : start + 201, number].mean()
        assert item["probability"] == pytest.approx(float(sure), abs=6e-5)  # four digits
    assert items[0]["origin"] == "a"
    assert "labels" not in items[0]


def test_unchanged_recordings_are_not_analysed_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mined(data)
    received: list[int] = []

    def count(detector: Any, waveform: Any) -> Any:
        received.append(len(waveform))
        return activity(detector, waveform)

    monkeypatch.setattr(anchors, "activity", count)
    with (data / "out" / ".anchors.jsonl").open("a") as log:
        log.write('{"key": "cut o')
    assert mined(data) == first
    assert received == []
    soundfile.write(data / "lists" / "b.wav", np.full(RATE * 4, 0.25), RATE)
    mined(data)
    assert received == [4 * RATE]


def test_unsure_anchors_can_be_left_out(data: Path) -> None:
    sure = sorted(item["probability"] for item in mined(data))
    assert len(mined(data, min_probability=(sure[1] + sure[2]) / 2)) == 1


def test_training_cuts_where_the_anchor_starts(data: Path) -> None:
    mined(data)
    clips = read_captions(data / "out", "train")
    config = SegmentMixConfig(segment_samples=2 * RATE, rule="uss", balanced=True)
    mixtures = SegmentMixtures(data / "out", clips, config, True, 2, RATE, seed=1)
    for draw in range(6):
        clip, segment = mixtures.segment(draw)
        assert clip.start is not None
        whole = soundfile.read(data / "out" / clip.file, dtype="float32")[0]
        begin = round(clip.start * RATE)
        np.testing.assert_array_equal(segment, whole[begin : begin + 2 * RATE])


def test_balanced_captions_come_equally_often(data: Path) -> None:
    items = [{"wav": "../lists/a.wav", "caption": name} for name in "xyyyyyyz"]
    (data / "lists" / "dev.json").write_text(json.dumps({"data": items}))
    config = SegmentMixConfig(segment_samples=100, rule="uss", balanced=True)
    clips = read_captions(data / "lists", "dev")
    mixtures = SegmentMixtures(data / "lists", clips, config, True, 2, RATE, seed=1)
    drawn = [mixtures.segment(draw)[0].captions[0] for draw in range(30)]
    assert [drawn.count(name) for name in "xyz"] == [10, 10, 10]
    assert len({id(mixtures.of_next_caption(draw)) for draw in range(18)}) == 8


def test_the_command_prints_how_many_anchors_it_found_and_what_it_left_out(
    qsep: Run, data: Path
) -> None:
    options = ["-o", str(data / "out"), "--detector", str(data / "detector.pth")]
    outcome = qsep("data", "anchors", str(data / "lists"), *options)
    assert outcome.code == 0
    assert "train.json: 3 anchor segments" in outcome.out
    for problem in ("1 short", "1 unlabelled", "1 unreadable"):
        assert problem in outcome.out
    assert "broken.wav,unreadable" in (data / "out" / "report.csv").read_text()


@pytest.mark.parametrize(
    ("folder", "out", "detector", "reason"),
    [
        ("lists", "lists", "detector.pth", "the anchors would replace its lists"),
        ("empty", "out", "detector.pth", "no train.json; `qsep data captions` makes it"),
        ("lists", "out", "none.pth", "no such file: give the weights of Cnn14_DecisionLevelMax"),
    ],
)
def test_invalid_input_is_refused(
    folder: str, out: str, detector: str, reason: str, data: Path, qsep: Run
) -> None:
    where = ["-o", str(data / out), "--detector", str(data / detector)]
    outcome = qsep("data", "anchors", str(data / folder), *where)
    assert outcome.code == 2
    assert reason in outcome.error
