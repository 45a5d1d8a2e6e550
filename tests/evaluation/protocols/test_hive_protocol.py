"""Hive on a miniature list: mixtures rebuilt from the list's parameters, and figures worked out by hand."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import soundfile
from pyarrow import parquet

from qsep.evaluation.interface import Item
from qsep.evaluation.protocols import load_items
from qsep.evaluation.report.write import text_table
from qsep.evaluation.run import evaluate

RATE = 8000  # of the miniature's list; the published one has 44100
SECONDS = 0.05
NUM_SAMPLES = 400
CLOSE = 1e-4  # scores are rounded to 1e-6 dB; samples are float32


def tone(hz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    """Amplitude 0.2; whole periods in SECONDS, so that tones are orthogonal and of equal energy."""
    return 0.2 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


RECORDINGS = {
    "ESC50/audio/1.wav": tone(400, 1),
    "AudioSet/a/2.wav": tone(1000, 1),
    "AudioSet/b/3.wav": tone(1600, 0.45),
}


def entry(mix_id: str, factor: float, *sources: tuple[str, str, float, float, float]) -> Any:
    """As in the authors' JSON lists. sources: file, label, start of chunk and of crop in s, weight."""
    return {
        "mix_id": mix_id,
        "dataset_info": {"split": "test", "sample_rate": RATE, "target_duration": SECONDS},
        "sources": [
            {
                "source_id": f"s{number}",
                "path": path,
                "label": label,
                "crop_start_second": crop,
                "crop_end_second": crop + SECONDS,
                "chunk_start_second": chunk,
                "chunk_end_second": chunk + 0.2,
                "rms_gain": 1.0,
                "snr_db": 0.0,
                "applied_weight": weight,
            }
            for number, (path, label, chunk, crop, weight) in enumerate(sources, start=1)
        ],
        "mixing_params": {"global_normalization_factor": factor, "final_max_amplitude": 0.95},
    }


ONE, TWO, THREE = RECORDINGS
LISTED = [
    entry("sample_00000003", 0.5, (ONE, "Dog", 0.1, 0.05, 2.0), (TWO, "Rain", 0.6, 0.0, 1.0)),
    entry(
        "sample_00000003",
        0.25,
        (TWO, "Rain", 0.0, 0.1, 1.0),
        (THREE, "Male speech, man speaking", 0.25, 0.15, 3.0),
        (ONE, "Dog", 0.3, 0.1, 1.0),
    ),
    entry("sample_00000007", 1.0, (TWO, "Rain", 0.2, 0.1, 1.0), (ONE, "Dog", 0.0, 0.0, 1.0)),
]


@pytest.fixture(name="folder")
def hive(tmp_path: Path) -> Path:
    for name, waveform in RECORDINGS.items():
        write(tmp_path / name, waveform)
    (tmp_path / "list.json").write_text(json.dumps(LISTED))
    return tmp_path


def write(path: Path, waveform: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.astype(np.float32), rate, subtype="FLOAT")


class Leaky:
    """An estimator that leaves a tenth of the rest."""

    name, fingerprint, model = "leaky", "1", None

    def __call__(self, item: Item) -> np.ndarray:
        return item.target + 0.1 * item.rest


def test_sources_are_cut_weighted_and_summed_as_the_list_says(folder: Path) -> None:
    items = load_items("hive", folder, folder / "list.json")
    assert items.name == "Hive, 3 of 100000 mixtures"
    assert items.ids[:3] == (
        "2/sample_00000003/1",
        "2/sample_00000003/2",
        "3/sample_00000003/1",
    )
    item = items.render(3)
    assert (item.query, item.others) == ("Male speech, man speaking", ("Rain", "Dog"))
    assert item.sample_rate == RATE
    starts = {TWO: 0.1, THREE: 0.4, ONE: 0.4}  # of the chunk and of the crop in it
    cuts = {name: RECORDINGS[name][round(s * RATE) :][:NUM_SAMPLES] for name, s in starts.items()}
    assert item.target == pytest.approx(0.25 * 3 * cuts[THREE], abs=1e-7)
    mixture = 0.25 * (cuts[TWO] + 3 * cuts[THREE] + cuts[ONE])
    assert item.mixture == pytest.approx(mixture, abs=1e-7)


def test_figures_are_means_over_sources_overall_and_by_their_number(folder: Path) -> None:
    """Tones are orthogonal: SDRs follow from the weights. The estimates leave the rest at -20 dB."""
    summary = evaluate(Leaky(), load_items("hive", folder, folder / "list.json"), folder / "scores")
    assert not summary.failed
    energies = [(4, 1), (1, 4), (1, 10), (9, 2), (1, 10), (1, 1), (1, 1)]  # target, rest
    sdrs = np.array([10 * np.log10(target / rest) for target, rest in energies])
    expected = {"SDR": 20 + sdrs.mean(), "SDRi": 20.0}
    expected |= {"SI-SDR": expected["SDR"], "SI-SDRi": 20.0}  # nothing of the target is lost
    for name, value in expected.items():
        assert summary.published[name] == pytest.approx(value, abs=CLOSE)
    of_two = 20 + sdrs[[0, 1, 5, 6]].mean()
    assert summary.published["SDR, 2 sources"] == pytest.approx(of_two, abs=CLOSE)
    assert summary.published["SDR, 3 sources"] == pytest.approx(20 + sdrs[2:5].mean(), abs=CLOSE)
    assert "SDR, 4 sources" not in summary.published
    assert [row["num_sources"] for row in rows_of(folder)] == list("2233322")


def rows_of(folder: Path) -> list[dict[str, str]]:
    lines = (folder / "scores" / "items.csv").read_text().splitlines()
    header, *rows = [
        line.replace('"Male speech, man speaking"', "male").split(",") for line in lines
    ]
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("nested", ["rows", "columns"])
def test_the_hubs_parquet_list_gives_the_same_items(folder: Path, nested: str) -> None:
    flat = []
    for listed in copy.deepcopy(LISTED):
        sources = listed["sources"]
        if nested == "columns":  # as the library `datasets` stores a sequence of records
            sources = {key: [source[key] for source in sources] for key in sources[0]}
        flat.append(
            {
                "mix_id": listed["mix_id"],
                **listed["dataset_info"],
                "num_sources": len(listed["sources"]),
                "sources": sources,
                **listed["mixing_params"],
            }
        )
    (folder / "test").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(flat), folder / "test" / "data.parquet")
    items, expected = load_items("hive", folder), load_items("hive", folder, folder / "list.json")
    assert (items.ids, items.item_queries) == (expected.ids, expected.item_queries)
    for index in range(len(items.ids)):
        np.testing.assert_array_equal(items.render(index).mixture, expected.render(index).mixture)


def test_recordings_of_other_rates_and_channels_become_mono_at_the_lists_rate(
    folder: Path,
) -> None:
    """Channels of which one is three times the other have twice the other as their mean."""
    rate = 11025
    write(folder / ONE, np.outer(tone(400, 1, rate), [0.5, 1.5]), rate)
    item = load_items("hive", folder, folder / "list.json").render(0)
    start = int(0.1 * rate) / rate + 0.05  # of the chunk, in whole samples, and of the crop in it
    seconds = start + np.arange(NUM_SAMPLES) / RATE
    # the resampler's ripple, and the chunk's ends 50 ms away
    assert item.target == pytest.approx(0.2 * np.sin(2 * np.pi * 400 * seconds), abs=1e-3)


def test_a_recording_may_lack_ten_samples_at_its_end_and_no_more(folder: Path) -> None:
    """The third is read up to 0.45 s, its end; the crop is its last part."""
    items = load_items("hive", folder, folder / "list.json")
    write(folder / THREE, RECORDINGS[THREE][:-10])
    assert not items.render(3).target[-10:].any()
    assert items.render(3).target[-12:].any()
    write(folder / THREE, RECORDINGS[THREE][:-11])
    with pytest.raises(
        ValueError, match=r"3\.wav: 0\.45 s long; the list asks for 0\.25 to 0\.45 s"
    ):
        items.render(3)


def test_mixtures_are_chosen_by_number_of_sources_and_from_the_beginning(folder: Path) -> None:
    def names(**settings: str) -> list[str]:
        items = load_items("hive", folder, folder / "list.json", settings=settings)
        return [item_id[:-2] for item_id in items.ids if item_id.endswith("/1")]

    assert names(num_sources="3") == ["3/sample_00000003"]
    assert names(mixtures="1") == ["2/sample_00000003", "3/sample_00000003"]
    assert names(num_sources="2", mixtures="2") == ["2/sample_00000003", "2/sample_00000007"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"mix_id": 3}', "is not a list of Hive's mixtures: "),
        ("[{}]", "is not a list of Hive's mixtures: no 'sources'"),
        ("[", "is not a list of Hive's mixtures: Expecting value"),
        ("[]", "no mixtures with num_sources=all"),
    ],
)
def test_bad_lists_are_refused_in_one_line(folder: Path, content: str, message: str) -> None:
    (folder / "list.json").write_text(content)
    with pytest.raises(ValueError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        load_items("hive", folder, folder / "list.json")


def test_mixtures_that_share_a_name_are_told_apart(folder: Path) -> None:
    (folder / "list.json").write_text(json.dumps(LISTED + LISTED[:1] + LISTED[:1]))
    ids = load_items("hive", folder, folder / "list.json").ids
    assert len(set(ids)) == len(ids) == 11
    assert ids[7:] == (
        *("2/sample_00000003.2/1", "2/sample_00000003.2/2"),
        *("2/sample_00000003.3/1", "2/sample_00000003.3/2"),
    )


def test_what_could_not_be_confirmed_stands_below_the_figures(folder: Path) -> None:
    summary = evaluate(Leaky(), load_items("hive", folder, folder / "list.json"), folder / "scores")
    last = text_table(summary).splitlines()[-1]
    assert last.startswith("unconfirmed: that the publication's SDR is the plain one")


def test_a_file_that_is_no_parquet_is_refused_in_one_line(folder: Path) -> None:
    (folder / "list.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"\A[^\n]*list\.parquet is not a Parquet file[^\n]*\Z"):
        load_items("hive", folder, folder / "list.parquet")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_sources": "6"}, "num_sources='6'; expected one of all, 2, 3, 4, 5"),
        ({"mixtures": "0"}, "mixtures='0'; expected all, or a whole number of 1 or more"),
    ],
)
def test_bad_settings_are_refused(folder: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=rf"\A{message}\Z"):
        load_items("hive", folder, folder / "list.json", settings=settings)


def test_missing_recordings_are_named(folder: Path) -> None:
    (folder / TWO).unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 3 files .*AudioSet/a/2\.wav"):
        load_items("hive", folder, folder / "list.json")
