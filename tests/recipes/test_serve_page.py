"""The page of `qsep serve` in a real headless Chromium, and its interface for programs."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import record
from installed import needs
from page_driver import CHROMIUM, DRIVER, PageDriver, served
from repository import ROOT

from qsep.recipes.demo.make_scene import SCENE_FILE

pytestmark = [
    pytest.mark.slow,  # a server, a browser and several separations: two minutes
    needs("gradio", "pip install 'qsep[serve]'"),
]

SECONDS = 3.0
PLAYERS = "return [...document.querySelectorAll('audio')].map(player => player.ariaLabel)"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served("-m", "sounds150", "-m", "sounds21", "--max-megabytes", "1") as url:
        yield url


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first seconds of the demo's scene: a voice and a flute."""
    path = tmp_path_factory.mktemp("scene") / "street corner.wav"
    waveform, rate = soundfile.read(SCENE_FILE, dtype="int16")
    soundfile.write(path, waveform[: round(SECONDS * rate)], rate)
    return path


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def page(url: str, downloads: Path) -> Iterator[PageDriver]:
    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium and chromedriver on PATH")
    pytest.importorskip("selenium", reason="pip install selenium")
    driver = PageDriver(url, downloads)
    yield driver
    driver.driver.quit()


@pytest.fixture
def client(url: str) -> Any:
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(url, verbose=False)


def test_upload_query_listen_and_download(page: PageDriver, scene: Path, downloads: Path) -> None:
    page.upload(scene)
    page.one("#spectrogram img")
    page.write("#sounds textarea", "a flute\nthe voice")
    page.one("#separate").click()
    page.wait_for_status("Done: 2 sounds.")
    players = "return [...document.querySelectorAll('audio[src]')].map(a => a.duration || 0)"
    page.wait(lambda: len(page.run(players)) == 4 and all(page.run(players)))
    assert page.run(players) == pytest.approx([SECONDS] * 4, abs=1e-3)
    page.run("window.player = document.querySelector('audio[src]'); player.play()")
    page.wait(lambda: page.run("return player.currentTime > 0.05"))
    text = page.one("body").text
    assert "'a flute' is read as a flute playing" in text
    assert " dB of the recording: " in text
    page.button("Download all as a zip").click()
    archives = page.wait(lambda: list(downloads.glob("*.zip")))
    with zipfile.ZipFile(archives[0]) as packed:
        assert len([name for name in packed.namelist() if name.endswith(".wav")]) == 4
    pictures = "return [...document.querySelectorAll('img')].map(i => [i.alt, i.naturalWidth])"
    named = {alt: width for alt, width in page.run(pictures) if alt.startswith("Spectrogram of")}
    assert {"Spectrogram of Target: a flute", "Spectrogram of Rest without a flute"} <= set(named)
    assert set(named.values()) == {1280}


def test_a_recording_by_microphone_is_separated(page: PageDriver, url: str) -> None:
    page.driver.get(url)
    page.one("button[aria-label='Record audio']").click()
    page.button("Record").click()
    stop = page.button("Stop")
    page.wait(lambda: "\n0:01\n" in page.one("body").text)
    assert [role for role, name in page.names() if not name.strip()] == []
    stop.click()
    page.one("#spectrogram img")
    page.write("#sounds textarea", "an alarm clock")
    page.one("#separate").click()
    page.wait_for_status("Done: 1 sound.")
    page.wait(lambda: len(page.all("audio[src]")) == 2)
    page.driver.get(url)  # which takes files again


def test_two_clicks_on_the_spectrogram_are_a_span_that_is_drawn(
    page: PageDriver, scene: Path
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    page.upload(scene)
    picture = page.one("#spectrogram img")
    before = picture.get_attribute("src")
    value = "return document.querySelector('#span textarea, #span input').value"
    for share in (0.7, 0.3):
        offset = (share - 0.5) * picture.size["width"]
        chain = ActionChains(page.driver)
        chain.move_to_element_with_offset(picture, int(offset), 0).click().perform()
        page.wait(lambda: page.run(value).strip("-") and page.run(value).count("-") == 1)
        page.wait(lambda: page.one("#spectrogram img").get_attribute("src") != before)
    page.wait(lambda: not page.run(value).endswith("-"))
    start, end = map(float, page.run(value).split("-"))
    # Margins of 112 and 44 of 1280 pixels.
    expected = [SECONDS * (share * 1280 - 112) / (1280 - 112 - 44) for share in (0.3, 0.7)]
    assert [start, end] == pytest.approx(expected, abs=SECONDS / 100)
    page.button("Whole recording").click()
    page.wait(lambda: page.run(value) == "")


def test_everything_is_found_with_a_timeline(page: PageDriver, scene: Path) -> None:
    page.upload(scene)
    page.one("#spectrogram img")
    page.driver.find_element("xpath", "//button[@role='tab'][.='Find everything']").click()
    page.one("#find").click()
    page.wait_for_status("Done: ")
    page.wait(lambda: page.all("img[alt^='Timeline of the sounds']"))
    assert "probability 0." in page.one("body").text
    page.driver.find_element("xpath", "//button[@role='tab'][.='Ask for sounds']").click()


def test_wrong_files_and_queries_show_an_error_on_the_page(
    page: PageDriver, tmp_path: Path, scene: Path
) -> None:
    wrong = tmp_path / "notes.wav"
    wrong.write_text("no sound at all\n" * 100)
    page.upload(wrong)
    message = page.wait_for_status("notes.wav is not audio")
    assert "/" not in message.replace("WAV or FLAC", "")
    page.upload(scene)
    page.one("#spectrogram img")
    page.write("#sounds textarea", "   ")
    page.one("#separate").click()
    page.wait_for_status("say which sound to take out, as: a dog barking")
    assert page.all("#status [role=alert]")


def test_too_large_a_file_is_refused_with_a_message(page: PageDriver, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    soundfile.write(large, np.zeros(600_000), 44100)  # 1.2 MB
    page.upload(large)

    def refusal() -> str:
        text = str(page.one("body").text).lower()
        return text if "maximum" in text else ""

    assert page.wait(refusal)
    assert not page.all("#spectrogram img")


def test_the_page_loads_nothing_from_other_hosts(page: PageDriver, url: str) -> None:
    page.driver.get(url)
    page.wait(lambda: page.all("#separate"))
    urls = page.requests()
    assert len(urls) > 5
    assert [each for each in urls if not each.startswith((url, "data:", "blob:"))] == []


def test_everything_can_be_done_by_keyboard(page: PageDriver, url: str, downloads: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    page.driver.get(url)
    page.one("#separate")
    page.tab_to("Take the example")
    page.press(Keys.ENTER)
    page.one("#spectrogram img")
    page.tab_to("Sounds to take out")
    page.press(Keys.CONTROL + "a")
    page.press("a flute")
    page.tab_to("Only this time")
    page.press("1-4")
    page.tab_to("Separate")
    page.press(Keys.ENTER)
    page.wait_for_status("Done: 1 sound.")
    page.wait(lambda: len(page.all("audio[src]")) == 2)
    page.tab_to("Target: a flute")
    page.press(" ")
    page.wait(lambda: page.run("return document.activeElement.currentTime > 0.05"))
    page.tab_to("Download rest without a flute")
    page.press(Keys.ENTER)
    (rest,) = page.wait(lambda: list(downloads.glob("*a-flute.residual.wav")))
    whole, rate = soundfile.read(SCENE_FILE, dtype="int16")
    actual = soundfile.read(rest, dtype="int16")[0]
    assert np.array_equal(actual[4 * rate :], whole[4 * rate :])  # after the span
    assert not np.array_equal(actual, whole)


def test_every_control_has_a_name_of_its_own(page: PageDriver, scene: Path) -> None:
    page.upload(scene)
    page.one("#spectrogram img")
    page.write("#sounds textarea", "a flute\nthe voice")
    page.one("#separate").click()
    page.wait_for_status("Done: 2 sounds.")
    page.wait(lambda: len(page.all("audio[src]")) == 4)
    names = page.names()
    assert [role for role, name in names if not name.strip()] == []
    assert ("textbox", "Sounds to take out, one a line") in names
    assert ("button", "Separate") in names
    parts = ["a flute", "rest without a flute", "the voice", "rest without the voice"]
    saving = [name for role, name in names if name.startswith("Download")]
    assert saving == ["Download all as a zip", *(f"Download {part}" for part in parts)]
    players = [node for node in page.run(PLAYERS) if node != "Recording"]
    assert players == [
        *("Target: a flute", "Rest without a flute"),
        *("Target: the voice", "Rest without the voice"),
    ]


def test_the_page_fits_a_phones_screen(page: PageDriver) -> None:
    page.resize(390, 844)
    assert page.run("return document.documentElement.scrollWidth") <= 390
    page.resize(1100, 1400)


def test_the_python_client_separates_and_finds(client: Any, scene: Path) -> None:
    from gradio_client import handle_file

    assert client.predict(api_name="/models")["separate"] == ["sounds150", "sounds21"]
    answer = client.predict(
        recording=handle_file(scene), sounds=["a flute"], span="0.5-2", api_name="/separate"
    )
    (sound,) = answer["sounds"]
    target, rate = soundfile.read(sound["target"], dtype="int16")
    rest = soundfile.read(sound["rest"], dtype="int16")[0]
    assert np.array_equal(target + rest, soundfile.read(scene, dtype="int16")[0])
    assert not target[: round(0.5 * rate)].any()
    assert zipfile.is_zipfile(answer["zip"])
    actual = client.predict(recording=handle_file(scene), api_name="/find")
    assert {"human voices", "wind instruments"} <= {each["name"] for each in actual["sounds"]}


def test_the_python_client_gets_the_error_message(client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    short = record(tmp_path / "short.wav")
    for wrong, message in (
        ({"sounds": []}, "say which sound to take out, as: a dog barking"),
        (
            {"sounds": ["a dog"], "model": "other"},
            "no model 'other' here: choose sounds150 or sounds21",
        ),
    ):
        with pytest.raises(AppError) as raised:
            client.predict(recording=handle_file(short), api_name="/separate", **wrong)
        assert str(raised.value) == message


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the documentation's examples, where they are run."""
    waveform, rate = soundfile.read(SCENE_FILE, dtype="int16", always_2d=True)
    soundfile.write(tmp_path / "street.wav", waveform[: 6 * rate, :1], rate)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def documented(url: str, language: str, word: str) -> str:
    """The block of docs/serve.md in a language with a word in it, for the server that is running."""
    text = (ROOT / "docs" / "serve.md").read_text("utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if word in block]
    assert "http://127.0.0.1:7860" in block
    return str(block.replace("http://127.0.0.1:7860", url.rstrip("/")))


def test_the_documented_lines_of_curl_work(url: str, street: Path) -> None:
    if not shutil.which("curl") or not shutil.which("jq"):
        pytest.skip("no curl and jq on PATH")
    program = documented(url, "bash", "curl")
    subprocess.run(["bash", "-euo", "pipefail", "-c", program], check=True)
    assert soundfile.info("dog.wav").frames == soundfile.info("street.wav").frames


def test_the_documented_lines_of_python_work(url: str, street: Path) -> None:
    pytest.importorskip("gradio_client")
    names: dict[str, Any] = {}
    exec(documented(url, "python", "gradio_client"), names)
    dog, rain = names["answer"]["sounds"]
    assert (dog["name"], rain["name"]) == ("a dog barking", "rain")
    target = soundfile.read(rain["target"], dtype="int16")[0]
    assert len(target) == soundfile.info("street.wav").frames
    assert not target[: round(3.2 * 44100)].any()  # outside of the span
    assert names["found"]["timeline"]


def post(url: str, body: dict[str, Any]) -> str:
    """The event stream's end, of a call by HTTP alone."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url.replace('/v2', '')}/{event}", timeout=120) as stream:
        return str(stream.read().decode())


def test_by_http_no_other_file_of_the_machine_is_read(url: str, tmp_path: Path) -> None:
    secret = record(tmp_path / "secret.wav")
    for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
        body = {"recording": {"path": str(secret), **meta}, "sounds": ["a dog"]}
        ended = post(f"{url}gradio_api/call/v2/separate", body)
        assert "event: error" in ended
        assert "complete" not in ended
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{url}gradio_api/file={secret}", timeout=60)
    assert raised.value.code in (403, 404)


SERVING = (
    "import os, signal, sys\n"
    "from qsep.recipes.serve.server import Address, serving\n"
    "with serving(Address(port=0), {'sounds21': 'sounds21'}, ['sounds21'], 'cpu') as url:\n"
    "    print(len(os.listdir(sys.argv[1])))\n"
    "    sys.stdout.flush()\n"
    "    if sys.argv[2:]: os.kill(os.getpid(), signal.SIGKILL)\n"
)


def test_the_server_leaves_no_files_behind_nor_those_of_one_that_was_killed(tmp_path: Path) -> None:
    for killed in (["killed"], []):
        done = subprocess.run(
            [sys.executable, "-c", SERVING, str(tmp_path), *killed],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        assert done.stdout.strip() == "1", done.stderr
        (*left,) = tmp_path.iterdir()
        assert len(left) == len(killed)
        assert all(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in left)
