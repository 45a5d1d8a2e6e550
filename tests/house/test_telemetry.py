"""Libraries that report to their makers are told not to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from bulk_work import Copying, files
from repository import ROOT

from qsep.recipes.inference.bulk.cluster import on_cluster

MAIN = "from qsep.recipes.cli.main import main; main()"


def test_onnx_runtime_keeps_no_id_of_the_device_and_prints_nothing(tmp_path: Path) -> None:
    """It keeps one below the home folder, from which it would send events, and complains without one."""
    pytest.importorskip("onnxruntime")
    home = tmp_path / "home"
    home.mkdir()
    recording = tmp_path / "a.wav"
    soundfile.write(recording, [0.1, -0.1] * 4000, 8000)
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(home), "QSEP_CACHE": str(tmp_path / "cache")}
    environment.pop("XDG_CACHE_HOME", None)
    command = [sys.executable, "-c", MAIN, "separate", str(recording), "-q", "rain", "--quiet"]
    ran = subprocess.run(
        [*command, "-o", str(tmp_path / "out")], env=environment, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_onnx_runtime_is_imported_in_one_place() -> None:
    folders = ("queries", "separation", "evaluation", "recipes")
    importing = [
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "import onnxruntime\n" in path.read_text("utf-8")
    ]
    assert importing == ["separation/onnx_runtime.py"]


@pytest.mark.slow  # where Ray is not compiled yet
def test_a_cluster_started_here_reports_no_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    told: list[str | None] = []

    def init(**options: object) -> None:
        told.append(os.environ.get("RAY_USAGE_STATS_ENABLED"))
        raise ConnectionError("enough")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ValueError, match="no cluster answers"):
        list(on_cluster(Copying(str(tmp_path)), files(tmp_path / "in", ["a"]), "local", 1))
    assert told == ["0"]
