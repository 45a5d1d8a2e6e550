"""Published protocols on miniature folders of noise, against figures worked out from the files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from protocol_runs import CLOSE, estimate, noise, plain_sdr, run, scored, write, write_csv
from tiny_settings import RATE

from qsep.evaluation.metrics.bss_scores import import_museval
from qsep.evaluation.metrics.sdr import uncentred_si_sdr
from qsep.evaluation.protocols import bimodal, load_items, musdb18
from qsep.queries.interface import AudioQuery


def test_uncentred_si_sdr_keeps_means() -> None:
    reference = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert float(uncentred_si_sdr(reference + 1, reference)) == pytest.approx(0, abs=1e-6)


def audiosep_folder(folder: Path, name: str, captions: Sequence[str]) -> list[tuple[float, float]]:
    """data/NAME, with a list of mixtures that ask for these; the scores of each."""
    scores, rows = [], []
    columns = {"vggsound": 6, "audiocaps": 5, "clotho": 5}.get(name, 4)
    for index, caption in enumerate(captions):
        target = noise(2 * index, 700 + index)
        mixture = target + noise(2 * index + 1, 700 + index)
        files = f"mixture-{index}.wav", f"segment-{index}.wav"
        written = [
            write(folder / "data" / name / f, w, 32000)
            for f, w in zip(files, (mixture, target), strict=True)
        ]
        row = (index, *files, caption) if name == "vggsound" else (index, caption)
        rows.append((*row, *["-"] * (columns - len(row))))
        scores.append(scored(written[1], written[0], caption))
    write_csv(folder / "metadata" / f"{name}_eval.csv", ["header"] * columns, *rows)
    return scores


@pytest.mark.parametrize("name", ["vggsound", "esc50", "audiocaps", "clotho"])
def test_audiosep_averages_over_items(tmp_path: Path, name: str) -> None:
    actual = audiosep_folder(tmp_path, name, ["a dog", "two cats", "a dog"])
    items = load_items("audiosep", tmp_path, settings={"set": name})
    assert items.name.endswith(
        "3 of " + {"vggsound": "1000", "esc50": "2000"}.get(name, items.name[-4:])
    )
    figures = run(items, tmp_path / "out").published
    assert figures == {
        "SDRi": pytest.approx(np.mean([f[0] for f in actual]), abs=CLOSE),
        "SI-SDR": pytest.approx(np.mean([f[1] for f in actual]), abs=CLOSE),
    }


def test_audiosep_reads_the_authors_list_of_audiocaps(tmp_path: Path) -> None:
    """idx, caption, labels, source, noise; a list of all 4,820 rows has the set's plain name."""
    ids = ["0", "17", *(str(number) for number in range(1000, 5818))]
    for index in ids:
        for kind in ("mixture", "segment"):
            path = tmp_path / f"data/audiocaps/{kind}-{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    rows = [(n, f"A man talks, then {n} dogs bark", "Speech;Dog", f"Y{n}", f"Z{n}") for n in ids]
    header = ("idx", "caption", "labels", "source", "noise")
    path = write_csv(tmp_path / "metadata/audiocaps_eval.csv", header, *rows)
    items = load_items("audiosep", tmp_path, settings={"set": "audiocaps"})
    assert items.name == "AudioSep AudioCaps"
    assert items.ids[1] == "data/audiocaps/mixture-17.wav"
    assert items.item_queries[1].query == "A man talks, then 17 dogs bark"
    write_csv(path, header[:4], rows[0][:4])
    with pytest.raises(ValueError, match="row 2: 4 cells, expected 5"):
        load_items("audiosep", tmp_path, settings={"set": "audiocaps"})


def test_audiosep_averages_music_over_instruments(tmp_path: Path) -> None:
    actual = np.array(audiosep_folder(tmp_path, "music", ["erhu", "tuba", "erhu", "erhu"]))
    figures = run(
        load_items("audiosep", tmp_path, settings={"set": "music"}), tmp_path / "out"
    ).published
    erhu, tuba = actual[[0, 2, 3]].mean(axis=0), actual[1]
    assert list(figures.values()) == pytest.approx((erhu + tuba) / 2, abs=CLOSE)


def class_folder(
    folder: Path, word: str, counts: dict[str, int], query: dict[str, str]
) -> np.ndarray:
    """Numbers of pairs in each WORD=CLASS; the mean over classes of the medians of their scores."""
    medians = []
    for seed, (key, count) in enumerate(counts.items()):
        collected = []
        for index in range(count):
            target = noise(100 * seed + 2 * index, 650)
            mixture = target + (index + 1) * noise(100 * seed + 2 * index + 1, 650)
            stem = folder / f"{word}={key}" / f"{word}={key},index={index:03d}"
            written = [
                write(stem.with_name(f"{stem.name},{kind}.wav"), waveform, 32000)
                for kind, waveform in (("mixture", mixture), ("source", target))
            ]
            answer = estimate(written[1], written[0] - written[1], query[key])
            collected.append(
                (plain_sdr(written[1], answer), *scored(written[1], written[0], query[key]))
            )
        medians.append(np.median(collected, axis=0))
    return np.mean(medians, axis=0)


def test_audiosep_takes_medians_of_audioset_classes(tmp_path: Path) -> None:
    rows = [
        ("index", "mid", "display_name"),
        (0, "/m/1", "Speech"),
        (1, "/m/2", "Male speech, man"),
    ]
    write_csv(tmp_path / "metadata" / "class_labels_indices.csv", *rows)
    names = {"0": "Speech", "1": "Male speech, man"}
    expected = class_folder(tmp_path / "data" / "audioset", "class_id", {"0": 4, "1": 3}, names)
    # an eleventh pair, which the benchmark leaves aside
    for index in range(4, 12):
        for kind in ("mixture", "source"):
            name = f"class_id=0,index={index:03d},{kind}.wav"
            write(tmp_path / "data" / "audioset" / "class_id=0" / name, noise(index, 650), 32000)
    items = load_items("audiosep", tmp_path, settings={"set": "audioset"})
    assert len(items.ids) == 10 + 3
    for index in range(4, 12):
        for kind in ("mixture", "source"):
            name = f"class_id=0,index={index:03d},{kind}.wav"
            (tmp_path / "data" / "audioset" / "class_id=0" / name).unlink()
    items = load_items("audiosep", tmp_path, settings={"set": "audioset"})
    assert list(run(items, tmp_path / "out").published.values()) == pytest.approx(
        expected[1:], abs=CLOSE
    )


def test_uss_takes_medians_of_classes(tmp_path: Path) -> None:
    names = {"Bass_drum": "Bass drum", "Cough": "Cough"}
    expected = class_folder(tmp_path / "data", "class", {"Bass_drum": 3, "Cough": 4}, names)
    figures = run(load_items("uss", tmp_path / "data"), tmp_path / "out").published
    assert list(figures) == ["SDR", "SDRi"]
    assert list(figures.values()) == pytest.approx(expected[:2], abs=CLOSE)


def test_uss_queries_by_recordings_of_the_class(tmp_path: Path) -> None:
    class_folder(tmp_path / "data", "class", {"Cough": 2}, {"Cough": "Cough"})
    for name in ("b", "a"):
        write(tmp_path / "train" / "Cough" / f"{name}.wav", noise(3, 900), 32000)
    settings = {"queries": str(tmp_path / "train")}
    item = load_items("uss", tmp_path / "data", None, "examples", settings).render(1)
    assert isinstance(item.example, AudioQuery)
    assert [example.name for example in item.example.examples] == ["a", "b"]


def test_dcase_mixes_at_the_listed_snr_and_declips_to_nine_tenths(tmp_path: Path) -> None:
    sounds = {
        n: write(tmp_path / "lass_validation" / f"{n}.wav", noise(n, 801), 16000) for n in (1, 2, 3)
    }
    sounds[3] = write(tmp_path / "lass_validation" / "3.wav", 5 * sounds[3], 16000)
    listed = [(1, 2, -7, "a creaking door"), (3, 1, 12, "rain")]
    write_csv(
        tmp_path / "lass_synthetic_validation.csv", ("source", "noise", "snr", "caption"), *listed
    )
    items = load_items("dcase2024", tmp_path)
    collected = []
    for index, (source, other, snr, caption) in enumerate(listed):
        target, rest = sounds[source], sounds[other]
        rest = rest * np.sqrt((target**2).mean() / 10 ** (snr / 10) / (rest**2).mean())
        peak = np.abs(target + rest).max()
        assert (peak > 1) == (index == 1)
        scale = 0.9 / peak if peak > 1 else 1
        item = items.render(index)
        assert item.mixture == pytest.approx(scale * (target + rest), abs=1e-6)  # float32
        assert item.target == pytest.approx(scale * target, abs=1e-6)
        collected.append(scored(scale * target, scale * (target + rest), caption))
    figures = run(items, tmp_path / "out").published
    assert list(figures) == ["SDR", "SDRi", "SI-SDR"]
    assert list(figures.values())[1:] == pytest.approx(np.mean(collected, axis=0), abs=CLOSE)


@pytest.mark.parametrize("num_sources", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_bimodal_averages_bss_eval_3_over_all_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_sources: int
) -> None:
    import mir_eval

    monkeypatch.setattr(bimodal, "NUM_SAMPLES", 6000)
    names = [f"/{label}/{n}.wav" for n, label in enumerate(("erhu", "acoustic_guitar", "tuba"))]
    lengths = (30000, 4000, 40001)  # the second is shorter than a cut
    written = []
    for seed, (name, length) in enumerate(zip(names, lengths, strict=True)):
        written.append(write(tmp_path / f"audio{name}", noise(seed, length), 16000))
    seconds = (2, 0, 1)
    write_csv(
        tmp_path / "annotations" / "test.csv",
        *[(name, f"frames{name}", s) for name, s in zip(names, seconds, strict=True)],
    )
    rows = [(0, 2, 1)[:num_sources], (1, 0, 2)[:num_sources]]
    listed = [[names[i] for i in row] for row in rows]
    write_csv(tmp_path / "annotations" / f"test_sep_{num_sources}.csv", *listed)
    items = load_items("bimodal", tmp_path, settings={"num_sources": str(num_sources)})
    collected = []
    for row in rows:
        cuts = []
        for i in row:
            centre = (seconds[i] // 2 + 1) * 16000 - 8000
            tiled = np.concatenate([written[i], written[i]]) if i == 1 else written[i]
            padded = np.concatenate([tiled, np.zeros(30000)])
            cuts.append(padded[centre - 3000 : centre + 3000].clip(-1, 1) / num_sources)
        mixture = np.sum(cuts, axis=0)
        labels = [("erhu", "acoustic guitar", "tuba")[i] for i in row]
        answers = [
            estimate(cut, mixture - cut, f"The sound of {label}")
            for cut, label in zip(cuts, labels, strict=True)
        ]
        with pytest.warns(FutureWarning, match="Deprecated"):  # mir_eval 0.9 is without it
            ours = mir_eval.separation.bss_eval_sources(np.array(cuts), np.array(answers), False)
            mixed = np.array([mixture] * num_sources)
            both = mir_eval.separation.bss_eval_sources(np.array(cuts), mixed, False)
        collected.append([*(ratio.mean() for ratio in ours[:3]), both[0].mean()])
    figures = run(items, tmp_path / "out").published
    assert list(figures.values()) == pytest.approx(np.mean(collected, axis=0), abs=1e-3)


def test_bimodal_leaves_out_mixtures_with_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bimodal, "NUM_SAMPLES", 2000)
    names = ("/a/1.wav", "/b/2.wav", "/c/3.wav")
    for seed, name in enumerate(names):
        write(tmp_path / f"audio{name}", seed * noise(seed, 20000), 16000)  # the first is silent
    write_csv(tmp_path / "annotations" / "test.csv", *[(n, "f", 1) for n in names])
    write_csv(tmp_path / "annotations" / "test_sep_2.csv", names[:2], names[1:])
    summary = run(load_items("bimodal", tmp_path), tmp_path / "out")
    assert summary.overall["bss3_sdr"].count == 2
    assert summary.published["SDR"] == pytest.approx(summary.overall["bss3_sdr"].mean, abs=1e-9)


def test_musdb_takes_medians_of_frames_then_of_tracks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(musdb18, "SAMPLE_RATE", RATE)
    collected = []
    for number, length in enumerate((3 * RATE + 100, 2 * RATE + 7)):
        folder = tmp_path / "test" / f"track {number}"
        stems = np.array(
            [
                write(folder / f"{name}.wav", noise(10 * number + i, length, 2), RATE)
                for i, name in enumerate(musdb18.SOURCES)
            ]
        )
        stereo = sum(soundfile.read(folder / f"{name}.wav")[0] for name in musdb18.SOURCES)
        mixture = write(folder / "mixture.wav", stereo, RATE)
        answers = np.array(
            [
                estimate(stem, mixture - stem, name)
                for stem, name in zip(stems, musdb18.SOURCES, strict=True)
            ]
        )
        ratios = import_museval().metrics.bss_eval(
            stems[..., None], answers[..., None], RATE, RATE
        )[:4]
        collected.append(np.median(np.array(ratios), axis=2))
    expected = np.median(collected, axis=0)  # (4, sources)
    items = load_items("musdb18", tmp_path)
    assert items.name == "MUSDB18, 2 of 50 tracks"
    figures = run(items, tmp_path / "out").published
    for row, metric in enumerate(("SDR", "ISR", "SIR", "SAR")):
        for column, source in enumerate(musdb18.SOURCES):
            assert figures[f"{metric} of {source}"] == pytest.approx(
                expected[row, column], abs=1e-3
            )
    assert figures["SDR, mean of sources"] == pytest.approx(expected[0].mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("audiosep", r"vggsound_eval\.csv: no such list"),
        ("bimodal", r"test\.csv: no such list"),
        ("clipsep", r"test\.csv: no such list"),
        ("dcase2024", r"lass_synthetic_validation\.csv: no such list"),
        ("dcase2026", r"no soundscapes \(\*\.wav\) in it"),
        ("esc50", r"esc50\.csv: no such list"),
        ("hive", r"data\.parquet: no such list"),
        ("musdb18", "no tracks in it"),
        ("uss", "no folders such as class_id=0"),
    ],
)
def test_an_empty_folder_gives_one_line(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=message) as raised:
        load_items(name, tmp_path)
    assert "\n" not in str(raised.value)


def test_missing_recordings_are_counted_and_named(tmp_path: Path) -> None:
    audiosep_folder(tmp_path, "esc50", ["a", "b", "c"])
    for file in ("mixture-1.wav", "segment-2.wav"):
        (tmp_path / "data" / "esc50" / file).unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of the 6 files .*mixture-1.*segment-2"):
        load_items("audiosep", tmp_path, settings={"set": "esc50"})
