"""qsep.evaluation.protocols.own: mixtures drawn of one's own recordings."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.evaluation.protocols import load_items
from qsep.evaluation.protocols.own import load

RATE = 16000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three labels of 25, 3 and 2 recordings in dev, and one of another split."""
    rng = np.random.default_rng(2)
    rows = []
    for label, num in (("bell", 25), ("dog", 3), ("my_kettle", 2)):
        for take in range(num):
            rows.append({"file": f"{label}{take}.wav", "label": label, "split": "dev"})
    rows.append({"file": "late.wav", "label": "late", "split": "train"})
    for row in rows:
        soundfile.write(tmp_path / row["file"], rng.uniform(-0.1, 0.1, 3000), RATE)
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "label", "split"])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "phrases.toml").write_text('[labels.dog]\nname = "Rex"\nphrases = ["my dog"]\n')
    return tmp_path


def test_every_recording_is_queried_once_beside_another_label(data: Path) -> None:
    items = load(data)
    targets = [row.targets[0].path for row in items.rows]
    assert len(targets) == len(set(targets)) == 20 + 3 + 2  # of a label 20 at most
    assert all(row.label not in row.labels for row in items.rows)
    assert "late.wav" not in {cut.path for row in items.rows for cut in row.cuts}
    queries = {item.label: item.query for item in items.item_queries}
    assert queries == {"bell": "bell", "dog": "Rex", "my_kettle": "my kettle"}


def test_target_and_rest_are_equally_strong(data: Path) -> None:
    item = load(data).render(21)
    powers = [float(np.mean(part.astype(np.float64) ** 2)) for part in (item.target, item.rest)]
    assert powers[0] == pytest.approx(powers[1], rel=1e-5)
    assert len(item.mixture) == 5 * 32000


def test_items_depend_on_the_folders_content_alone(data: Path) -> None:
    first = load_items("own", data).fingerprint
    assert load_items("own", data).fingerprint == first
    rows = (data / "clips.csv").read_text().splitlines()
    (data / "clips.csv").write_text("\n".join(rows[:-2] + rows[-1:]) + "\n")
    assert load_items("own", data).fingerprint != first


def test_held_out_wordings_are_the_hand_written_ones(data: Path) -> None:
    with pytest.raises(ValueError, match=r"wordings\.toml: no such file"):
        load(data, condition="wordings")
    text = '[wordings]\nbell = ["ding"]\ndog = ["woof", "him"]\nmy_kettle = ["tea"]\n'
    (data / "wordings.toml").write_text(text)
    item_queries = load(data, condition="wordings").item_queries
    assert [a.query for a in item_queries if a.label == "dog"] == ["woof", "him", "woof"]
    with pytest.raises(ValueError, match="no phrases for sounds outside its labels"):
        load(data, condition="absent-wordings")


def test_an_absent_label_is_none_of_the_mixture(data: Path) -> None:
    items = load(data, condition="absent")
    for item_query in items.item_queries:
        assert item_query.label not in item_query.others
    assert not items.render(0).target.any()


def test_one_label_cannot_be_mixed(data: Path) -> None:
    with pytest.raises(ValueError, match="'train' has recordings of fewer than two labels"):
        load(data, split="train")
