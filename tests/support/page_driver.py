"""The page of `qsep serve` in headless Chromium, driven by selenium; the server in its own process."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SECONDS = 180.0  # maximum wait, since the machine may be busy
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--mute-audio"),
    # A microphone that beeps, and leave to use it.
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)


@contextlib.contextmanager
def served(*options: str) -> Iterator[str]:
    """The URL of `qsep serve` with these options on a free port; the process is ended afterwards."""
    command = [sys.executable, "-m", "qsep.recipes", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        first = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", first)
        assert address, first
        yield address[0]
    finally:
        process.terminate()
        process.wait(60)


class PageDriver:
    """A page at a width in pixels. downloads: the folder for what is downloaded."""

    def __init__(self, url: str, downloads: Path, width: int = 1100, height: int = 1400) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        assert CHROMIUM
        options.binary_location = CHROMIUM
        for option in OPTIONS:
            options.add_argument(option)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_page_load_timeout(SECONDS)
        self.driver.set_script_timeout(SECONDS)
        self.resize(width, height)
        self.driver.get(url)
        self.wait(lambda: self.all("#separate"))

    def resize(self, width: int, height: int) -> None:
        """Set the page's own size, also below the minimum of a window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def wait(self, condition: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = [StaleElementReferenceException]
        return WebDriverWait(self.driver, SECONDS, 0.1, ignored).until(lambda driver: condition())

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements("css selector", css)

    def one(self, css: str) -> Any:
        return self.wait(lambda: self.all(css))[0]

    def button(self, words: str) -> Any:
        xpath = f"//button[contains(normalize-space(.), '{words}')]"
        return self.wait(lambda: self.driver.find_elements("xpath", xpath))[0]

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def upload(self, path: Path) -> None:
        """Choose a file as a user does, after removing the present recording."""
        if clear := self.all("button[aria-label='Clear']"):
            clear[0].click()
            self.wait(lambda: not self.all("#spectrogram img"))
        self.one("input[type=file]").send_keys(str(path))

    def write(self, css: str, text: str) -> None:
        field = self.one(css)
        field.clear()
        field.send_keys(text)

    def status(self) -> str:
        return str(self.one("#status").text)

    def wait_for_status(self, words: str) -> str:
        self.wait(lambda: words in self.status())
        return self.status()

    def names(self) -> list[tuple[str, str]]:
        """Role and accessible name of all controls, as a screen reader gets them."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in OPERABLE
        ]

    def focused(self) -> str:
        """The beginning of the name of the control that has the keyboard."""
        return str(self.run(f"return {FOCUSED}"))

    def tab_to(self, name: str, most: int = 60) -> None:
        """As a person without a mouse gets to a control."""
        from selenium.webdriver.common.keys import Keys

        passed = []
        while not (now := self.focused()).startswith(name):
            passed.append(now)
            assert len(passed) <= most, f"{name} is not among {passed}"
            self.driver.switch_to.active_element.send_keys(Keys.TAB)

    def press(self, key: str) -> None:
        self.driver.switch_to.active_element.send_keys(key)

    def requests(self) -> list[str]:
        """URLs of everything that the page requested since the last call."""
        messages = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        return [
            each["message"]["params"]["request"]["url"]
            for each in messages
            if each["message"]["method"] == "Network.requestWillBeSent"
        ]

    def shoot(self, path: Path) -> None:
        """A picture of the whole page."""
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return window.innerWidth")
        self.resize(width, height)
        self.driver.save_screenshot(str(path))


FOCUSED = """(element =>
    element.ariaLabel || element.labels?.[0]?.innerText || element.innerText || ""
)(document.activeElement).trim()"""
OPERABLE = {
    *("button", "checkbox", "combobox", "link", "searchbox", "slider", "spinbutton", "switch"),
    *("tab", "textbox"),
}
