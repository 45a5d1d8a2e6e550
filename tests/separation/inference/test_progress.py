"""Progress reporting: nested parts, and a separator that reports within a chunk."""

from pathlib import Path

import pytest
from command import record
from tiny import StubEncoder, tiny_separator
from tiny_settings import RATE

from qsep.queries.interface import TextQuery
from qsep.separation.api import Model, separate_file
from qsep.separation.inference.progress import part, report, reporting_to


def test_reports_within_nested_parts_arrive_scaled() -> None:
    reported: list[float] = []
    report(0.3)  # no callback
    with reporting_to(reported.append):
        report(1.0)
        with part(2.0, 8.0):
            report(0.5)
            with part(0.25, 0.5):
                report(0.5)
            report(1.0)
        report(11.0)
    with part(5.0, 1.0):
        report(0.5)
    assert reported == [1.0, 6.0, 6.0, 10.0, 11.0]


@pytest.mark.parametrize("exact", [False, True])
def test_flowsep_reports_progress_within_a_chunk(exact: bool, tmp_path: Path) -> None:
    separator = tiny_separator("flowsep", exact=exact)
    model = Model(separator, StubEncoder(), "tiny")
    num_samples = round(6.5 * separator.window_samples)  # all in one chunk
    path = record(tmp_path / "in.wav", num_samples, RATE)
    reported: list[tuple[float, float]] = []
    separate_file(
        model, path, [TextQuery("rain")], tmp_path, progress=lambda *places: reported.append(places)
    )
    seconds = [done for done, _ in reported]
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(num_samples / RATE)
    assert len(set(seconds)) >= 6  # windows
    assert {whole for _, whole in reported} == {num_samples / RATE}
