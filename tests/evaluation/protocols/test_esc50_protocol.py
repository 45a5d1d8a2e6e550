"""qsep.evaluation.protocols.esc50 on a miniature folder, against figures worked out from the files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from protocol_runs import CLOSE, noise, run, scored, write, write_csv

from qsep.evaluation.protocols import load_items


def esc_folder(folder: Path) -> dict[str, np.ndarray]:
    """Three categories, two of them in ESC-10, in folds 1 and 2, two clips of each in each."""
    rows: list[Sequence[object]] = [
        ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    ]
    written = {}
    for seed in range(12):
        category = ("dog", "sea_waves", "clapping")[seed % 3]
        name = f"{seed // 6 + 1}-{seed}-A-{seed % 3}.wav"
        written[name] = write(folder / "audio" / name, noise(seed, 900), 44100)
        rows.append((name, seed // 6 + 1, seed % 3, category, category != "clapping", 7, "A"))
    write_csv(folder / "meta" / "esc50.csv", *rows)
    return written


def test_esc_mixes_two_categories_of_one_fold_at_0_db(tmp_path: Path) -> None:
    written = esc_folder(tmp_path)
    items = load_items("esc50", tmp_path, settings={"subset": "esc10"})
    assert len(items.ids) == 8
    actual: dict[str, list[float]] = {"1": [], "2": []}
    for index, item_id in enumerate(items.ids):
        item = items.render(index)
        fold, _, stem = item_id.partition("/")
        target = written[f"{stem}.wav"]
        power = (target**2).mean()
        assert item.target == pytest.approx(target, abs=1e-6)
        gains = [item.rest[0] / other[0] for other in written.values()]
        names = [
            name
            for name, gain in zip(written, gains, strict=True)
            if np.allclose(item.rest, gain * written[name], atol=1e-6)
        ]
        assert len(names) == 1
        assert names[0][0] == fold
        other = written[names[0]]
        assert {item.label, *item.others} == {"dog", "sea_waves"}
        mixture = target + other * np.sqrt(power / (other**2).mean())
        actual[fold].append(scored(target, mixture, item.query)[0])
    figures = run(items, tmp_path / "out").published
    means = {fold: np.mean(values) for fold, values in actual.items()}
    assert figures["SDRi, fold 1"] == pytest.approx(means["1"], abs=CLOSE)
    assert figures["SDRi"] == pytest.approx((means["1"] + means["2"]) / 2, abs=CLOSE)


def test_a_row_of_esc_that_was_cut_short_is_refused_in_one_line(tmp_path: Path) -> None:
    esc_folder(tmp_path)
    with (tmp_path / "meta" / "esc50.csv").open("a") as file:
        file.write("5-1-A-0.wav,5\n")
    with pytest.raises(ValueError, match=r"esc50\.csv, row \d+: 2 cells, expected 7$"):
        load_items("esc50", tmp_path)


def test_esc_folds_have_the_same_items_alone_and_together(tmp_path: Path) -> None:
    esc_folder(tmp_path)
    whole = load_items("esc50", tmp_path)
    second = load_items("esc50", tmp_path, settings={"fold": "2"})
    assert second.ids == whole.ids[6:]
    assert second.item_queries == whole.item_queries[6:]
    assert np.array_equal(second.render(3).mixture, whole.render(9).mixture)
