"""The files of onnxruntime-web that the page needs, from its npm package, which is checked by its hash."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

from qsep.separation.storage.temporary import scratch_folder

VERSION = "1.27.0"
SHA512 = "ogDLsqIozHZwifPuN37OproAo0byX6t43/bP8GzeZWBWD6MOGExswFAx3up4NS/vvWBOg2u2PXomDt3rMmdQSg=="
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")  # MIT; 13.5 MB
SECONDS = 600.0  # to wait for 31 MB


def add_runtime(folder: Path, archive: Path | None = None) -> None:
    """Put the files into the folder. archive: the package's file; without one, npm fetches it.

    Raises ValueError, in one line, if it is unavailable or has another hash.
    """
    if archive is not None:
        unpack(archive, folder)
        return
    with scratch_folder() as scratch:
        unpack(fetch(scratch), folder)


def fetch(folder: Path) -> Path:
    """The package's file, by npm."""
    wanted = f"onnxruntime-web@{VERSION}"
    by_hand = f"give --onnxruntime-web FILE, as 'npm pack {wanted}' makes it elsewhere"
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError(f"the page needs {wanted}, and npm is not installed: {by_hand}")
    try:
        done = subprocess.run(
            [npm, "pack", wanted, "--silent"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"npm has not fetched {wanted} in {SECONDS:g} s: {by_hand}") from None
    archives = list(folder.glob("*.tgz"))
    if done.returncode or not archives:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(f"npm cannot fetch {wanted} ({lines[-1]}): {by_hand}")
    return archives[0]


def unpack(archive: Path, folder: Path) -> None:
    """FILES of the package, whose hash must be SHA512."""
    try:
        content = archive.read_bytes()
    except OSError as error:
        raise ValueError(f"{archive}: {error.strerror}") from error
    actual = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if actual != SHA512:
        raise ValueError(
            f"{archive}: not onnxruntime-web {VERSION} (SHA-512 {actual[:12]}…, expected {SHA512[:12]}…)"
        )
    with tarfile.open(archive) as package:
        for name in FILES:
            member = package.extractfile(f"package/dist/{name}")
            assert member is not None
            (folder / name).write_bytes(member.read())
