"""`qsep runs compare`, and what a run records of how it was made."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command import Run

from qsep.recipes.training.config import recipe_from
from qsep.recipes.training.output.record import commit, read_sessions, record_session
from qsep.separation.storage.results import Results, sha256_of

CPU: Any = SimpleNamespace(world_size=2, device=SimpleNamespace(type="cpu"))


def content(folder: Path, **train: Any) -> dict[str, Any]:
    return {
        "separator": {"kind": "band_unet"},
        "encoder": {"kind": "labels"},
        "data": {"sounds": "recordings", "folder": str(folder), "phrases": "labels"},
        "train": {"steps": 30, "seed": 7, **train},
    }


def write_run(folder: Path, recipe: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


@pytest.fixture
def runs(folder: Path) -> Path:
    """Folders A and B: B has twice the learning rate, and scores higher on two of three items at its best."""
    validation = {"si_sdr_i": 0.0}
    write_run(
        folder / "A",
        content(folder, learning_rate=0.001),
        [
            {"step": 10, "loss": 2.0},
            {"step": 10, **validation, "merits": [1.0, 2.0, 6.0]},  # 3, the best
            {"step": 20, **validation, "merits": [2.0, 2.0, 2.0]},
        ],
    )
    write_run(
        folder / "B",
        content(folder, learning_rate=0.002),
        [
            {"step": 10, **validation, "merits": [9.0, 0.0, 0.0]},  # 3
            {"step": 15, "changed": {"train.clip_norm": [5.0, 1.0]}},
            {"step": 20, **validation, "merits": [4.0, 5.0, 3.0]},  # 4, the best: +3, +3, -3
        ],
    )
    return folder


def test_settings_that_differ_and_paired_scores_are_listed(qsep: Run, runs: Path) -> None:
    outcome = qsep("runs", "compare", "A", "B")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "A: A",
        "B: B",
        "",
        "settings:",
        "  train.learning_rate: 0.001 | 0.002",
        "",
        "made with: the same",
        "",
        "B from step 15 on:",
        "  train.clip_norm: 5.0 | 1.0",
        "",
        "A: best at step 10, 3",
        "B: best at step 20, 4",
        "B - A: +1, 95 % interval [-3, +3], on the same 3 items; B is better on 2",
    ]


def test_scores_on_other_mixtures_are_not_paired(qsep: Run, runs: Path) -> None:
    (runs / "B" / "recipe.json").write_text(json.dumps(content(runs, seed=8)))
    assert qsep("runs", "compare", "A", "B").out.splitlines()[-1] == (
        "B - A: not compared item by item, for their validation mixtures differ"
    )


def test_the_curves_of_both_share_their_panels(qsep: Run, runs: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    assert qsep("runs", "compare", "A", "B", "-o", "curves.png").code == 0
    header = (runs / "curves.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[20:24]) == pytest.approx(2 * 2 * 90, abs=1)  # loss, si_sdr_i
    assert (
        "expected the name of a new PNG"
        in qsep("runs", "compare", "A", "B", "-o", "curves.png").error
    )


def test_a_folder_without_a_run_is_refused(qsep: Run, runs: Path) -> None:
    outcome = qsep("runs", "compare", "A", "nowhere")
    assert (outcome.code, outcome.error) == (2, "nowhere: not the folder of a run of qsep train")


def test_every_session_records_step_seed_versions_commit_and_hashes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "clips.csv").write_text("file,label,split\n")
    recipe = recipe_from(content(data), "tiny")
    results = Results(tmp_path / "run", "train")
    record_session(results, recipe, 0, CPU)
    (data / "clips.csv").write_text("file,label,split\na.wav,dog,train\n")
    record_session(results, recipe, 20, CPU)
    first, second = read_sessions(tmp_path / "run")
    assert [first["step"], second["step"], second["seed"]] == [0, 20, 7]
    assert first["sha256"].keys() == {str(data / "clips.csv")}
    assert first["sha256"] != second["sha256"]
    assert second["sha256"][str(data / "clips.csv")] == sha256_of(data / "clips.csv")
    assert {"python", "torch", "numpy"} <= first["versions"].keys()
    assert first["devices"] == "2 cpu"


def test_the_commit_is_that_of_the_checkout_and_says_if_files_were_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *named, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "first")
    assert commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
