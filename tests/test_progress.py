"""What is said of progress, and what is heard of it."""

from pathlib import Path

import pytest
from command import record
from tiny import RATE, StubEncoder, tiny_separator

from qsep.queries.interface import TextQuery
from qsep.separation.api import Model
from qsep.separation.inference.progress import heard_by, part, say


def test_parts_of_parts_are_heard_as_places_in_the_whole() -> None:
    heard: list[float] = []
    say(0.3)  # to nobody
    with heard_by(heard.append):
        say(1.0)
        with part(2.0, 8.0):
            say(0.5)
            with part(0.25, 0.5):
                say(0.5)
            say(1.0)
        say(11.0)
    with part(5.0, 1.0):
        say(0.5)
    assert heard == [1.0, 6.0, 6.0, 10.0, 11.0]


@pytest.mark.parametrize("exact", [False, True])
def test_a_slow_separator_says_how_far_it_is_within_a_chunk(exact: bool, tmp_path: Path) -> None:
    separator = tiny_separator("flowsep", exact=exact)
    model = Model(separator, StubEncoder(), "tiny")
    num_samples = round(6.5 * separator.window_samples)  # all in one chunk
    path = record(tmp_path / "in.wav", num_samples, RATE)
    heard: list[tuple[float, float]] = []
    model.separate_file(
        path, [TextQuery("rain")], tmp_path, progress=lambda *places: heard.append(places)
    )
    seconds = [done for done, _ in heard]
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(num_samples / RATE)
    assert len(set(seconds)) >= 6  # windows
    assert {whole for _, whole in heard} == {num_samples / RATE}
