"""A run whose mixtures have every effect."""

from collections.abc import Callable
from pathlib import Path

import pytest
from training_run import differences, state_of

from qsep.queries.interface import QueryEmbedding
from qsep.recipes.training import loop

EFFECTS = {
    "device": {"source_probability": 0.3, "mixture_probability": 0.7},
    "room": {"probability": 0.7, "moving_probability": 0.5},
    "levels": {"rule": "snr", "max_peak": 0.9},
    "queries": {"template_probability": 0.3, "drop_probability": 0.5},
}


@pytest.mark.slow
def test_an_interrupted_run_with_workers_ends_as_one_without_either(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    whole = run(tmp_path / "whole", mix=EFFECTS)
    run(tmp_path / "parts", stop_after=3, mix=EFFECTS, num_workers=2)
    resumed = run(tmp_path / "parts", mix=EFFECTS, num_workers=1)
    assert differences(state_of(whole)["model"], state_of(resumed)["model"]) == []


TWO_CHANNELS = {
    "kind": "queried",
    "sample_rate": 8000,
    "num_channels": 2,
    "causal": True,
    "analysis": {"kind": "stft", "window_samples": 256},
    "backbone": {"kind": "tfgridnet", "num_blocks": 1, "channels": 8, "hidden_channels": 8},
    "head": {"kind": "spectrum"},
}


def test_a_separator_of_two_channels_is_trained_on_mixtures_at_two_microphones(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    array = {"array": {"num_microphones": 2}}
    before = run(tmp_path / "before", stop_after=0, mix=array, separator=TWO_CHANNELS)
    after = run(tmp_path / "after", mix=array, separator=TWO_CHANNELS)
    assert len(differences(state_of(before)["model"], state_of(after)["model"])) > 10
    assert (after / "model" / "config.json").exists()


@pytest.mark.parametrize("number", [1, 3])
def test_another_number_of_microphones_than_channels_is_refused(
    number: int, run: Callable[..., Path], tmp_path: Path
) -> None:
    expected = f"takes 2 channels and mix.array.num_microphones is {number}: make them equal"
    with pytest.raises(ValueError, match=expected):
        run(tmp_path / "run", mix={"array": {"num_microphones": number}}, separator=TWO_CHANNELS)


def test_queries_are_dropped_in_training(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(queries: QueryEmbedding, ids: list[str], probability: float) -> QueryEmbedding:
        seen.append((ids, probability))
        return queries

    monkeypatch.setattr(loop, "dropped", note)
    run(tmp_path / "run", stop_after=2, mix=EFFECTS)
    assert seen == [([f"0-{4 * step + n}" for n in range(4)], 0.5) for step in range(2)]
