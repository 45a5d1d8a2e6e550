"""Unfinished work in a temporary folder: kept, continued, and removed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qsep.separation.storage import unfinished as module
from qsep.separation.storage.results import Results
from qsep.separation.storage.temporary import STATE, is_left_over, machine
from qsep.separation.storage.unfinished import unfinished

CODE = """
import os, signal, sys
from pathlib import Path
from qsep.separation.storage.unfinished import unfinished
out, key, save, ending = sys.argv[1:]
outputs = [Path(out, "a.wav"), Path(out, "b.wav")]
with unfinished(Path(out), key, outputs, "long.wav") as work:
    print(work.state, sorted(path.name for path in work.folder.rglob("*.wav")))
    for output in outputs:
        with work.partial(output).open("ab") as file:
            file.write(b"1234")
    work.state = {"samples": 4 + work.state.get("samples", 0)}
    if save == "save":
        work.save()
        with work.partial(outputs[0]).open("ab") as file:
            file.write(b"after it")
    if ending == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    print(work.partial(outputs[0]).read_bytes())
"""


def run(out: Path, key: str = "key", save: str = "save", ending: str = "kill") -> str:
    """What another process prints that works there and then is killed, or ends."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, out, key, save, ending], capture_output=True, text=True
    )
    assert done.returncode == (-signal.SIGKILL if ending == "kill" else 0), done.stderr
    return done.stdout + done.stderr


def left(out: Path) -> list[Path]:
    return list(out.glob(".qsep-*.part"))


def test_work_of_a_killed_process_is_continued_from_the_state_that_it_saved(tmp_path: Path) -> None:
    assert run(tmp_path) == "{} []\n"
    (folder,) = left(tmp_path)
    Results(tmp_path, "separate", shared=True)  # removes what dead processes left
    assert left(tmp_path) == [folder]
    assert run(tmp_path) == "{'samples': 4} ['a.wav', 'b.wav']\n"
    printed = run(tmp_path, ending="end")
    assert printed == "{'samples': 8} ['a.wav', 'b.wav']\nb'123412341234after it'\n"
    assert list(tmp_path.iterdir()) == []


def test_without_a_saved_state_the_work_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    run(tmp_path, save="no")
    assert len(left(tmp_path)) == 1
    Results(tmp_path, "separate", shared=True)
    assert left(tmp_path) == []


def test_kept_work_is_removed_after_a_week(tmp_path: Path) -> None:
    run(tmp_path)
    (folder,) = left(tmp_path)
    for days, expected in ((6.9, False), (7.1, True)):
        os.utime(folder / STATE, (0, time.time() - days * 24 * 3600))
        assert is_left_over(folder) == expected
    Results(tmp_path, "separate", shared=True)
    assert left(tmp_path) == []


def test_work_of_a_living_process_or_another_machine_is_left_alone(tmp_path: Path) -> None:
    outputs = [tmp_path / "a.wav"]
    with unfinished(tmp_path, "key", outputs, "long.wav") as living:
        living.save()
        with unfinished(tmp_path, "key", outputs, "long.wav") as second:
            assert second.folder != living.folder
            assert second.state == {}
            second.save()
            elsewhere = second.folder.with_name(second.folder.name.replace(machine(), "elsewhere"))
            os.rename(second.folder, elsewhere)
        assert sorted(left(tmp_path)) == sorted([living.folder, elsewhere])
        os.utime(elsewhere, (0, time.time() - 25 * 3600))
        with unfinished(tmp_path, "key", outputs, "long.wav") as third:
            assert sorted(left(tmp_path)) == sorted([living.folder, third.folder])
            assert not elsewhere.exists()
            assert third.is_saved


@pytest.mark.parametrize("fault", ["state", "short", "missing", "cut", "link", "no folder"])
def test_damaged_work_begins_anew_and_says_so(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path)
    (folder,) = left(tmp_path)
    state = folder / STATE
    if fault == "state":
        state.write_bytes(state.read_bytes().replace(b"samples", b"sampler"))
    elif fault == "cut":
        state.write_bytes(state.read_bytes()[:-9])
    elif fault == "link":
        (tmp_path / "others").write_bytes(b"12345678")
        (folder / "partial" / "b.wav").unlink()
        (folder / "partial" / "b.wav").symlink_to(tmp_path / "others")
    elif fault == "no folder":
        shutil.rmtree(folder / "partial")
    elif fault == "short":
        os.truncate(folder / "partial" / "b.wav", 3)
    else:
        (folder / "partial" / "b.wav").unlink()
    with caplog.at_level(logging.WARNING):
        with unfinished(tmp_path, "key", [tmp_path / "a.wav"], "long.wav") as work:
            assert work.state == {}
            assert left(tmp_path) == [work.folder]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["long.wav"]
    assert fault != "link" or (tmp_path / "others").read_bytes() == b"12345678"


def test_a_link_in_place_of_kept_work_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    run(tmp_path)
    (folder,) = left(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    target = folder.rename(tmp_path / "elsewhere" / "work")
    folder.symlink_to(target)
    Results(tmp_path, "separate", shared=True)
    assert left(tmp_path) == []
    assert (target / STATE).is_file()


def test_a_state_is_not_taken_for_another_work_of_the_same_files(tmp_path: Path) -> None:
    run(tmp_path)
    assert "with other settings" in run(tmp_path, key="other")
    (folder,) = left(tmp_path)
    assert json.loads(json.loads((folder / STATE).read_text())["content"])["key"] == "other"


def test_states_are_due_only_for_work_with_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    for key in ("key", None):
        with unfinished(tmp_path, key, [tmp_path / "a.wav"], "long.wav") as work:
            assert work.is_due() == (key is not None)
    monkeypatch.setattr(module, "SAVE_SECONDS", 3600.0)
    with unfinished(tmp_path, "key", [tmp_path / "a.wav"], "long.wav") as work:
        assert not work.is_due()
