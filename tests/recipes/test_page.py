"""The page that `qsep models export --page` writes, in a real headless Chromium, offline."""

import base64
import functools
import http.server
import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from browser import Page, find_browser
from tiny import tiny_separator
from tiny_settings import RATE
from typer.testing import CliRunner

from qsep.queries.encoders import phrase_book
from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.recipes.cli.main import app
from qsep.recipes.page import onnxruntime_web
from qsep.recipes.page.write import STATIC, words_of, write_page
from qsep.separation.storage.checkpoint import describe, save_checkpoint

CLASSES = ("dog_bark", "rain", "violin", "engine", "cat_meow")  # in the order of the tiny network's


@pytest.fixture(scope="module")
def encoder() -> phrase_book.PhraseBook:
    config = phrase_book.Config(classes=CLASSES, phrases=("sounds150", "families"))
    return phrase_book.build(config)


@pytest.fixture(scope="module")
def checkpoint(encoder: phrase_book.PhraseBook, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    separator = tiny_separator("class_unet", classes=CLASSES)
    description = describe("class_unet", separator, "phrase_book", encoder, {"recipe": "tests"})
    save_checkpoint(folder, description, separator.state_dict(), "# A tiny model\n")
    return folder


def no_runtime(folder: Path, archive: Path | None) -> None:
    for name in onnxruntime_web.FILES:
        (folder / name).write_text("")


def test_words_of_the_page_are_those_of_the_book(encoder: phrase_book.PhraseBook) -> None:
    assert encoder.book
    words = words_of(encoder.book)
    assert words["labels"] == [*CLASSES, "other"]
    named = {entry["name"]: entry for entry in words["entries"]}
    for label, entry in encoder.book.families.items():
        members = [CLASSES[number] for number in named[entry.name]["members"]]
        assert members == list(entry.members), label
    rain = named[encoder.book.classes["rain"].name]
    assert rain["members"] == [1]
    assert "rain falling" in rain["phrases"]


def test_a_package_with_another_hash_is_refused(tmp_path: Path) -> None:
    (tmp_path / "package.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"not onnxruntime-web .* \(SHA-512"):
        onnxruntime_web.add_runtime(tmp_path, tmp_path / "package.tgz")
    with pytest.raises(ValueError, match=r"No such file"):
        onnxruntime_web.add_runtime(tmp_path, tmp_path / "missing.tgz")


def test_without_npm_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"npm is not installed: give --onnxruntime-web FILE"):
        onnxruntime_web.add_runtime(tmp_path)


def test_only_a_page_is_replaced(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.setattr("qsep.recipes.page.write.add_runtime", no_runtime)

    def export(model: str, path: Path) -> None:
        entry = onnx.StringStringEntryProto(
            key="qsep",
            value=json.dumps(
                {"sample_rate": 8, "stride_samples": 3, "context_samples": 4, "step_samples": 5}
            ),
        )
        path.write_bytes(onnx.ModelProto(metadata_props=[entry]).SerializeToString())

    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes\.txt"):
        write_page(str(checkpoint), tmp_path, export=export)
    for _ in range(2):
        write_page(str(checkpoint), tmp_path / "page", export=export)
    written = {path.name for path in (tmp_path / "page").iterdir()} - {".qsep.jsonl"}
    static = {path.name for path in STATIC.iterdir()}
    assert written == static | set(onnxruntime_web.FILES) | {"model.onnx", "model.json"}
    about = json.loads((tmp_path / "page" / "model.json").read_text("utf-8"))
    assert (about["name"], about["step_samples"]) == ("tiny", 5)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server of the page of a tiny model."""
    if find_browser() is None:
        pytest.skip("no Chromium is installed")
    archive = os.environ.get("QSEP_ONNXRUNTIME_WEB")
    if archive is None and shutil.which("npm") is None:
        pytest.skip("npm, which brings onnxruntime-web, is not installed")
    folder = tmp_path_factory.mktemp("served") / "page"
    try:
        write_page(str(checkpoint), folder, Path(archive) if archive else None)
    except ValueError as error:
        if "npm cannot fetch" in str(error):
            pytest.skip(f"no registry of npm packages: {error}")
        raise
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def page(address: str, tmp_path: Path) -> Iterator[Page]:
    browser = find_browser()
    assert browser
    opened = Page(browser, tmp_path / "profile", address)
    yield opened
    opened.close()


def choose(page: Page, path: Path) -> None:
    document = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def ask(page: Page, words: str) -> None:
    page.run(f"document.querySelector('#words').value = {json.dumps(words)}")
    page.run("document.querySelector('#separate').click()")


def samples(page: Page, player: str) -> tuple[np.ndarray, int]:
    """What a player plays, (c, t), and its rate."""
    data = page.run(
        f"fetch(document.querySelector('#{player}').src).then((found) => found.arrayBuffer())"
        ".then((content) => btoa(Array.from(new Uint8Array(content), (byte) => "
        "String.fromCharCode(byte)).join('')))"
    )
    waveform, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), always_2d=True)
    return waveform.T, rate


def text(page: Page, name: str) -> str:
    content: str = page.run(f"document.querySelector('#{name}').textContent")
    return content


@pytest.mark.slow
def test_a_recording_is_separated_as_by_torch_without_uploads(
    page: Page, address: str, encoder: phrase_book.PhraseBook, tmp_path: Path
) -> None:
    waveform = np.random.default_rng(6).uniform(-0.4, 0.4, (9 * RATE + 77, 2))
    soundfile.write(tmp_path / "street.wav", waveform, RATE, subtype="PCM_16")
    stored, _ = soundfile.read(tmp_path / "street.wav", always_2d=True, dtype="float32")
    page.wait_for("document.querySelector('#status').textContent === 'Ready.'", 120)
    assert page.run("document.querySelector('#separate').disabled")  # nothing to separate yet
    choose(page, tmp_path / "street.wav")
    page.wait_for("!document.querySelector('#separate').disabled")
    ask(page, "Everything but the rian")
    page.wait_for("!document.querySelector('#results').hidden", 120)
    assert encoder.book
    rain = encoder.book.classes["rain"].name
    assert text(page, "reading") == f"Read as: everything but {rain}"
    degrees = torch.tensor([[1.0, 0, 1, 1, 1, 1]])
    separator = tiny_separator("class_unet", classes=CLASSES)
    with torch.inference_mode():
        separated = separator.separate(
            torch.from_numpy(stored.T.copy())[None], QueryEmbedding(degrees[None])
        )
    for player, expected in (("target", separated.target), ("rest", separated.residual)):
        actual, rate = samples(page, player)
        assert rate == RATE
        # 1e-4: half precision of the stored checkpoint is exact, 16 bits round by 1.5e-5
        np.testing.assert_allclose(actual, expected[0, 0], atol=1e-4)
    assert page.run("document.querySelector('#target').duration") == pytest.approx(9 + 77 / RATE)
    assert page.run("document.querySelector('#target-file').download").startswith("street.")
    urls = [event["request"]["url"] for name, event in page.events if name.endswith("WillBeSent")]
    assert urls
    assert [url for url in urls if not url.startswith((address, "blob:", "data:"))] == []


@pytest.mark.slow
def test_words_are_read_as_by_the_command(page: Page, encoder: phrase_book.PhraseBook) -> None:
    assert encoder.book
    phrases, _ = encoder.book.phrases()
    known = [phrase for entry in encoder.book.classes.values() for phrase in entry.phrases[:4]]
    queries = [*known, "The Rain.", "a dog barking and rain falling", "everything but a violin"]
    actual = page.run(
        "Promise.all([import('./reading.js'), fetch('model.json').then((file) => file.json())])"
        f".then(([{{ Book }}, about]) => {{ const book = new Book(about); return {json.dumps(queries)}"
        ".map((words) => Array.from(book.read(words).degrees ?? [])) })"
    )
    for words, degrees in zip(queries, actual, strict=True):
        np.testing.assert_allclose(degrees, encoder.read(TextQuery(words)).degrees(), err_msg=words)
    edits = page.run(
        "import('./reading.js').then(({ edits }) => "
        "[['rain', 'rian'], ['violin', 'voilins'], ['', 'dog'], ['cat', 'cat']]"
        ".map(([first, second]) => edits(first, second)))"
    )
    assert edits == [1, 2, 3, 0]
    assert len(phrases) > len(known)


@pytest.mark.slow
def test_errors_are_shown_on_the_page(page: Page, tmp_path: Path) -> None:
    page.wait_for("document.querySelector('#status').textContent === 'Ready.'", 120)
    (tmp_path / "letter.txt").write_text("no sound")
    choose(page, tmp_path / "letter.txt")
    page.wait_for("document.querySelector('#status').classList.contains('error')")
    assert text(page, "status") == "letter.txt: this browser reads no sound in it"
    assert page.run("document.querySelector('#separate').disabled")
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    choose(page, tmp_path / "a.wav")
    page.wait_for("!document.querySelector('#separate').disabled")
    ask(page, "my tax return")
    assert "“my tax return” is not in the list of words" in text(page, "reading")
    ask(page, "a dog barking")
    page.wait_for("!document.querySelector('#results').hidden", 120)
    assert text(page, "level") == "silence: probably not there"
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def test_serve_static_writes_the_same_page_of_one_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written: list[tuple[str, Path]] = []
    monkeypatch.setattr(
        "qsep.recipes.page.write.write_page", lambda model, folder: written.append((model, folder))
    )
    runner = CliRunner()
    assert runner.invoke(app, ["serve", "--static", str(tmp_path / "page")]).exit_code == 0
    assert written == [("sounds150", tmp_path / "page")]
    two = runner.invoke(app, ["serve", "--static", str(tmp_path / "page"), "-m", "a", "-m", "b"])
    assert "give -m once" in str(two.exception)
    assert len(written) == 1
