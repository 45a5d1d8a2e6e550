"""The server: one process, one folder of temporary files, emptied while it runs and at its end."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsep.separation.storage.temporary import scratch_folder

from .jobs import Jobs, Limits

SWEEP_SECONDS = 60.0
LOCAL = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Address:
    """host: of the interface to listen at. port: 0 takes any that is free."""

    host: str = "127.0.0.1"
    port: int = 7860

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in LOCAL


@contextmanager
def serving(
    address: Address,
    models: Mapping[str, str],
    finders: Sequence[str],
    device: str = "auto",
    limits: Limits = Limits(),  # noqa: B008  # frozen
    keep_minutes: float = 60.0,
) -> Iterator[str]:
    """Serves the page while the block runs; yields its URL. Models: see `Jobs`; the first is loaded.

    Raises ValueError for an address that cannot be listened on, or a model that cannot be loaded.
    """
    with scratch_folder() as folder:
        jobs = Jobs(folder.resolve(), models, finders, device, limits)
        port = free_port(address)
        jobs.load(next(iter(models)))
        gradio_settings(jobs.folder)

        from .page import build_page
        from .theme import CSS, HEAD, theme

        blocks: Any = build_page(jobs).queue(max_size=20)
        try:
            blocks.launch(
                server_name=address.host,
                server_port=port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=int(limits.megabytes * 1e6),
                footer_links=["api"],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                theme=theme(),
                css=CSS,
                head=HEAD,
            )
            with swept(jobs.folder, keep_minutes * 60):
                yield f"http://{'127.0.0.1' if address.host == '0.0.0.0' else address.host}:{port}/"
        finally:
            blocks.close(verbose=False)


def gradio_settings(folder: Path) -> None:
    """Environment variables that Gradio reads when imported: no telemetry, files stay in the folder."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def free_port(address: Address) -> int:
    """The port, or for 0 a free one; ValueError if it cannot be listened on."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"cannot listen at {address.host} port {address.port} ({error}): "
                "choose another with --port or --host"
            ) from error
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def swept(folder: Path, keep_seconds: float) -> Iterator[None]:
    """While the block runs, files in the folder that were not used for keep_seconds are deleted."""
    ended = threading.Event()

    def sweep_now_and_then() -> None:
        while not ended.wait(min(SWEEP_SECONDS, keep_seconds)):
            sweep(folder, keep_seconds)

    sweeper = threading.Thread(target=sweep_now_and_then, daemon=True)
    sweeper.start()
    try:
        yield
    finally:
        ended.set()
        sweeper.join()


def sweep(folder: Path, keep_seconds: float) -> None:
    """Delete older files, then the folders that are empty and as old."""
    latest = time.time() - keep_seconds
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        try:
            if path.lstat().st_ctime > latest:
                continue
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
        except OSError:  # gone already, or a folder with newer files
            continue
