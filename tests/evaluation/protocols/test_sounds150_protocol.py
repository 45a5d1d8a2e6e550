"""qsep.evaluation.protocols.sounds150: families, several manifests at once, what comes with the package."""

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
from repository import SHARED

from qsep.evaluation.items.corpus import CorpusItems
from qsep.evaluation.items.manifest import COLUMNS, MixtureRow, parse_manifest
from qsep.evaluation.protocols import load_items
from qsep.evaluation.protocols.sounds150 import CORPUS, load
from qsep.evaluation.run import evaluate

BENCH = SHARED / "bench" / "bench.py"
needs_bench = pytest.mark.skipif(not BENCH.is_file(), reason=f"the yardstick {BENCH} is not here")
needs_data = pytest.mark.skipif(
    not (SHARED / "data" / "sounds150").is_dir(), reason=f"no recordings in {SHARED}/data"
)


def write_manifest(path: Path, *rows: Mapping[str, object]) -> Path:
    defaults = {"seconds": 0.17, "target_start": "0", "interferer_starts": "0", "snr_db": 0}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({"id": f"m{i}", **defaults, **row} for i, row in enumerate(rows))
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Four of different rates, channels, lengths and levels."""
    rng = np.random.default_rng(4)
    shapes = {"a": (44100, (9000, 2)), "b": (22050, (3100,)), "c": (32000, (7000,))}
    shapes["d"] = (16000, (2000, 2))
    for number, (name, (rate, shape)) in enumerate(shapes.items(), start=1):
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-0.2, 0.2, shape) * number, rate)
    return tmp_path


FAMILY = {"query": "birds", "target": "a.wav;b.wav;c.wav", "target_label": "bird"}
FAMILY |= {"target_start": "0.01;0;0.1", "interferers": "d.wav", "interferer_labels": "rain"}


def own_manifests() -> dict[str, tuple[MixtureRow, ...]]:
    paths = {name: CORPUS.manifest_path(name) for name in CORPUS.manifests}
    return {name: parse_manifest(path.read_bytes(), name) for name, path in paths.items()}


@needs_bench
def test_a_family_is_rendered_as_by_the_reference(recordings: Path) -> None:
    louder = {**FAMILY, "snr_db": 3.01, "target": "d.wav;c.wav", "target_start": "0;0"}
    other = {"interferers": "a.wav;b.wav", "interferer_starts": "0;0.02"}
    other["interferer_labels"] = "rain;wind"
    manifest = write_manifest(recordings / "m.csv", FAMILY, {**louder, **other})
    command: list[str | Path] = [
        sys.executable,
        BENCH,
        "render",
        manifest,
        recordings,
        recordings / "out",
    ]
    subprocess.run(command, check=True, capture_output=True)
    items = load(recordings, manifest)
    for index, item_id in enumerate(items.ids):
        item = items.render(index)
        for name in ("mixture", "target", "rest"):
            expected = soundfile.read(recordings / "out" / item_id / f"{name}.wav")[0]
            # one rounding of float32 values up to 1
            assert np.abs(getattr(item, name) - expected).max() <= 6e-8


def test_the_parts_of_a_family_are_equally_strong_in_the_target(tmp_path: Path) -> None:
    """Two square waves whose product sums to zero: the target's power is the sum of theirs."""
    time = np.arange(320)
    fast, slow = ((-1.0) ** (time // half) for half in (1, 4))
    soundfile.write(tmp_path / "fast.wav", 0.1 * fast, 32000, subtype="FLOAT")
    soundfile.write(tmp_path / "slow.wav", 0.5 * slow, 32000, subtype="FLOAT")
    row = {**FAMILY, "target": "fast.wav;slow.wav", "target_start": "0;0", "seconds": 0.01}
    manifest = write_manifest(tmp_path / "m.csv", {**row, "interferers": "slow.wav"})
    item = load(tmp_path, manifest).render(0)
    assert item.target == pytest.approx(0.1 * (fast + slow), abs=1e-7)
    assert np.mean(item.rest**2) == pytest.approx(2 * 0.1**2, rel=1e-5)


@needs_bench
@pytest.mark.parametrize("name", ["sounds21", "sounds150"])
def test_the_manifests_in_the_package_are_the_published_ones(name: str) -> None:
    published = sorted((SHARED / "bench").glob(f"{name}-*.csv"))
    assert len(published) > 1
    for path in published:
        assert (CORPUS.manifest_path("x").parent / path.name).read_bytes() == path.read_bytes()


@needs_data
def test_all_manifests_are_read_by_name_with_their_scores_apart(tmp_path: Path) -> None:
    items = load_items("sounds150", SHARED / "data" / "sounds150")
    assert items.name == "sounds150"
    assert len(items.ids) == 726
    assert isinstance(items, CorpusItems)
    assert [items.settings.count(name) for name in CORPUS.manifests] == [300, 300, 126]
    assert items.render(650).setting == "dev-families"
    one = load_items("sounds150", SHARED / "data" / "sounds150", Path("dev-3"))
    assert one.name == "sounds150-dev-3"
    assert one.item_queries == items.item_queries[300:600]
    assert one.render(7).setting == ""


def test_an_error_about_an_unknown_manifest_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such manifest; sounds150 has dev-2, dev-3"):
        load(tmp_path, Path("dev-4"))


@pytest.mark.parametrize("name", CORPUS.manifests)
def test_absent_sounds_cannot_be_in_the_mixture(name: str, tmp_path: Path) -> None:
    rows = own_manifests()[name]
    for cut in {cut.path for row in rows for cut in row.cuts}:
        (tmp_path / cut).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / cut).touch()  # that it is there is all that is looked at
    items = load(tmp_path, Path(name), "absent")
    kinds = {path.parent.name for path in tmp_path.rglob("*.ogg")}
    for row, item_query in zip(rows, items.item_queries, strict=True):
        there = {Path(cut.path).parent.name for cut in row.cuts}
        assert there <= kinds
        members = {kind for kind in kinds if item_query.label in CORPUS.families[kind]}
        sounds = (members or {item_query.label}) | set(CORPUS.holds.get(item_query.label, ()))
        assert not sounds & there
        assert not any(item_query.label in CORPUS.holds[kind] for kind in there)


def test_a_family_has_no_example(recordings: Path) -> None:
    manifest = write_manifest(recordings / "m.csv", FAMILY)
    with pytest.raises(ValueError, match="m0 asks for a family"):
        load(recordings, manifest, "examples")


def test_every_listed_recording_says_where_it_is_from() -> None:
    clips = CORPUS.clips()
    assert len(clips) == 4201
    assert {clip["label"] for clip in clips} == set(CORPUS.families)
    assert all(clip["licence"] and clip["dataset"] and clip["group"] for clip in clips)
    splits: dict[str, set[str]] = {}
    for clip in clips:
        splits.setdefault(clip["group"], set()).add(clip["split"])
    assert [group for group, actual in splits.items() if len(actual) > 1] == []


def test_manifests_name_listed_recordings_of_dev() -> None:
    listed = {clip["file"] for clip in CORPUS.clips() if clip["split"] == "dev"}
    for rows in own_manifests().values():
        assert {cut.path for row in rows for cut in row.cuts} <= listed


@needs_bench
def test_scores_of_families_equal_the_reference(recordings: Path) -> None:
    manifest = write_manifest(recordings / "m.csv", FAMILY)
    out, estimates = recordings / "out", recordings / "estimates"
    run: list[str | Path] = [sys.executable, BENCH]
    subprocess.run([*run, "render", manifest, recordings, out], check=True, capture_output=True)
    estimates.mkdir()
    mixture = (out / "m0" / "mixture.wav").read_bytes()
    (estimates / "m0.wav").write_bytes(mixture)
    scores = recordings / "scores.json"
    arguments = [*run, "score", out, estimates, "--json", scores]
    subprocess.run(arguments, check=True, capture_output=True)
    expected = json.loads(scores.read_text())["mean"]["si_sdr"]
    overall = evaluate("mixture", load(recordings, manifest), recordings / "run").overall
    assert overall["si_sdr"].mean == pytest.approx(expected, abs=1e-4)  # read from float32 files
