"""Bulk runs whose processes die: nothing is lost and nothing doubled."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from bulk_work import Copying, files
from command import Run, content, record

from qsep.recipes.inference.bulk.cluster import on_cluster
from qsep.recipes.inference.bulk.jobs import Job
from qsep.recipes.inference.bulk.processes import in_processes

NUM_FILES = 25


@pytest.mark.slow
def test_a_killed_run_resumes(qsep: Run, tiny_model: Path, folder: Path) -> None:
    for number in range(NUM_FILES):
        (folder / "in").mkdir(exist_ok=True)
        record(folder / "in" / f"{number:02}.wav", 900 + number)
    command = ("separate", "in", "-q", "rain", "-m", str(tiny_model), "--quiet", "-o")
    assert qsep(*command, "whole").code == 0  # and the query is in the cache
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    # Sources of the tests stand first on our path; the command finds the installed package.
    run = subprocess.Popen(
        [sys.executable, "-m", "qsep.recipes", *command, "out"], cwd=folder, env=environment
    )
    manifest = folder / "out" / "manifest.jsonl"
    while run.poll() is None:
        if manifest.exists() and len(manifest.read_bytes().splitlines()) > 3:
            run.send_signal(signal.SIGKILL)
            run.wait()
        time.sleep(0.01)
    with manifest.open("a") as file:
        file.write('{"input": "in/24.wav", "que')  # as if killed while it wrote
    assert qsep(*command, "out").code == 0
    lines = manifest.read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    keys = [row["key"] for row in rows if "run" not in row]
    assert sorted(keys) == [f"{number:02}.wav" for number in range(NUM_FILES)]
    actual, whole = content(folder / "out"), content(folder / "whole")
    del actual["manifest.jsonl"], whole["manifest.jsonl"]
    assert actual == whole
    assert not list((folder / "out").glob(".qsep-*.part"))


@pytest.mark.slow
def test_results_of_several_processes_are_those_of_one(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    (folder / "in").mkdir()
    for number in range(4):
        record(folder / "in" / f"{number}.wav", 900 + number)
    (folder / "in" / "bad.wav").write_bytes(b"none")
    command = ("separate", "in", "-q", "rain", "-m", tiny_model, "--quiet", "-o")
    assert qsep(*command, "one").code == 1
    done = qsep(*command, "two", "--workers", "2")
    assert done.code == 1
    assert "in/bad.wav" in done.error
    one, two = content(folder / "one"), content(folder / "two")
    rows = {}
    for name, actual in (("one", one), ("two", two)):
        lines = [json.loads(line) for line in actual.pop("manifest.jsonl").splitlines()][1:]
        rows[name] = {line["key"]: line["outputs"] for line in lines if not line["error"]}
    assert one == two
    assert rows["one"] == rows["two"]


def test_a_recording_whose_process_dies_is_retried_once(tmp_path: Path) -> None:
    jobs = files(tmp_path / "in", ["a", "once", "b", "always", "c"])
    (tmp_path / "out").mkdir()
    outcomes = dict(in_processes(Copying(str(tmp_path / "out")), jobs, 1))
    assert outcomes.keys() == set(jobs)
    errors = {Path(job.path).name: rows[0]["error"] for job, rows in outcomes.items()}
    assert errors.pop("always") == (
        "the process that worked on it ended by signal 9, 2 times: try fewer --workers"
    )
    assert errors == dict.fromkeys(["a", "once", "b", "c"])
    tries = {name: (tmp_path / "out" / f"{name}.tries").read_text() for name in ("a", "always")}
    assert tries == {"a": "x", "always": "xx"}


def test_an_error_at_start_keeps_its_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^no folder$"):
        list(in_processes(Copying(str(tmp_path / "none")), [Job("a"), Job("b")], 2))


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qsep.recipes.inference.bulk.cluster.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'qsep\[ray\]'"):
        list(on_cluster(Copying("."), [Job("a")], "local", 1))


@pytest.mark.slow
@pytest.mark.nightly  # half a minute to start the cluster
@pytest.mark.skipif(find_spec("ray") is None, reason="needs ray: pip install 'qsep[ray]'")
def test_a_cluster_recovers_from_a_killed_worker(tmp_path: Path) -> None:
    import ray

    names = [f"{number:02}" for number in range(17)] + ["once"]
    jobs = files(tmp_path / "in", names)
    (tmp_path / "out").mkdir()
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
    )
    try:
        outcomes = list(on_cluster(Copying(str(tmp_path / "out")), jobs, "local", 2))
    finally:
        ray.shutdown()
    assert sorted(job.path for job, _ in outcomes) == sorted(job.path for job in jobs)
    assert [rows[0]["error"] for _, rows in outcomes] == [None] * len(jobs)
    for name in names:
        assert (tmp_path / "out" / name).read_text() == json.dumps(name)
    assert (tmp_path / "out" / "once.tries").read_text() == "xx"


def test_warnings_of_workers_look_like_others_and_are_quiet_where_those_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = files(tmp_path / "in", ["warn"])
    logger = logging.getLogger("qsep")
    before = logger.level
    try:
        for level, expected in ((logging.WARNING, "qsep: copied warn\n"), (logging.ERROR, "")):
            (tmp_path / str(level)).mkdir()
            logger.setLevel(level)
            list(in_processes(Copying(str(tmp_path / str(level))), jobs, 1))
            assert capfd.readouterr().err == expected
    finally:
        logger.setLevel(before)
