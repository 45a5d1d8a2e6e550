"""qsep.evaluation.report: comparison, tables, write and plots, against values worked out by hand."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from items_in_memory import Items, Scaled

from qsep.evaluation.interface import Item
from qsep.evaluation.metrics.statistics import Statistics
from qsep.evaluation.report.comparison import (
    Run,
    by_label,
    by_num_sources,
    by_snr_db,
    difference,
    groups,
    read_runs,
)
from qsep.evaluation.report.plots import histogram, interval_plot
from qsep.evaluation.report.spectrogram import COLUMNS, ROWS, level_db, png
from qsep.evaluation.report.tables import NAMES, SCORE_TABLES, group_table, score_tables
from qsep.evaluation.report.write import CSV_COLUMNS, write_report
from qsep.evaluation.run import evaluate
from qsep.evaluation.scores import METRICS


class PerItem(Scaled):
    """target + rest times an error for each item, so that each has the SDR -20 log10(error)."""

    def __init__(self, name: str, sdrs_db: dict[str, float]) -> None:
        super().__init__(name=name, fingerprint=name)
        self.sdrs_db = sdrs_db

    def __call__(self, item: Item) -> np.ndarray:
        return item.target + 10 ** (-self.sdrs_db[item.id] / 20) * item.rest


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    good = PerItem("good", {"one": 21.0, "two": 12.0, "three": 15.0})
    poor = PerItem("poor", {"one": 20.0, "two": 10.0, "three": 18.0})
    evaluate(good, Items(), tmp_path / "good", baselines=True)
    evaluate(poor, Items(), tmp_path / "poor")
    return read_runs([tmp_path / "good", tmp_path / "poor"])


def test_differences_are_taken_item_by_item(runs: list[Run]) -> None:
    good, poor = runs
    actual = difference(good, poor, "si_sdr_i")
    assert actual is not None
    # 1, 2 and -3 dB; 1e-4: float32 tones
    assert (actual.values.count, actual.num_better) == (3, 2)
    assert actual.values.mean == pytest.approx(0.0, abs=1e-4)
    assert actual.values.median == pytest.approx(1.0, abs=1e-4)
    assert actual.values.low == pytest.approx(-3.0, abs=1e-4)
    assert actual.values.high == pytest.approx(2.0, abs=1e-4)
    assert actual.verdict == "no difference shown"


def test_one_item_shows_no_difference(runs: list[Run]) -> None:
    good, poor = (replace(run, rows=run.rows[:1]) for run in runs)
    actual = difference(good, poor, "si_sdr_i")
    assert actual is not None
    assert (actual.values.count, actual.num_better) == (1, 1)
    assert actual.verdict == "no difference shown"


@pytest.mark.parametrize(
    ("metric", "first_db", "better"),
    [("si_sdr_i", 11.0, "first"), ("si_sdr_i", 9.0, "second"), ("lsd_db", 11.0, "first")],
)
def test_the_verdict_names_the_better_run(
    tmp_path: Path, metric: str, first_db: float, better: str
) -> None:
    for name, value in (("first", first_db), ("second", 10.0)):
        evaluate(PerItem(name, dict.fromkeys(Items().ids, value)), Items(), tmp_path / name)
    first, second = read_runs([tmp_path / "first", tmp_path / "second"])
    actual = difference(first, second, metric)
    assert actual is not None
    assert actual.verdict == f"{better} is better"
    assert actual.num_better == (3 if better == "first" else 0)


def test_runs_of_other_mixtures_have_no_difference(tmp_path: Path, runs: list[Run]) -> None:
    evaluate(Scaled(), Items(manifest_sha256="other"), tmp_path / "other")
    (other,) = read_runs([tmp_path / "other"])
    assert difference(runs[0], other, "si_sdr_i") is None


def test_runs_of_one_model_are_distinguished_by_folder(tmp_path: Path) -> None:
    for name in ("plain", "again"):
        evaluate(Scaled(), Items(), tmp_path / name)
    runs = read_runs([tmp_path / "plain", tmp_path / "again"])
    assert [run.name for run in runs] == ["scaled, plain", "scaled, again"]


def test_items_are_grouped_by_label_level_and_number(runs: list[Run]) -> None:
    by_name = {name: values.count for name, values in groups(runs[0], "sdr", by_label).items()}
    assert by_name == {"a": 1, "b": 2}
    assert list(groups(runs[0], "sdr", by_snr_db)) == [0]  # tones of equal energy
    assert groups(runs[0], "sdr", by_num_sources) == {}  # these items do not say


@pytest.mark.parametrize("missing", ["summary.json", "items.csv"])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, missing: str) -> None:
    evaluate(Scaled(), Items(), tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(ValueError, match="run is not a folder that `qsep evaluate` wrote"):
        read_runs([tmp_path / "run"])


def test_a_summary_of_an_older_version_is_refused(tmp_path: Path) -> None:
    evaluate(Scaled(), Items(), tmp_path)
    path = tmp_path / "summary.json"
    content = json.loads(path.read_text())
    del content["num_silent"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="it lacks num_silent; evaluate anew"):
        read_runs([tmp_path])


def test_markdown_has_scores_baselines_differences_and_labels(
    tmp_path: Path, runs: list[Run]
) -> None:
    write_report(runs, tmp_path / "r.md")
    lines = (tmp_path / "r.md").read_text().splitlines()
    assert "| run | items of | n | SI-SDR [dB] | SI-SDRi [dB] |" in lines[2]
    assert lines[3].startswith("| --- | --- | ---: | ---: |")
    assert lines[4].startswith("| good | custom manifest (plain) | 3 | 16.00 [12.00, 21.00] |")
    assert lines[5].startswith("| unprocessed mixture | custom manifest (plain) | 3 | 0.00 ")
    assert "| good | poor | SI-SDRi [dB] | 3 | 0.00 [-3.00, 2.00] | 1.00 | 67 |" in "\n".join(lines)
    assert "| a | 1 | 12.00 | 10.00 |" in lines


def test_every_metric_is_in_one_score_table() -> None:
    listed = [metric for metrics in SCORE_TABLES.values() for metric in metrics]
    assert sorted(listed) == sorted(METRICS) == sorted(NAMES)


def test_a_baseline_of_the_same_items_is_listed_once(tmp_path: Path, runs: list[Run]) -> None:
    evaluate(
        PerItem("again", dict.fromkeys(Items().ids, 9.0)),
        Items(),
        tmp_path / "again",
        baselines=True,
    )
    evaluate("irm", Items(), tmp_path / "irm", baselines=True)
    more = [*runs, *read_runs([tmp_path / "again", tmp_path / "irm"])]
    names = [row[0].text for row in score_tables(more)[0].rows]
    masks = ["ideal binary mask", "ideal ratio mask", "ideal phase-sensitive mask"]
    assert names == ["good", "unprocessed mixture", *masks, "poor", "again", "irm"]


def test_labels_are_counted_for_each_condition(tmp_path: Path, runs: list[Run]) -> None:
    fewer = Items(condition="harder", ids=("one", "two"), fingerprint="two tones")
    evaluate(Scaled(), fewer, tmp_path / "harder")
    table = group_table([*runs, *read_runs([tmp_path / "harder"])], "sdr", "label")
    counts = ("n, custom manifest (plain)", "n, custom manifest (harder)")
    assert table.header == ("label", counts[0], "good", "poor", counts[1], "scaled")
    assert [[row[i].text for i in (0, 1, 4)] for row in table.rows] == [
        ["a", "1", "1"],
        ["b", "2", "1"],
    ]


def test_csv_has_every_statistic(tmp_path: Path, runs: list[Run]) -> None:
    write_report(runs, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = {
            (row["run"], row["group_by"], row["group"], row["metric"]): row
            for row in csv.DictReader(file)
        }
    assert list(next(iter(rows.values()))) == list(CSV_COLUMNS)
    assert float(rows["good", "", "", "sdr"]["mean"]) == pytest.approx(16.0, abs=1e-4)
    assert float(rows["good", "baseline", "mixture", "sdr_i"]["mean"]) == 0
    assert float(rows["poor", "label", "b", "si_sdr_i"]["mean"]) == pytest.approx(19.0, abs=1e-4)
    assert rows["poor", "snr_db", "0", "si_sdr_i"]["count"] == "3"
    minus = rows["good", "minus", "poor (plain)", "si_sdr_i"]
    assert float(minus["median"]) == pytest.approx(1.0, abs=1e-4)


def test_a_report_of_another_kind_is_refused(tmp_path: Path, runs: list[Run]) -> None:
    with pytest.raises(ValueError, match=r"r\.pdf: a report is a file \.html, \.md or \.csv"):
        write_report(runs, tmp_path / "r.pdf")


def elements(svg: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(tag))


def test_dots_and_lines_match_the_axis() -> None:
    values = Statistics(5, 4.0, 4.5, -2.0, 9.0)
    one = Statistics(1, 0, 0, None, None)
    svg = interval_plot({"a <b>": [values, None], "c": [None, one]}, "dB")
    ticks = {
        float(text.text or ""): float(text.attrib["x"])
        for text in elements(svg, "text")
        if text.attrib["text-anchor"] == "middle" and text.text != "dB"
    }
    unit = (ticks[8] - ticks[-2]) / 10
    first, second = elements(svg, "circle")
    # 0.1: positions are written with one digit
    assert float(first.attrib["cx"]) == pytest.approx(ticks[0] + 4 * unit, abs=0.1)
    assert float(second.attrib["cx"]) == pytest.approx(ticks[0], abs=0.1)
    assert second.attrib["cy"] > first.attrib["cy"]
    line = elements(svg, "g")[0].find("line")
    assert line is not None
    ends = [float(line.attrib[end]) for end in ("x1", "x2")]
    assert ends == pytest.approx([ticks[0] - 2 * unit, ticks[0] + 9 * unit], abs=0.1)
    assert [group.attrib["class"] for group in elements(svg, "g")] == ["run0", "run1"]


def test_histogram_bars_are_as_high_as_their_counts() -> None:
    svg = histogram([[0.0, 0.1, 10.0], [10.0] * 6], "dB")
    assert "6 items" in {text.text for text in elements(svg, "text")}
    heights = []
    for path in elements(svg, "path"):
        corners = path.attrib["d"].split("V")
        bottom = float(corners[0].split()[1])
        heights.append([bottom - float(corner.split("H")[0]) for corner in corners[1:-1]])
    assert heights[0] == pytest.approx([60, *[0] * 22, 30])  # 180 pixels are 6 items
    assert heights[1] == pytest.approx([0] * 23 + [180])


def test_a_histogram_of_one_value_is_drawn() -> None:
    assert elements(histogram([[3.0, 3.0]], "dB"), "path")


def test_a_tone_is_a_line_at_its_frequency_in_the_spectrogram(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow reads the picture")
    hz, rate = 1000.0, 16000
    levels = level_db(0.5 * np.sin(2 * np.pi * hz * np.arange(8000) / rate), rate)
    (tmp_path / "tone.png").write_bytes(png(levels, float(levels.max())))
    with image.open(tmp_path / "tone.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape == (ROWS, COLUMNS)
    mel, top = (2595 * np.log10(1 + f / 700) for f in (hz, rate / 2))
    brightest = pixels[:, 100:200].argmax(axis=0)
    # rows run from the top of the scale down; a bin of 7.8 Hz may fall to either side
    assert np.abs(brightest - (ROWS - 1 - int(ROWS * mel / top))).max() <= 1
    assert pixels[5, 100:200].max() < 30


def test_a_single_sample_and_silence_have_spectrograms() -> None:
    for waveform in (np.ones(1), np.zeros(5)):
        assert level_db(waveform, 8000).shape == (ROWS, COLUMNS)
