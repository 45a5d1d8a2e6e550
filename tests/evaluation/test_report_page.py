"""The HTML report of two runs in a real headless Chromium: it opens, plays and sorts."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Page, find_browser
from items_in_memory import ManyItems, Scaled

from qsep.evaluation.interface import Item
from qsep.evaluation.report.comparison import read_runs
from qsep.evaluation.report.write import write_report
from qsep.evaluation.run import evaluate

BROWSER = find_browser()
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")


class Louder(Scaled):
    """Worse with every item, so that the best and the worst are known."""

    def __call__(self, item: Item) -> np.ndarray:
        return item.target + self.error * (1 + int(item.id.removeprefix("item"))) * item.rest


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    louder = Louder(error=0.01, name="<first>")
    evaluate(louder, ManyItems(), folder / "first", baselines=True, keep_audio=2)
    evaluate(Scaled(error=0.5, name="second"), ManyItems(), folder / "second")
    write_report(read_runs([folder / "first", folder / "second"]), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert BROWSER
    page = Page(BROWSER, tmp_path_factory.mktemp("profile"), report.as_uri())
    yield page
    page.close()


def test_the_page_names_no_other_file_and_no_address(report: Path) -> None:
    text = report.read_text()
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert "<first>" not in text
    assert "&lt;first&gt;" in text


@needs_browser
def test_the_page_opens_without_an_error_or_a_request(page: Page) -> None:
    assert page.run("document.querySelectorAll('svg').length") == 2  # labels, histogram
    bad = {"Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed"}
    assert [event for event in page.events if event[0] in bad] == []
    urls = [
        params["request"]["url"]
        for method, params in page.events
        if method == "Network.requestWillBeSent"
    ]
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in urls) == 1


@needs_browser
def test_the_page_shows_the_best_and_the_worst_items(page: Page) -> None:
    shown = page.run("[...document.querySelectorAll('.item b')].map(b => b.innerText)")
    assert shown == ["item0", "item1", "item10", "item9"]
    pictures = (
        "[...document.querySelectorAll('.item img')].map(i => [i.naturalWidth, i.naturalHeight])"
    )
    assert page.run(pictures) == [[320, 128]] * 12


@needs_browser
def test_the_players_play_what_was_kept_one_at_a_time(page: Page) -> None:
    for index in (0, 4, 11):  # a mixture, a target, an estimate
        page.run(f"window.player = document.querySelectorAll('audio')[{index}]; player.play()")
        page.wait_for("player.currentTime > 0.05")
        playing = "[...document.querySelectorAll('audio')].map(a => +!a.paused && !a.ended)"
        assert sum(page.run(playing)) <= 1
    seconds = page.run("player.duration")
    assert seconds == pytest.approx((6000 + 977 * 9) / 16000, abs=1e-3)  # item 9 at 16 kHz


@needs_browser
def test_a_click_on_a_header_sorts_and_a_second_one_reverses_the_order(page: Page) -> None:
    column = """(text) => {
        const header = [...document.querySelectorAll('th')].find(h => h.innerText.startsWith(text));
        const rows = [...header.closest('table').tBodies[0].rows];
        return rows.map(row => row.cells[header.cellIndex].dataset.value);
    }"""
    click = """(text) => [...document.querySelectorAll('th button')]
        .find(b => b.innerText.startsWith(text)).click()"""
    before = page.run(f"({column})('SI-SDRi [dB]')")
    page.run(f"({click})('SI-SDRi [dB]')")
    down = [float(value) for value in page.run(f"({column})('SI-SDRi [dB]')")]
    assert down == sorted(map(float, before), reverse=True)
    assert [str(value) for value in down] != before
    page.run(f"({click})('SI-SDRi [dB]')")
    assert [float(value) for value in page.run(f"({column})('SI-SDRi [dB]')")] == down[::-1]
    marked = "document.querySelector('th[aria-sort]').ariaSort"
    assert page.run(marked) == "ascending"
    page.run(f"({click})('run')")
    names = page.run(f"({column})('run')")
    assert names == sorted(names, key=str.lower, reverse=True)
    # An empty cell stays at the end in either order.
    empty = "[...document.querySelectorAll('th')].find(h => h.innerText.startsWith('SA-SDR'))"
    page.run(f"{empty}.closest('table').tBodies[0].rows[0].cells[3].dataset.value = ''")
    for _ in range(2):
        page.run(f"({click})('SA-SDR')")
        filled = [value != "" for value in page.run(f"({column})('SA-SDR')")]
        assert filled == [True, False]


@needs_browser
@pytest.mark.parametrize("condition", ["plain", "of a harder kind"])
def test_no_table_is_wider_than_a_page_of_1200_pixels(tmp_path: Path, condition: str) -> None:
    """Five runs with all that is scored without an embedding, some of another condition."""
    names = (
        "irm",
        "sounds150",
        "sounds150 (hard masks, noise masks off)",
        "psm",
        "a-name-of-a-model",
    )
    for i, name in enumerate(names):
        items = ManyItems(condition=condition if i > 2 else "plain")
        evaluate(Louder(error=0.1 * i + 0.1, name=name), items, tmp_path / str(i), baselines=i != 1)
    write_report(read_runs([tmp_path / str(i) for i in range(5)]), tmp_path / "report.html")
    assert BROWSER
    page = Page(BROWSER, tmp_path / "profile", (tmp_path / "report.html").as_uri())
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=1200,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    widths = "[...document.querySelectorAll('.wide')].map(e => [e.scrollWidth, e.clientWidth])"
    for content, room in page.run(widths):
        assert content <= room
    assert page.run("document.documentElement.scrollWidth") <= 1200
    page.close()


def test_a_plot_of_one_value_or_one_group_is_left_out(tmp_path: Path) -> None:
    """The mixture improves nothing on any item; an equal error on every item leaves the labels alike."""
    evaluate("mixture", ManyItems(), tmp_path / "mixture")
    evaluate(Louder(error=0.01), ManyItems(), tmp_path / "louder")
    for name, titles in {
        "mixture": [],
        "louder": ["SI-SDRi [dB] by label", "SI-SDRi [dB] of the items"],
    }.items():
        write_report(read_runs([tmp_path / name]), tmp_path / f"{name}.html")
        page = (tmp_path / f"{name}.html").read_text()
        assert re.findall('<h2>([^<]*)</h2><div class="wide"><svg', page) == titles


@needs_browser
def test_the_page_fits_a_phones_screen(page: Page) -> None:
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=800,
        deviceScaleFactor=1,
        mobile=False,
    )
    assert page.run("document.documentElement.scrollWidth") <= 360
    page.call("Emulation.clearDeviceMetricsOverride")
