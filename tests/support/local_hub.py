"""A server on 127.0.0.1 that imitates the Hugging Face hub, Zenodo and a plain file server.

`files` maps paths of URLs to content. Of the hub: /ORG/NAME/resolve/REVISION/FILE (spaces below /spaces),
/api/models/…, and what publishing needs. `faults` lists the faults of paths.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants as settings
import pytest

COMMIT = "c" * 40
LARGE = 2000  # bytes from which on the hub keeps a file in LFS


@dataclass
class Fault:
    """status: the answer instead of the file. cut_after: the connection drops after so many bytes of an
    answer, times: so often (-1 always). slow: pieces of so many bytes, each sent by itself.
    content: sent instead of what the headers tell of. ranges: whether Range is obeyed."""

    status: int = 0
    cut_after: int = -1
    times: int = -1
    slow: int = 0
    content: bytes | None = None
    ranges: bool = True
    error_code: str = ""


@dataclass
class Seen:
    method: str
    path: str
    range: str | None
    token: str | None
    sent: int = 0


@dataclass
class LocalHub:
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    commits: list[list[dict[str, Any]]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)
    address: str = ""

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content

    def put_model(self, repository: str, files: dict[str, bytes], revision: str = "main") -> None:
        """Serve the file under a revision and under the commit that the revision means."""
        for name, content in files.items():
            for point in {revision, COMMIT}:
                self.files[f"/{repository}/resolve/{point}/{name}"] = content

    def gets(self, path: str) -> list[Seen]:
        return [item for item in self.seen if (item.method, item.path) == ("GET", path)]

    def api(self, path: str) -> dict[str, Any] | None:
        """/api/models/ORG/NAME[/revision/REVISION]"""
        repository = "/".join(path.split("/")[3:5])
        start = f"/{repository}/resolve/{COMMIT}/"
        names = [key.removeprefix(start) for key in self.files if key.startswith(start)]
        if not names:
            return None
        siblings = [{"rfilename": name} for name in sorted(names)]
        return {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LocalHub

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def note(self, path: str) -> Seen:
        token = self.headers.get("Authorization")
        seen = Seen(self.command, path, self.headers.get("Range"), token)
        with self.hub.lock:
            self.hub.seen.append(seen)
        return seen

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        seen = self.note(path)
        fault = self.hub.faults.get(path, Fault())
        if path.startswith("/api/models/"):
            reply = self.hub.api(path)
            self.send_json(fault.status or (200 if reply else 404), reply or {})
        elif fault.status or path not in self.hub.files:
            headers = {"X-Error-Code": fault.error_code} if fault.error_code else {}
            self.send_json(fault.status or 404, {}, headers)
        else:
            self.send_file(path, fault, seen)

    def send_json(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, path: str, fault: Fault, seen: Seen) -> None:
        stated = self.hub.files[path]
        body = stated if fault.content is None else fault.content
        start = 0
        if seen.range and fault.ranges:
            start = int(seen.range.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        large = len(stated) >= LARGE
        digest = hashlib.sha256(stated) if large else hashlib.sha1(stated, usedforsecurity=False)
        self.send_header("ETag", f'"{digest.hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = fault.cut_after >= 0 and fault.times != 0
        end = min(len(body), start + fault.cut_after) if cuts else len(body)
        if cuts:
            fault.times -= 1
        step = fault.slow or 1 << 16
        for index in range(start, end, step):
            piece = body[index : min(index + step, end)]
            seen.sent += len(piece)  # counted before it is sent, since the client may end at once
            self.wfile.write(piece)
            self.wfile.flush()
        if end < len(body):
            self.close_connection = True
            self.connection.close()

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_PUT(self) -> None:
        path = urlsplit(self.path).path
        self.note(path)
        self.hub.files[path] = self.body()
        self.send_json(200, {})

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.note(path)
        body = self.body()
        fault = self.hub.faults.get(path, Fault())
        if fault.status:
            self.send_json(fault.status, {})
        elif path == "/api/repos/create":
            request = json.loads(body)
            owner = request.get("organization") or "me"
            self.send_json(200, {"url": f"{self.hub.address}/{owner}/{request['name']}"})
        elif path == "/api/validate-yaml":
            self.send_json(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            modes = [
                {
                    "path": item["path"],
                    "uploadMode": "lfs" if item["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for item in json.loads(body)["files"]
            ]
            self.send_json(200, {"files": modes})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                item
                | {
                    "actions": {
                        "upload": {"href": f"{self.hub.address}/lfs/{item['oid']}", "header": {}}
                    }
                }
                for item in json.loads(body)["objects"]
            ]
            self.send_json(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            self.hub.commits.append(lines)
            repository = path.removeprefix("/api/models/").partition("/commit/")[0]
            self.receive(repository, lines)
            url = f"{self.hub.address}/{repository}/commit/{COMMIT}"
            self.send_json(200, {"commitUrl": url, "commitOid": COMMIT})
        else:
            self.send_json(404, {})

    def receive(self, repository: str, lines: list[dict[str, Any]]) -> None:
        """A commit's files, as they can be fetched from now on."""
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.hub.put_model(repository, {value["path"]: base64.b64decode(value["content"])})
            elif line["key"] == "lfsFile":
                content = self.hub.files[f"/lfs/{value['oid']}"]
                self.hub.put_model(repository, {value["path"]: content})


def use(hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process use it as the hub and as Zenodo, with empty caches in `folder` and no waiting
    before another attempt."""
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(settings, "ENDPOINT", hub.address)
    monkeypatch.setattr(settings, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(settings, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(settings, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(settings, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(settings, "DOWNLOAD_CHUNK_SIZE", 4096)  # what a dropped connection loses
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("QSEP_CACHE", str(folder / "cache"))
    monkeypatch.setenv("QSEP_ZENODO", hub.address)


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """Runs while the block does."""
    hub = LocalHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    # by default shutdown waits for up to half a second
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
