"""qsep.separation.published.download: each file once, complete and unchanged, or a one-line error."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants as hub_settings
import pytest
from local_hub import COMMIT, Fault, LocalHub, local_hub, use

from qsep.separation.published.download import (
    cache_folder,
    fetch,
    known_hash,
    local_copy,
)
from qsep.separation.published.registry import PublishedFile
from qsep.separation.published.transfer import DownloadError

WEIGHTS = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
HUB_PATH = "/somebody/model/resolve/main/weights/model.ckpt"
SPACE_PATH = "/spaces/somebody/demo/resolve/main/checkpoint/model.ckpt"
ZENODO_PATH = "/records/42/files/model,step=3.ckpt"
PLAIN_PATH = "/files/model.ckpt"
PLACES = ("hub", "space", "zenodo", "plain")


@pytest.fixture(name="hub")
def hub_of_four_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The same file at each kind of source; empty caches."""
    with local_hub() as hub:
        for path in (HUB_PATH, SPACE_PATH, ZENODO_PATH, PLAIN_PATH):
            hub.put(path, WEIGHTS)
        use(hub, tmp_path, monkeypatch)
        yield hub


def published(source: str, hub: LocalHub, sha256: str = "") -> tuple[PublishedFile, str]:
    """The file at a kind of source, and its path on the server."""
    if source == "hub":
        return PublishedFile(
            file="weights/model.ckpt", hub="somebody/model", sha256=sha256
        ), HUB_PATH
    if source == "space":
        file = PublishedFile(file="checkpoint/model.ckpt", space="somebody/demo", sha256=sha256)
        return file, SPACE_PATH
    if source == "zenodo":
        return PublishedFile(file="model,step=3.ckpt", zenodo=42, sha256=sha256), ZENODO_PATH
    return PublishedFile(url=f"{hub.address}{PLAIN_PATH}", sha256=sha256), PLAIN_PATH


def refusal(file: PublishedFile) -> str:
    with pytest.raises(DownloadError, match=r"\A[^\n]+\Z") as caught:
        fetch(file)
    return str(caught.value)


def left_behind(tmp_path: Path) -> list[Path]:
    """Incomplete files of weights other than those that the next attempt continues."""
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".part"]
    return [path for path in files if path.stat().st_size > 200 and path.read_bytes() != WEIGHTS]


@pytest.mark.parametrize("source", PLACES)
def test_a_file_is_fetched_once_and_its_hash_is_recorded(source: str, hub: LocalHub) -> None:
    file, path = published(source, hub)
    assert local_copy(file) is None
    assert known_hash(file) == ""
    actual = fetch(file)
    assert actual.read_bytes() == WEIGHTS
    assert actual.name == file.name
    assert fetch(file) == actual == local_copy(file)
    assert len(hub.gets(path)) == 1
    assert known_hash(file) == SHA256


def test_files_of_the_hub_lie_in_its_own_cache(hub: LocalHub, tmp_path: Path) -> None:
    actual = fetch(published("hub", hub)[0])
    expected = tmp_path / "hub" / "models--somebody--model" / "snapshots" / COMMIT
    assert actual == expected / "weights" / "model.ckpt"
    assert actual.resolve().name == SHA256


@pytest.mark.parametrize("source", PLACES)
def test_a_slow_server_does_not_time_out(source: str, hub: LocalHub) -> None:
    file, path = published(source, hub)
    hub.faults[path] = Fault(slow=7000)
    assert fetch(file).read_bytes() == WEIGHTS


@pytest.mark.parametrize("source", PLACES)
def test_a_dropped_download_resumes_where_it_broke(source: str, hub: LocalHub) -> None:
    file, path = published(source, hub, SHA256)
    hub.faults[path] = Fault(cut_after=30_000, times=2)
    assert fetch(file).read_bytes() == WEIGHTS
    starts = [item.range for item in hub.gets(path)]
    assert starts[0] is None
    assert all(start and int(start[6:].rstrip("-")) > 0 for start in starts[1:])
    twice = sum(item.sent for item in hub.gets(path)) - len(WEIGHTS)
    assert 0 <= twice < 2 * 4096


@pytest.mark.parametrize("source", PLACES)
def test_an_interrupted_download_resumes_at_the_next_attempt(
    source: str, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, path = published(source, hub, SHA256)
    hub.faults[path] = Fault(cut_after=40_000, times=1)

    def interrupt(seconds: float) -> None:  # while the library waits to try again
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(file)
    assert local_copy(file) is None
    (part,) = tmp_path.rglob("*.part")
    assert part.read_bytes() == WEIGHTS[: part.stat().st_size]
    have = part.stat().st_size
    assert 0 < have <= 40_000
    assert fetch(file).read_bytes() == WEIGHTS
    assert hub.gets(path)[-1].range == f"bytes={have}-"
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize("source", PLACES)
def test_without_range_requests_the_download_starts_over(source: str, hub: LocalHub) -> None:
    file, path = published(source, hub, SHA256)
    hub.faults[path] = Fault(cut_after=40_000, times=1, ranges=False)
    assert fetch(file).read_bytes() == WEIGHTS


@pytest.mark.parametrize("source", PLACES)
def test_a_connection_that_keeps_dropping_gives_one_line(
    source: str, hub: LocalHub, tmp_path: Path
) -> None:
    file, path = published(source, hub)
    hub.faults[path] = Fault(cut_after=0)
    message = refusal(file)
    assert message.startswith(f"{file.name}: cannot be fetched from {file.where} (")
    assert "it resumes where it stopped" in message
    assert local_copy(file) is None
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("source", PLACES)
def test_content_of_another_hash_is_refused_and_removed(
    source: str, hub: LocalHub, tmp_path: Path
) -> None:
    file, path = published(source, hub, SHA256)
    hub.faults[path] = Fault(content=WEIGHTS[::-1])
    wrong = hashlib.sha256(WEIGHTS[::-1]).hexdigest()
    message = refusal(file)
    assert message == (
        f"{file.name}: SHA-256 is {wrong[:12]}…, expected {SHA256[:12]}…; it was damaged or "
        "replaced: repeat this command"
    )
    assert local_copy(file) is None
    assert list(tmp_path.rglob("*.part")) == []
    assert left_behind(tmp_path) == []
    del hub.faults[path]
    assert fetch(file).read_bytes() == WEIGHTS


@pytest.mark.parametrize("source", PLACES)
def test_a_recorded_hash_holds_for_the_next_download(
    source: str, hub: LocalHub, tmp_path: Path
) -> None:
    file, path = published(source, hub)
    fetch(file)
    for folder in (tmp_path / "hub", tmp_path / "cache" / "downloads"):
        subprocess.run(["rm", "-rf", folder], check=True)
    hub.put(path, WEIGHTS[::-1])  # its authors replaced it
    message = refusal(file)
    assert "if its authors changed it, delete " in message
    assert local_copy(file) is None
    record = Path(message.partition("delete ")[2].removesuffix(" first"))
    record.unlink()
    assert fetch(file).read_bytes() == WEIGHTS[::-1]


@pytest.mark.parametrize("source", PLACES)
def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(source: str, hub: LocalHub) -> None:
    file, _ = published(source, hub, SHA256)
    fetch(file).resolve().write_bytes(WEIGHTS[:-1])
    assert "repeat this command" in refusal(file)
    assert fetch(file).read_bytes() == WEIGHTS


@pytest.mark.parametrize("source", PLACES)
@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "run 'hf auth login'"),
        (403, "request it at"),
        (404, "check the name at"),
        (429, "wait a few minutes"),
        (500, "repeat this command later"),
        (503, "repeat this command later"),
    ],
)
def test_each_refusal_of_a_server_is_one_line_with_its_remedy(
    status: int, remedy: str, source: str, hub: LocalHub, tmp_path: Path
) -> None:
    file, path = published(source, hub)
    hub.faults[path] = Fault(status=status)
    message = refusal(file)
    assert message.startswith(f"{file.name}: the server answers {status}; ")
    assert remedy in message
    assert list(tmp_path.rglob("*.part")) == []
    assert left_behind(tmp_path) == []


def test_a_gated_model_names_its_page(hub: LocalHub) -> None:
    file, path = published("hub", hub)
    hub.faults[path] = Fault(status=403, error_code="GatedRepo")
    assert "request it at https://huggingface.co/somebody/model, run" in refusal(file)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [("RepoNotFound", "nothing of this name, or it is private"), ("GatedRepo", "accept the terms")],
)
def test_a_wrong_name_on_the_hub_is_told_from_a_gated_model(
    code: str, remedy: str, hub: LocalHub
) -> None:
    """The hub answers 401 to both where nobody is logged in."""
    file, path = published("hub", hub)
    hub.faults[path] = Fault(status=401, error_code=code)
    message = refusal(file)
    assert remedy in message
    assert "'hf auth login'" in message
    assert "https://huggingface.co/somebody/model" in message


def test_the_token_is_sent_to_the_hub_alone(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(published("hub", hub)[0])
    assert {item.token for item in hub.seen} == {"Bearer hf_secret"}
    hub.seen.clear()
    monkeypatch.setattr(hub_settings, "ENDPOINT", "http://127.0.0.1:9")
    for source in ("zenodo", "plain"):
        fetch(published(source, hub)[0])
    assert {item.token for item in hub.seen} == {None}


@pytest.mark.parametrize("source", PLACES)
def test_offline_mode_is_reported_without_a_request(
    source: str, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = published("zenodo", hub)[0], published(source, hub)[0]
    fetch(here)
    hub.seen.clear()
    monkeypatch.setattr(hub_settings, "HF_HUB_OFFLINE", True)
    assert fetch(here).read_bytes() == WEIGHTS
    if source != "zenodo":
        assert "HF_HUB_OFFLINE forbids downloads" in refusal(there)
        if source == "hub":
            assert "where 'hf download somebody/model' was run" in refusal(there)
    assert hub.seen == []


def test_too_little_disk_space_is_reported_before_the_download(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    file, path = published("zenodo", hub)
    assert "make room, or set HF_HOME and QSEP_CACHE" in refusal(file)
    assert hub.gets(path) == []


def test_a_local_file_is_used_if_its_hash_matches(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "brought" / "deep").mkdir(parents=True)
    brought = tmp_path / "brought" / "deep" / "model.ckpt"
    brought.write_bytes(WEIGHTS)
    file, _ = published("hub", hub, SHA256)
    assert fetch(file, tmp_path / "brought") == brought
    brought.write_bytes(b"something else")
    with pytest.raises(DownloadError, match=r"expected"):
        fetch(file, tmp_path / "brought")
    assert brought.read_bytes() == b"something else"  # it is not ours to delete
    assert hub.seen == []


@pytest.mark.parametrize("source", ["hub", "zenodo"])
def test_four_processes_download_once(source: str, hub: LocalHub, tmp_path: Path) -> None:
    file, path = published(source, hub)
    hub.faults[path] = Fault(slow=2000)
    program = (
        "from qsep.separation.published.download import fetch\n"
        "from qsep.separation.published.registry import PublishedFile\n"
        f"print(fetch({file!r}))\n"
    )
    settings = {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ended = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * 4, ended
    (actual,) = {out.strip() for out, _ in ended}
    assert Path(actual).read_bytes() == WEIGHTS
    assert len(hub.gets(path)) == 1
    if source == "hub":
        assert Path(actual).is_relative_to(tmp_path / "home")
    assert cache_folder() == tmp_path / "cache"
