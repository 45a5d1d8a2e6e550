"""qsep.evaluation.workers within a run: scores do not depend on their number, and no item is lost."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from command import content, names
from items_in_memory import Items, ManyItems, Scaled, WordModel, rows_of

from qsep.evaluation.interface import Item
from qsep.evaluation.run import evaluate


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_workers_changes_no_byte(tmp_path: Path, workers: int) -> None:
    one, many = tmp_path / "1", tmp_path / "many"
    for folder, number in ((one, 1), (many, workers)):
        model = WordModel(filtered=True)
        evaluate(model, ManyItems(), folder, workers=number, baselines=True, keep_audio=3)
    assert "bad3" in json.loads((one / "summary.json").read_text())["failed"]
    assert content(one) == content(many)
    assert len(names(one / "audio")) == 3 * 6 + 1


def test_items_are_scored_at_the_same_time(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=20)

    class Meeting(Scaled):
        def __call__(self, item: Item) -> np.ndarray:
            together.wait()  # fails unless all three run at once
            return super().__call__(item)

    assert evaluate(Meeting(), Items(), tmp_path, workers=3).num_failed == 0


def test_an_item_is_scored_by_one_torch_thread(tmp_path: Path) -> None:
    counts = []

    class Counting(Scaled):
        def __call__(self, item: Item) -> np.ndarray:
            counts.append(torch.get_num_threads())
            return super().__call__(item)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        evaluate(Counting(), Items(), tmp_path, workers=2)
        assert (counts, torch.get_num_threads()) == ([1, 1, 1], 3)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interruption_keeps_what_was_scored(tmp_path: Path, workers: int) -> None:
    class Interrupted(Scaled):
        def __call__(self, item: Item) -> np.ndarray:
            if len(self.seen) == 7:
                raise KeyboardInterrupt
            return super().__call__(item)

    first, second = Interrupted(), Scaled()
    with pytest.raises(KeyboardInterrupt):
        evaluate(first, ManyItems(), tmp_path / "cut", workers=workers)
    kept = {row[0] for row in rows_of(tmp_path / "cut")[1:]}
    # The items that another worker is at when one is stopped may get lost.
    assert 7 - workers <= len(kept) <= 7 + workers
    evaluate(second, ManyItems(), tmp_path / "cut", workers=workers)
    assert kept.isdisjoint(second.seen)
    evaluate(Scaled(), ManyItems(), tmp_path / "whole")
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_progress_on_a_terminal_counts_items_and_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    evaluate(Scaled(fails_on="two"), Items(), tmp_path)
    shown = capsys.readouterr().err.split("\r")
    assert shown[1].startswith("1/3 items, ")
    assert shown[3].startswith("3/3 items, 1 failed, 0 s left")
