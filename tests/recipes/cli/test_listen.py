"""`qsep listen`: its page in a real headless Chromium, and what it reads of the answers."""

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import Page, find_browser
from command import Run
from items_in_memory import ManyItems, Scaled

from qsep.evaluation.report.listening import read_pairs, write_listening_page
from qsep.evaluation.report.preferences import COLUMNS
from qsep.evaluation.run import evaluate

RATE, NUM_ITEMS = 8000, 6
BROWSER = find_browser()
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")
ROWS = re.compile(r'<section data-code="(\w+)" data-item="([^"]+)"')
SOUNDS = re.compile(r'src="data:audio/(?:flac|wav);base64,([^"]+)"')


def save(path: Path, level: float, seconds: float = 0.4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, level * np.sin(2 * np.pi * 440 * time), RATE, subtype="FLOAT")


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders good and bad: sounds of amplitude 0.1 and up, and 0.5 and up, so that they can be told."""
    folder = tmp_path_factory.mktemp("systems")
    for index in range(NUM_ITEMS):
        name = f"street {index}.a-dog-<b>.wav"
        save(folder / "good" / name, 0.1 + 0.01 * index)
        save(folder / "bad" / name, 0.5 + 0.01 * index)
        save(folder / "recordings" / f"street {index}.wav", 0.9)
        save(folder / "good" / f"street {index}.a-dog-<b>.residual.wav", 0.2)
    save(folder / "good" / "alone.wav", 0.1)
    return folder


def rows(page: Path) -> list[tuple[str, str]]:
    """Code and item of each row."""
    return ROWS.findall(page.read_text("utf-8"))


def sounds(page: Path) -> list[np.ndarray]:
    """What the players play, in their order, each (t,)."""
    encoded = SOUNDS.findall(page.read_text("utf-8"))
    return [soundfile.read(io.BytesIO(base64.b64decode(each)))[0] for each in encoded]


@pytest.fixture(scope="module")
def page_file(systems: Path) -> Path:
    pairs = read_pairs(systems / "good", systems / "bad", systems / "recordings")
    out = systems / "page.html"
    assert write_listening_page(pairs, out, 4, 3, "Which <one>?", 0.3) == []
    return out


def orders(page: Path, players: int = 3) -> list[str]:
    """Which plays first in each row, by what is heard."""
    heard = sounds(page)
    first = [heard[index + players - 2] for index in range(0, len(heard), players)]
    return ["A" if np.abs(sound).max() < 0.3 else "B" for sound in first]


def test_each_row_has_the_recording_and_both_sounds_of_its_item(page_file: Path) -> None:
    heard = sounds(page_file)
    listed = rows(page_file)
    assert len(listed) == 4
    assert len(heard) == 12
    assert {len(sound) for sound in heard} == {round(0.3 * RATE)}  # the beginning
    for row, (_, item) in enumerate(listed):
        index = int(item.removeprefix("street ")[0])
        recording, *both = (np.abs(sound).max() for sound in heard[3 * row : 3 * row + 3])
        assert recording == pytest.approx(0.9, abs=1e-3)
        # 1e-3: the peak of 440 Hz at 8 kHz, and 16 bits
        assert sorted(both) == pytest.approx([0.1 + 0.01 * index, 0.5 + 0.01 * index], abs=1e-3)


def test_the_order_is_drawn_by_the_seed_and_not_readable(
    systems: Path, page_file: Path, tmp_path: Path
) -> None:
    pairs = read_pairs(systems / "good", systems / "bad", systems / "recordings")
    again, other = tmp_path / "again.html", tmp_path / "other.html"
    write_listening_page(pairs, again, 4, 3, "Which <one>?", 0.3)
    assert again.read_text() == page_file.read_text()
    orders_of_seeds = set()
    for seed in range(8):
        write_listening_page(pairs, other, 4, seed, "?", 0.1)
        orders_of_seeds.add("".join(orders(other)))
    assert len(orders_of_seeds) > 4
    assert {letter for order in orders_of_seeds for letter in order} == {"A", "B"}
    text = page_file.read_text("utf-8")
    assert "good" not in text
    assert "bad" not in text.replace("base64", "")
    for (code, item), letter in zip(rows(page_file), orders(page_file), strict=True):
        item = item.replace("&lt;", "<").replace("&gt;", ">")
        assert code == pairs.code(item, letter) != pairs.code(item, "AB".replace(letter, ""))


def test_the_page_names_no_other_file_and_no_address(page_file: Path) -> None:
    text = SOUNDS.sub("", page_file.read_text("utf-8"))
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert "<one>" not in text
    assert "<b>" not in text
    assert "“a dog &lt;b&gt;”" in text


def write_answers(
    path: Path, pairs: Any, answers: dict[str, str], session: str = "s", **changes: str
) -> None:
    """answers: by item, "A", "B" or "same"; written as a page in which B is always first would."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for item, answer in answers.items():
            stored_answer = {"A": "second", "B": "first", "same": "same"}[answer]
            row = {"page": pairs.identity[:16], "session": session, "listener": "Ann"}
            row |= {"item": item, "code": pairs.code(item, "B"), "answer": stored_answer}
            writer.writerow(row | changes)


def test_answers_are_read_back_with_an_exact_interval(
    qsep: Run, systems: Path, tmp_path: Path
) -> None:
    good, bad = systems / "good", systems / "bad"
    pairs = read_pairs(good, bad)
    items = [pair.item for pair in pairs.pairs]
    write_answers(tmp_path / "1.csv", pairs, dict.fromkeys(items, "A"))
    mixed = dict(zip(items, ["A", "B", "same", "A", "A", "A"], strict=True))
    write_answers(tmp_path / "2.csv", pairs, mixed, session="t")
    done = qsep("listen", good, bad, "--answers", tmp_path)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[:3] == [
        f"A: {good}",
        f"B: {bad}",
        "12 answers of 2 listeners: A 10, B 1, no difference 1",
    ]
    # Clopper-Pearson of 10 in 11, as tables give it: 0.587 to 0.998
    assert lines[3] == (
        "A preferred in 90.9% of 11 decided, 95 % interval 58.7% to 99.8% (exact, binomial): "
        "A is preferred"
    )
    assert lines[5:] == [
        "  Ann: A 6, B 0, no difference 0",
        "  Ann: A 4, B 1, no difference 1",
    ]


def test_answers_to_another_page_or_twice_or_damaged_are_refused(
    qsep: Run, systems: Path, tmp_path: Path
) -> None:
    good, bad = systems / "good", systems / "bad"
    pairs = read_pairs(good, bad)
    (item,) = [pair.item for pair in pairs.pairs][:1]
    answers = tmp_path / "1.csv"
    write_answers(answers, pairs, {item: "A"})
    assert qsep("listen", good, bad, "--answers", answers).code == 0
    swapped = qsep("listen", bad, good, "--answers", answers).error
    assert "answers to a page of other sounds, or of A and B swapped" in swapped
    (tmp_path / "2.csv").write_bytes(answers.read_bytes())
    twice = qsep("listen", good, bad, "--answers", tmp_path).error
    assert f"an answer to {item} is in {answers} too" in twice
    write_answers(answers, pairs, {item: "A"}, answer="third")
    assert "1.csv, line 2: damaged" in qsep("listen", good, bad, "--answers", answers).error
    answers.write_text("id,score\n1,2\n")
    assert (
        "line 2: expected the columns page" in qsep("listen", good, bad, "--answers", answers).error
    )
    (tmp_path / "none").mkdir()
    missing = qsep("listen", good, bad, "--answers", tmp_path / "none").error
    assert "no CSV file of answers there" in missing


def test_the_command_writes_a_page_and_refuses_what_cannot_be_compared(
    qsep: Run, systems: Path, folder: Path
) -> None:
    good, bad = systems / "good", systems / "bad"
    done = qsep("listen", good, bad, "-n", 2)
    assert done.code == 0, done.err
    assert "1 items are only in A or only in B" in done.err
    assert len(rows(folder / "listen.html")) == 2
    assert "listen.html exists: add --overwrite" in qsep("listen", good, bad).error
    assert qsep("listen", good, bad, "--overwrite").code == 0
    assert len(rows(folder / "listen.html")) == NUM_ITEMS
    assert (
        "no file name in common"
        in qsep("listen", good, systems / "recordings", "-o", "a.html").error
    )
    assert "are the same folder" in qsep("listen", good, good, "-o", "a.html").error
    assert "is not a folder" in qsep("listen", good, "nowhere", "-o", "a.html").error
    assert "end the page's name in .html" in qsep("listen", good, bad, "-o", "a.txt").error
    for name in good.iterdir():
        save(folder / "longer" / name.name, 0.3, seconds=0.7)
    warned = qsep("listen", good, "longer", "-n", 1, "-o", "b.html")
    assert warned.code == 0
    assert "0.4 s in A, 0.7 s in B, which tells them apart" in warned.err


def test_runs_with_kept_audio_are_compared_item_by_item(qsep: Run, folder: Path) -> None:
    for name, error in (("one", 0.1), ("two", 0.3)):
        evaluate(Scaled(error=error, name=name), ManyItems(), folder / name, keep_audio=3)
    done = qsep("listen", "one", "two", "-o", "runs.html")
    assert done.code == 0, done.err
    kept = [
        json.loads((folder / name / "audio" / "audio.json").read_text()) for name in ("one", "two")
    ]
    assert {item for _, item in rows(folder / "runs.html")} == kept[0].keys() & kept[1].keys()
    assert len(sounds(folder / "runs.html")) == 3 * len(rows(folder / "runs.html"))
    evaluate(Scaled(error=0.2, name="bare"), ManyItems(), folder / "bare", keep_audio=0)
    assert (
        "kept no audio: evaluate with --keep-audio"
        in qsep("listen", "one", "bare", "-o", "a.html").error
    )


@pytest.fixture
def page(page_file: Path, tmp_path: Path) -> Iterator[Page]:
    assert BROWSER
    opened = Page(BROWSER, tmp_path / "profile", page_file.as_uri())
    yield opened
    opened.close()


@needs_browser
def test_a_listener_plays_answers_and_downloads_what_the_command_reads(
    page: Page, qsep: Run, systems: Path, page_file: Path, tmp_path: Path
) -> None:
    assert page.run("document.querySelector('#progress').textContent") == "0 of 4 answered"
    page.run("window.player = document.querySelectorAll('audio')[1]; player.play()")
    page.wait_for("player.currentTime > 0.05")
    page.run("window.next = document.querySelectorAll('audio')[2]; next.play()")
    page.wait_for("player.paused && next.currentTime > 0.05")
    # The listener likes the quieter one, which is A, in all rows but the last.
    chosen = ["first" if letter == "A" else "second" for letter in orders(page_file)]
    for number, value in enumerate(chosen[:3], start=1):
        page.run(f"document.querySelector('[name=answer{number}][value={value}]').click()")
    page.run("document.querySelector('[name=answer4][value=same]').click()")
    assert page.run("document.querySelector('#progress').textContent") == "4 of 4 answered"
    page.run("document.querySelector('#name').value = '=1+1'")
    downloads = tmp_path / "downloads"
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    page.run("document.querySelector('#download').click()")
    while not any(
        name == "Page.downloadProgress" and each["state"] == "completed"
        for name, each in page.events
    ):
        page.receive()
    (file,) = downloads.glob("answers-*.csv")
    assert "'=1+1" in file.read_text("utf-8")  # no formula for a spreadsheet
    done = qsep("listen", systems / "good", systems / "bad", "--answers", file)
    assert done.code == 0, done.err
    assert "4 answers of 1 listeners: A 3, B 0, no difference 1" in done.out
    bad = {"Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed"}
    assert [event for event in page.events if event[0] in bad] == []
    urls = [each["request"]["url"] for name, each in page.events if name.endswith("WillBeSent")]
    assert {url.partition(":")[0] for url in urls} <= {"file", "data", "blob"}
    page.call("Page.reload")
    page.wait_for("document.querySelector('#progress')?.textContent === '4 of 4 answered'")


@needs_browser
def test_a_screen_reader_gets_names_and_a_phone_no_sideways_scrolling(page: Page) -> None:
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=700,
        deviceScaleFactor=1,
        mobile=True,
    )
    page.wait_for("innerWidth === 360")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    small = (
        "[...document.querySelectorAll('label, button')].filter(e => e.offsetHeight < 44).length"
    )
    assert page.run(small) == 0
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in {"radio", "button", "textbox", "Audio", "group", "region"}
    ]
    assert sum(role == "radio" for role, _ in named) == 12
    assert all(name for role, name in named if role != "group")
    assert [name for role, name in named if role == "group"] == ["Which is better?"] * 4
