"""The protocol speakers: who is mixed with whom, and by which example."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.evaluation.protocols.speakers import (
    GAP_SECONDS,
    SECONDS,
    SPEAKERS,
    load,
    pairs_of,
    read_speakers,
    right_voice,
)

HEADER = "file,label,group,seconds\n"


def test_each_speaker_meets_all_of_its_kind_and_six_others() -> None:
    speakers = read_speakers(SPEAKERS.read_bytes(), "list")
    assert (len(speakers), sum(map(len, speakers))) == (20, 28)
    pairs = pairs_of(speakers)
    # 9 men, 5 women and 6 children: 72 + 20 + 30 mixtures of one kind
    assert Counter(pair.setting for pair in pairs) == {"same kind": 122, "other kind": 120}
    both = {(pair.row.label, *pair.row.labels) for pair in pairs if pair.setting == "same kind"}
    assert {(second, first) for first, second in both} == both


def test_no_example_has_a_sample_of_its_mixture() -> None:
    for row, _, example, other, stranger in pairs_of(read_speakers(SPEAKERS.read_bytes(), "list")):
        (target,) = row.targets
        before = (
            example.start_seconds + example.seconds <= target.start_seconds - GAP_SECONDS + 1e-9
        )
        after = example.start_seconds >= target.start_seconds + SECONDS + GAP_SECONDS - 1e-9
        assert example.file != target.path or before or after
        assert example.seconds >= 1
        assert stranger.file not in {cut.path for cut in row.cuts} | {example.file, other.file}


def test_the_target_is_the_cut_at_the_level_of_the_other_voice(tmp_path: Path) -> None:
    lines, rate = [HEADER], 32000
    for number, (kind, who) in enumerate((("a", "Al"), ("a", "Bo"), ("b", "Cy"))):
        noise = np.random.default_rng(number).standard_normal(5 * rate).astype(np.float32)
        path = tmp_path / f"{who}.wav"
        soundfile.write(path, 0.01 * (number + 1) * noise, rate, subtype="FLOAT")
        lines.append(f"{who}.wav,{kind},{who},5.0\n")
    (tmp_path / "list.csv").write_text("".join(lines))
    items = load(tmp_path, tmp_path / "list.csv")
    item = items.render(0)
    assert (item.label, item.others, item.setting) == ("Al", ("Bo",), "same kind")
    heard = soundfile.read(tmp_path / "Al.wav", dtype="float32")[0]
    start = round(items.pairs[0].row.targets[0].start_seconds * rate)
    np.testing.assert_allclose(item.target, heard[start : start + len(item.target)], atol=1e-7)
    assert np.mean(item.target**2) == pytest.approx(np.mean(item.rest**2), rel=1e-5)
    absent = load(tmp_path, tmp_path / "list.csv", "absent").render(0)
    assert not absent.target.any()
    np.testing.assert_array_equal(absent.mixture, item.mixture)


def test_the_right_voice_is_the_share_above_zero_db_of_all_and_by_setting() -> None:
    values = [(3.0, "a"), (-1.0, "a"), (0.5, "b"), (None, "b")]
    rows = [{"si_sdr": value, "setting": setting} for value, setting in values]
    expected = {"right_voice": 2 / 3, "right_voice, a": 0.5, "right_voice, b": 1.0}
    assert right_voice(rows) == pytest.approx(expected)
    assert right_voice(rows[3:]) == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.wav,x,A,5\nb.wav,x,B,5\n", "2 speakers; expected 3 or more"),
        ("a.wav,x,A,5\nb.wav,x,B,3.5\nc.wav,x,C,5\n", "b.wav is 3.5 s long; expected 3.55 or more"),
        ("a.wav,x,A,long\n", "expected a CSV file with file, label, group, seconds"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, path)
