"""Damaged states, lists and caches: detected and repaired, or refused in one line."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import soundfile

from .commands import Undisturbed, Workshop, command_of, differing, essence
from .forked import Changes, Ended

# What a run reads again when it goes on. The last line of each that grows may be half, as after a kill.
STATES = {
    *("training.pt", "training.previous.pt", "log.jsonl", "recipe.json", "config.json"),
    *("manifest.jsonl", "items.csv", "summary.json", "clips.csv", "report.csv", "index.json"),
    *(".qsep.jsonl", "embeddings.sqlite", "model.safetensors"),
}
# Lists for people, in which a changed digit cannot be detected.
WITHOUT_CHECKSUM = {"items.csv", "manifest.jsonl", "log.jsonl"}
OTHER_CONTENT = (b"hello\n", b"", b"null\n", b"[]\n", b"{}\n", b"[" * 5000, b"\xff\xfe\x00" * 50)


class Part:
    """A command is killed late, or ends; one of its files is damaged; then the same command again."""

    name = "damaged_states"
    num_trials = 400

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    def trial(self, number: int, rng: np.random.Generator) -> str:
        command = command_of(number)
        undisturbed = self.workshop.undisturbed(command)
        out = self.workshop.folder / "damaged"
        shutil.rmtree(out, ignore_errors=True)
        ends = undisturbed.num_changes
        last = int(rng.integers(ends // 3, ends)) if rng.random() < 0.75 else 0
        self.workshop.run(command, out, prepare=Changes(last))
        files = [path for path in sorted(out.rglob("*")) if path.name in STATES]
        files.append(self.workshop.folder / "cache" / "embeddings.sqlite")
        path = files[rng.integers(len(files))]
        before = path.read_bytes()
        kind, after = damaged(before, rng)
        path.write_bytes(after)
        about = f"{command.name} killed before change {last}, {path.name} {kind}"
        try:
            how = judge(self.workshop.run(command, out), out, undisturbed, path, kind)
        except AssertionError as error:
            raise AssertionError(f"{about}: {error}") from error
        finally:
            if path.parent.name == "cache":
                path.write_bytes(before)
        return f"{path.name} {how}"


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """What was done, and the damaged content."""
    kind = ("bit", "cut", "other")[rng.integers(3)]
    if kind == "other" or not content:
        return "other", OTHER_CONTENT[rng.integers(len(OTHER_CONTENT))]
    index = int(rng.integers(len(content)))
    if kind == "cut":
        return kind, content[:index]
    return kind, content[:index] + bytes([content[index] ^ 1 << int(rng.integers(8))]) + content[
        index + 1 :
    ]


def judge(ended: Ended, out: Path, undisturbed: Undisturbed, path: Path, kind: str) -> str:
    """How the damage was met: "made good" or "refused"; AssertionError for anything else."""
    assert ended.code in (0, 1, 2), f"exit code {ended.code}:\n{ended.err}"
    ended.check_messages()
    if ended.code:
        errors = [line for line in ended.err.splitlines() if "error:" in line]
        assert len(errors) == 1, ended.err
        assert any(name in errors[0] for name in (path.name, out.name)), f"not named: {errors[0]}"
        return "refused"
    uncompared = {path.name} & WITHOUT_CHECKSUM
    if path.name == "items.csv" and kind == "bit":
        uncompared.add("summary.json")
    if path.name == "recipe.json":
        uncompared.add("log.jsonl")
    if path.name in ("training.previous.pt", ".qsep.jsonl"):
        uncompared.add(
            "training.previous.pt"
        )  # set aside; the next save writes it, if there is one
    if path.match("best/model.safetensors") and "best is lost" in ended.err:  # kept in the state
        uncompared |= {"training.pt", "training.previous.pt"}
    is_lost = re.compile("best/" if "training.pt" in uncompared else "(?!)").match
    if path.name == "manifest.jsonl":
        # A query whose row is damaged is separated again, alone: its sums are rounded in another order.
        uncompared |= {name for name in undisturbed.essence if is_nearly(out, name, undisturbed)}
    actual, expected = (
        {
            name: value
            for name, value in each.items()
            if Path(name).name not in uncompared
            and not re.search(r"\.(kept|damaged)(/|$)", name)
            and not is_lost(name)
        }
        for each in (essence(out), undisturbed.essence)
    )
    assert not (wrong := differing(actual, expected)), wrong
    return "made good"


def is_nearly(out: Path, name: str, undisturbed: Undisturbed) -> bool:
    """Whether a result, a WAV file of 16 bits, differs by one step from the undisturbed one at most."""
    content = undisturbed.essence[name]
    if not name.endswith(".wav") or not (out / name).is_file():
        return False
    actual, expected = (
        soundfile.read(file, dtype="int16")[0].astype(int)
        for file in (out / name, io.BytesIO(content))
    )
    return actual.shape == expected.shape and int(np.abs(actual - expected).max()) <= 1
