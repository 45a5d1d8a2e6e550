"""The detector of sound events is read strictly, and anchors lie where USS cuts them.

That it computes what PANNs' own computes: test_resunet30_parity.py.
"""

from pathlib import Path

import pytest
import torch
from tiny import noise, tiny_tagger

from qsep.queries.networks.cnn14_events import PIECE_SAMPLES, activity, anchor_start, load_detector


def test_it_is_read_from_its_own_release_and_out_of_a_checkpoint_of_uss(tmp_path: Path) -> None:
    weights = tiny_tagger().state_dict()
    torch.save({"model": weights}, tmp_path / "own.pth")
    other = {key: value + 1 for key, value in weights.items()}
    both = {f"anchor_segment_detector.sed_model.{key}": value for key, value in weights.items()}
    both |= {f"query_net.base.{key}": value for key, value in other.items()}
    torch.save({"state_dict": both}, tmp_path / "uss.ckpt")
    for name in ("own.pth", "uss.ckpt"):
        state = load_detector(tmp_path / name).state_dict()
        assert all(torch.equal(state[key], weights[key]) for key in weights)
    torch.save({"model": weights | {"gru.weight": torch.ones(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"gru\.weight is not part of it"):
        load_detector(tmp_path / "other.pth")


@pytest.mark.parametrize("num_samples", [1, 10239, 44444, PIECE_SAMPLES + 10239])
def test_recordings_of_any_length_get_a_hundred_frames_a_second(num_samples: int) -> None:
    actual = activity(tiny_tagger(), noise(num_samples))
    assert actual.shape == (1 + num_samples // 320, 527)
    assert ((actual > 0) & (actual < 1)).all()


def test_long_recordings_are_analysed_in_segments_of_ten_seconds() -> None:
    waveform = noise(PIECE_SAMPLES + 64000, seed=2)
    actual = activity(tiny_tagger(), waveform)
    first = activity(tiny_tagger(), waveform[:PIECE_SAMPLES])
    second = activity(tiny_tagger(), waveform[PIECE_SAMPLES:])
    torch.testing.assert_close(actual, torch.cat([first[:-1], second]), atol=1e-7, rtol=0)


def curve(num_frames: int, *sure: range) -> torch.Tensor:
    probabilities = torch.full((num_frames,), 0.1)
    for frames in sure:
        probabilities[list(frames)] = 0.9
    return probabilities


@pytest.mark.parametrize(
    ("num_frames", "sure", "start"),
    [
        (1001, range(400, 601), 400),  # 201 frames around 500
        (1001, range(50), 0),  # clamped: the centre is never before 100
        (1001, range(951, 1001), 800),  # nor after 900
        (201, range(150, 201), 0),
        (90, range(80, 90), 0),
        (2501, range(2000, 2201), 2000),
    ],
)
def test_an_anchor_is_the_two_seconds_around_the_highest_mean(
    num_frames: int, sure: range, start: int
) -> None:
    assert anchor_start(curve(num_frames, sure)) == start


def test_a_long_event_is_preferred_to_a_short_one_as_sure() -> None:
    assert anchor_start(curve(1001, range(150, 200), range(500, 701))) == 500
