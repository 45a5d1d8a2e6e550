"""qsep.evaluation.protocols.sounds21 on miniature synthetic data, and against bench.py."""

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
from qsep.evaluation.items.manifest import COLUMNS
from qsep.evaluation.protocols.sounds21 import CONDITIONS, CORPUS
from qsep.evaluation.protocols.sounds21 import load as load_sounds21
from qsep.evaluation.run import evaluate
from qsep.queries.interface import AudioQuery

BENCH = SHARED / "bench" / "bench.py"
needs_bench = pytest.mark.skipif(not BENCH.is_file(), reason=f"the yardstick {BENCH} is not here")
needs_data = pytest.mark.skipif(
    not (SHARED / "data" / "sounds21").is_dir(), reason=f"no recordings in {SHARED}/data"
)


def write_manifest(path: Path, *rows: Mapping[str, object]) -> Path:
    defaults: dict[str, object] = {
        "query": "rain falling",
        "seconds": 0.01,
        "target": "rain.wav",
        "target_start": 0,
        "interferers": "dog.wav",
        "interferer_starts": "0",
        "snr_db": 0,
        "target_label": "rain",
        "interferer_labels": "dog_bark",
    }
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({"id": f"m{i}", **defaults, **row} for i, row in enumerate(rows))
    return path


def write_square(path: Path, amplitude: float, num_samples: int, period: int) -> None:
    sign = np.where(np.arange(num_samples) % period < period // 2, 1.0, -1.0)
    soundfile.write(path, (amplitude * sign).astype(np.float32), 32000, subtype="FLOAT")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Square waves at 32 kHz, whose power is amplitude squared; 0.01 s is 320 samples."""
    write_square(tmp_path / "rain.wav", 0.3, 200, 2)
    write_square(tmp_path / "dog.wav", 0.5, 640, 8)
    write_square(tmp_path / "flute.wav", 0.25, 400, 20)
    soundfile.write(tmp_path / "silence.wav", np.zeros(700), 32000)
    return tmp_path


@pytest.fixture
def other_rates(tmp_path: Path) -> Path:
    """A manifest of three sources at 44.1 kHz stereo, 22.05 kHz and 32 kHz, one of them short."""
    rng = np.random.default_rng(9)
    for name, rate, shape in (("a", 44100, (9000, 2)), ("b", 22050, 3100), ("c", 32000, 7000)):
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-0.9, 0.9, shape), rate)
    row = {"seconds": 0.17, "snr_db": -2.5, "interferer_labels": "x;y"}
    first = {**row, "target": "a.wav", "interferers": "b.wav;c.wav"}
    second = {**row, "target": "c.wav", "interferers": "a.wav;b.wav", "target_start": 0.05}
    return write_manifest(
        tmp_path / "rates.csv",
        {**first, "interferer_starts": "0.011;0"},
        {**second, "interferer_starts": "0;0.03"},
    )


def load(manifest: Path, data: Path, condition: str = "plain") -> CorpusItems:
    return load_sounds21(data, manifest, condition)


def bench(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, BENCH, *arguments], check=True, capture_output=True)


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def test_interferer_is_scaled_to_the_snr_over_the_padded_cut(data: Path) -> None:
    row = {"snr_db": 20 * np.log10(2), "target_start": 100 / 32000}
    item = load(write_manifest(data / "m.csv", row), data).render(0)
    # 100 of 320 samples are left of the target: power 0.09 * 100 / 320; half its root for 6.02 dB
    amplitude = 0.3 * np.sqrt(100 / 320) / 2
    assert np.abs(item.rest) == pytest.approx(np.full(320, amplitude), rel=1e-6)
    assert np.abs(item.target[:100]) == pytest.approx(np.full(100, 0.3), rel=1e-6)
    assert not item.target[100:].any()


def test_mixture_and_parts_are_divided_by_a_peak_above_one(data: Path) -> None:
    row: dict[str, object] = {"target": "dog.wav", "interferers": "dog.wav;flute.wav"}
    row |= {"interferer_starts": "0;0", "interferer_labels": "dog_bark;flute", "snr_db": 0}
    item = load(write_manifest(data / "m.csv", row), data).render(0)
    # three squares of 0.5 coincide somewhere, so the peak is 1.5
    assert np.abs(item.mixture).max() == pytest.approx(1.0, rel=1e-6)
    assert np.abs(item.target) == pytest.approx(np.full(320, 1 / 3), rel=1e-6)


@needs_bench
def test_rendering_equals_the_reference_at_other_rates_and_channels(
    tmp_path: Path, other_rates: Path
) -> None:
    bench("render", other_rates, tmp_path, tmp_path / "out")
    items = load(other_rates, tmp_path)
    for index, item_id in enumerate(items.ids):
        item = items.render(index)
        for name in ("mixture", "target", "rest"):
            expected = read(tmp_path / "out" / item_id / f"{name}.wav")
            # one rounding of float32 values up to 1
            assert np.abs(getattr(item, name) - expected).max() <= 6e-8


@needs_bench
@needs_data
def test_rendering_equals_the_reference_on_a_real_item(tmp_path: Path) -> None:
    lines = (SHARED / "bench" / "sounds21-dev-3.csv").read_text().splitlines()
    manifest = tmp_path / "one.csv"
    manifest.write_text("\n".join([lines[0], lines[60]]) + "\n")
    bench("render", manifest, SHARED / "data" / "sounds21", tmp_path / "out")
    items = load(manifest, SHARED / "data" / "sounds21")
    expected = read(tmp_path / "out" / items.ids[0] / "mixture.wav")
    assert np.abs(items.render(0).mixture - expected).max() <= 6e-8


@needs_bench
def test_scores_equal_the_reference(tmp_path: Path, other_rates: Path) -> None:
    from qsep.evaluation.estimators.ideal_masks import named_estimator

    bench("render", other_rates, tmp_path, tmp_path / "out")
    (tmp_path / "estimates").mkdir()
    items = load(other_rates, tmp_path)
    for index, item_id in enumerate(items.ids):
        estimate = named_estimator("irm")(items.render(index)).float().numpy()
        path = tmp_path / "estimates" / f"{item_id}.wav"
        soundfile.write(path, estimate, 32000, subtype="FLOAT")
    bench("score", tmp_path / "out", tmp_path / "estimates", "--json", tmp_path / "scores.json")
    expected = json.loads((tmp_path / "scores.json").read_text())["mean"]
    overall = evaluate("irm", load(other_rates, tmp_path), tmp_path / "run").overall
    for ours, theirs in (("si_sdr", "si_sdr"), ("si_sdr_i", "si_sdr_i"), ("sdr", "snr")):
        # the estimates passed through float32 files
        assert overall[ours].mean == pytest.approx(expected[theirs], abs=1e-4)
    assert overall["sdr_i"].mean == pytest.approx(expected["snr_i"], abs=1e-4)


@pytest.mark.parametrize("name", ["sounds21-dev-2", "sounds21-dev-3"])
@needs_bench
@needs_data
def test_published_manifests_are_recognised(name: str) -> None:
    manifest = SHARED / "bench" / f"{name}.csv"
    assert load(manifest, SHARED / "data" / "sounds21").name == name


def test_any_other_manifest_is_called_custom(data: Path) -> None:
    assert load(write_manifest(data / "m.csv", {}), data).name == "custom manifest"


def test_missing_files_are_listed_in_one_error(data: Path) -> None:
    rows = {"target": "gone.wav"}, {"interferers": "away.wav"}
    with pytest.raises(FileNotFoundError, match=r"2 of the 4 files .*: away\.wav, gone\.wav"):
        load(write_manifest(data / "m.csv", *rows), data)


def test_a_missing_column_is_named(data: Path) -> None:
    (data / "m.csv").write_text(",".join(c for c in COLUMNS if c != "snr_db") + "\n")
    with pytest.raises(ValueError, match="lacks the columns snr_db"):
        load(data / "m.csv", data)


def test_a_bad_number_is_refused_with_its_line(data: Path) -> None:
    with pytest.raises(ValueError, match=r"m\.csv, line 3: .*'soon'"):
        load(write_manifest(data / "m.csv", {}, {"target_start": "soon"}), data)


def test_a_silent_interferer_is_refused_by_name(data: Path) -> None:
    items = load(write_manifest(data / "m.csv", {"interferers": "silence.wav"}), data)
    with pytest.raises(ValueError, match=r"silence\.wav is silent"):
        items.render(0)


FLUTE = {"query": "a flute", "target": "flute.wav", "target_label": "flute"}
DOG = {"query": "a dog", "target": "dog.wav", "target_label": "dog_bark"}
RAIN_IN_FLUTE = {"interferers": "flute.wav", "interferer_labels": "flute"}


def test_absent_queries_the_one_label_that_is_not_in_the_mixture(data: Path) -> None:
    manifest = write_manifest(data / "m.csv", RAIN_IN_FLUTE, FLUTE, DOG | RAIN_IN_FLUTE, {})
    item_queries = load(manifest, data, "absent").item_queries
    assert item_queries == (
        ("a dog", "dog_bark", ("rain", "flute")),
        ("rain falling", "rain", ("flute", "dog_bark")),
        ("rain falling", "rain", ("dog_bark", "flute")),
        ("a flute", "flute", ("rain", "dog_bark")),
    )


def test_absent_target_is_silence_in_the_plain_mixture(data: Path) -> None:
    manifest = write_manifest(data / "m.csv", RAIN_IN_FLUTE, FLUTE, DOG)
    plain = load(manifest, data).render(0)
    absent = load(manifest, data, "absent").render(0)
    assert not absent.target.any()
    assert np.array_equal(absent.mixture, plain.mixture)
    assert np.array_equal(absent.rest, plain.mixture)


def test_a_mixture_of_every_label_has_no_absent_query(data: Path) -> None:
    with pytest.raises(ValueError, match="m0 contains every label"):
        load(write_manifest(data / "m.csv", {}), data, "absent")


def test_wordings_cycle_through_all_held_out_words_of_the_label(data: Path) -> None:
    held_out = CORPUS.wordings["wordings"]["rain"]
    items = load(write_manifest(data / "m.csv", *[{}] * 13), data, "wordings")
    queries = [item_query.query for item_query in items.item_queries]
    assert set(queries[:12]) == set(held_out)
    assert queries[12] == queries[0] == held_out[0]
    assert {item_query.label for item_query in items.item_queries} == {"rain"}


def test_absent_wordings_name_sounds_of_no_label(data: Path) -> None:
    phrases = CORPUS.wordings["absent"]["phrases"]
    items = load(write_manifest(data / "m.csv", *[{}] * 3), data, "absent-wordings")
    assert [item_query.query for item_query in items.item_queries] == phrases[:3]
    assert not items.render(1).target.any()


def test_conditions_of_one_manifest_have_different_fingerprints(data: Path) -> None:
    manifest = write_manifest(data / "m.csv", RAIN_IN_FLUTE, FLUTE, DOG)
    conditions = [name for name in CONDITIONS if name != "examples"]  # see below
    items = [load(manifest, data, condition) for condition in conditions]
    assert len({i.fingerprint for i in items}) == 4


def test_examples_are_other_recordings_of_the_targets_label(data: Path) -> None:
    manifest = write_manifest(
        data / "m.csv",
        {},
        {"target": "flute.wav"},  # said to be rain as well
        {"interferers": "flute.wav", "interferer_labels": "rain", "target": "silence.wav"},
    )
    items = load(manifest, data, "examples")
    names = [items.examples[index] for index in range(3)]
    assert names[0] in {"flute.wav", "silence.wav"}
    assert names[1] in {"rain.wav", "silence.wav"}
    assert names[2] == "rain.wav"  # flute.wav is in that mixture
    example = items.render(0).example
    assert isinstance(example, AudioQuery)
    assert example == AudioQuery(data / names[0])
    assert items.render(0).query == "rain falling"
    assert items.fingerprint != load(manifest, data).fingerprint


def test_a_label_of_one_recording_has_no_example(data: Path) -> None:
    with pytest.raises(ValueError, match="no recording of rain outside m0"):
        load(write_manifest(data / "m.csv", {}), data, "examples")
