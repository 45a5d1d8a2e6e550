"""`qsep auto`: what it writes, with a model that knows kinds of its own and with USS, and what it refuses."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command import Run, content, names, record
from tiny import tiny_separator, tiny_tagger

from qsep.queries.audioset import audioset
from qsep.recipes.inference.auto import print_sounds
from qsep.separation.audio import target_files
from qsep.separation.audio.sample_format import split
from qsep.separation.published.converters.resunet30 import published_modules

ANY = ("--threshold", "1e-6")  # random networks detect everything a little


def summary(folder: Path, stem: str = "a") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "out" / f"{stem}.auto.json").read_text())
    return content


@pytest.mark.parametrize("inputs", [("a.wav", "b.wav"), (".",)])
def test_recordings_are_mixed_down_and_repaired_on_request(
    qsep: Run, tiny_model: Path, folder: Path, inputs: tuple[str, ...]
) -> None:
    samples = np.random.default_rng(2).uniform(-0.7, 0.7, (5001, 3)).astype(np.float32)
    samples[4000] = np.nan
    soundfile.write(folder / "a.wav", samples, 8000, subtype="FLOAT")
    mean = np.nan_to_num(samples.astype(np.float64).mean(axis=1)).astype(np.float32)
    soundfile.write(folder / "b.wav", mean, 8000, subtype="FLOAT")
    options = ("--mono", "--nan", "zero", "-o", "out", "-m", tiny_model, *ANY)
    assert qsep("auto", *inputs, *options).code == 0
    of_mean = {name[1:]: text for name, text in content(folder / "out").items() if name[0] == "b"}
    repaired = {name[1:]: text for name, text in content(folder / "out").items() if name[0] == "a"}
    del of_mean[".auto.json"], repaired[".auto.json"]  # name the recording
    assert len(repaired) >= 2
    assert repaired == of_mean


@pytest.mark.parametrize(
    ("rate", "num_channels", "num_samples", "subtype"),
    [(44100, 2, 26007, "PCM_24"), (8000, 1, 1, "PCM_16"), (11025, 3, 2753, "FLOAT")],
)
def test_it_writes_each_sound_in_the_recordings_own_format_and_says_when(
    qsep: Run,
    tiny_model: Path,
    folder: Path,
    rate: int,
    num_channels: int,
    num_samples: int,
    subtype: str,
) -> None:
    record(folder / "a.wav", num_samples, rate, num_channels, subtype)
    done = qsep("auto", "a.wav", "-o", "out", "-m", tiny_model, *ANY)
    assert done.code == 0, done.err
    report = summary(folder)
    assert report["detector"] == "model"
    assert report["seconds"] == pytest.approx(num_samples / rate, abs=1e-3)
    assert report["sounds"]
    files = {Path(sound["file"]).name for sound in report["sounds"]}
    assert names(folder / "out") == {*files, "a.auto.json", "a.auto.png"}
    assert files <= {"a.dog.wav", "a.rain.wav", "a.violin.wav"}
    for sound in report["sounds"]:
        info = soundfile.info(folder / sound["file"])
        assert (info.samplerate, info.channels, info.frames) == (rate, num_channels, num_samples)
        assert info.subtype == subtype
        assert sound["spans"][0][0] >= 0
        assert sound["spans"][-1][1] <= report["seconds"] + 1e-3
    assert (folder / "out" / "a.auto.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_name_that_is_not_text_is_escaped_in_the_summary(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    name = os.fsdecode(b"k\xe4fer")
    record(folder / "a.wav").rename(folder / f"{name}.wav")
    done = qsep("auto", f"{name}.wav", "-o", "out", "-m", tiny_model, *ANY)
    assert done.code == 0, done.err
    assert b"k\\udce4fer.wav" in (folder / "out" / f"{name}.auto.json").read_bytes()
    assert summary(folder, name)["input"] == f"{name}.wav"


def test_a_family_is_printed_with_the_guess_of_its_class(
    capsys: pytest.CaptureFixture[str],
) -> None:
    about = {"level_db": -3.0, "spans": [[0.5, 2.0]]}
    guess = {"name": "a flute", "probability": 0.4512}
    sounds = [
        {"name": "a dog", "guess": None, "file": "a.wav", "probability": 0.9, **about},
        {"name": "winds", "guess": guess, "file": "b.wav", "probability": 0.7, **about},
    ]
    print_sounds({"sounds": sounds, "input": "x.wav"})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("a.wav  a dog, probability 0.90, -3.0 dB")
    assert second.startswith("b.wav  winds (perhaps a flute, 0.45), probability 0.70, -3.0 dB")
    assert second.endswith("at 0.5-2.0 s")


def test_targets_sum_to_at_most_the_recording(qsep: Run, tiny_model: Path, folder: Path) -> None:
    record(folder / "a.wav", 20000)
    assert qsep("auto", "a.wav", "-o", "out", "-m", tiny_model, *ANY).code == 0
    mixture = soundfile.read(folder / "a.wav")[0]
    parts = [soundfile.read(folder / sound["file"])[0] for sound in summary(folder)["sounds"]]
    assert len(parts) >= 2
    levels = [sound["level_db"] for sound in summary(folder)["sounds"]]
    expected = [10 * np.log10(np.square(part).sum() / np.square(mixture).sum()) for part in parts]
    np.testing.assert_allclose(levels, expected, atol=0.01)
    spectrum = np.abs(np.fft.rfft(sum(parts)))
    assert np.square(spectrum).sum() <= np.square(np.abs(np.fft.rfft(mixture))).sum()


def test_silence_is_reported_to_hold_no_sounds_and_is_no_failure(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    soundfile.write(folder / "a.wav", np.zeros((9000, 2)), 8000)
    done = qsep("auto", "a.wav", "-o", "out", "-m", tiny_model, *ANY)
    assert done.code == 0
    assert "a.wav: no sound detected" in done.out
    assert names(folder / "out") == {"a.auto.json"}
    assert summary(folder)["sounds"] == []
    done = qsep("auto", "a.wav", "-o", "other", "-m", tiny_model, "--json")
    assert json.loads(done.out)["sounds"] == []


def test_existing_files_are_kept_without_overwrite(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav", 9000)
    command = ("auto", "a.wav", "-o", "out", "-m", tiny_model, *ANY)
    assert qsep(*command).code == 0
    before = content(folder / "out")
    done = qsep(*command)
    assert done.code == 2
    assert "a.auto.json exists: add --overwrite" in done.error
    (folder / "out" / "a.auto.json").unlink()
    (folder / "out" / "a.auto.png").unlink()
    done = qsep(*command)  # file names are known only after detection
    assert done.code == 1
    assert "exists: add --overwrite" in done.error
    assert names(folder / "out") == before.keys() - {"a.auto.json", "a.auto.png"}
    assert qsep(*command, "--overwrite").code == 0
    assert content(folder / "out") == before


def test_overwriting_removes_sounds_that_are_no_longer_found_and_nothing_else(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav", 9000)
    assert qsep("auto", "a.wav", "-o", "out", "-m", tiny_model, *ANY).code == 0
    first, second, *removed = (folder / sound["file"] for sound in summary(folder)["sounds"])
    assert removed
    (folder / "out" / "b.wav").touch()
    (folder / "out" / "a.mine.wav").touch()
    never = ("--threshold", "1", "--overwrite")
    done = qsep("auto", "a.wav", second, "-o", "out", "-m", tiny_model, *never)
    assert done.code == 0, done.err
    assert names(folder / "out") == {
        *("a.auto.json", f"{second.stem}.auto.json", "b.wav", "a.mine.wav"),
        second.name,  # is to be separated itself
    }
    assert not first.exists()
    assert summary(folder)["sounds"] == []


def test_a_failing_recording_leaves_no_files_and_does_not_stop_the_others(
    qsep: Run, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(folder / "a.wav", 9000)
    record(folder / "b.wav", 9000)

    def fail_once(*arguments: Any) -> Any:
        monkeypatch.setattr(target_files, "split", split)
        raise OSError(28, "No space left on device", "out/a.dog.wav")

    monkeypatch.setattr(target_files, "split", fail_once)
    done = qsep("auto", "a.wav", "b.wav", "-o", "out", "-m", tiny_model, "--json", *ANY)
    assert done.code == 1
    assert "No space left on device" in done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows[0]["error"].startswith("out/a.dog.wav: No space left on device: free")
    assert rows[1]["sounds"]
    assert all(name.startswith("b.") for name in names(folder / "out"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--level", "twig"), "--level 'twig': expected 1, 2, 3 … or leaf"),
        (("--level", "0"), "--level '0': expected 1, 2, 3 … or leaf"),
        (
            ("--tagger", "none.pth"),
            "none.pth: no such file or folder; give yamnet, or Cnn14_mAP=0.431.pth",
        ),
        (("x/a.flac",), "x/a.flac does not exist"),
    ],
)
def test_invalid_requests_are_refused_in_one_line(
    qsep: Run, tiny_model: Path, folder: Path, options: tuple[str, ...], reason: str
) -> None:
    record(folder / "a.wav", 900)
    done = qsep("auto", "a.wav", "-o", "out", "-m", tiny_model, *options)
    assert done.code == 2
    assert reason in done.error
    assert not (folder / "out").exists()


def test_two_inputs_of_one_name_are_refused(qsep: Run, tiny_model: Path, folder: Path) -> None:
    (folder / "x").mkdir()
    record(folder / "a.wav", 900)
    record(folder / "x" / "a.wav", 900)
    done = qsep("auto", "a.wav", "x/a.wav", "-o", "out", "-m", tiny_model)
    assert done.code == 2
    assert "would be written to the same files: separate them in two runs" in done.error


# USS


def hearing(*classes: str) -> dict[str, torch.Tensor]:
    """Weights of a tagger that detects these classes only."""
    weights = dict(tiny_tagger().state_dict())
    bias = torch.full((527,), -30.0)
    bias[[audioset()[name].index for name in classes]] = 9.0
    return weights | {"fc_audioset.bias": bias}


@pytest.fixture(name="uss")
def released(folder: Path) -> Path:
    """A checkpoint of USS in its authors' format, whose tagger detects a dog's bark and music."""
    separator = tiny_separator(
        "resunet30",
        query_dim=527,
        channels=(2, 3, 3, 4, 4, 4),
        sample_rate=32000,
        window_samples=2048,
        hop_samples=320,
    )
    theirs = {ours: theirs for theirs, ours in published_modules().items() if ours}
    weights = {}
    for key, value in separator.state_dict().items():
        module, _, name = key.rpartition(".")
        weights[f"ss_model.{theirs[module]}.{name}"] = value.clone()
    training_items = hearing("Animal", "Dog", "Bark", "Music").items()
    weights |= {f"query_net.base.{key}": value for key, value in training_items}
    torch.save({"state_dict": weights}, folder / "uss.ckpt")
    return folder / "uss.ckpt"


def test_uss_writes_nodes_of_the_levels_that_were_chosen(
    qsep: Run, uss: Path, folder: Path
) -> None:
    record(folder / "a.wav", 45000, 16000, 2)
    levels = ("--level", "1", "--level", "2", "--level", "leaf")
    done = qsep("auto", "a.wav", "-o", "out", "-m", uss, *levels)
    assert done.code == 0, done.err
    report = summary(folder)
    assert (report["detector"], report["threshold"], report["step_seconds"]) == ("tagger", 0.2, 2.0)
    described = {sound["name"]: sound for sound in report["sounds"]}
    assert list(described) == ["Animal", "Music", "Domestic animals, pets", "Bark"]
    bark = described["Bark"]
    assert bark["ancestors"] == ["Animal", "Domestic animals, pets", "Dog"]
    assert bark["mid"] == "/m/05tny_"
    assert bark["spans"] == [[0.0, 2.812]]
    assert described["Animal"]["classes"] == ["Animal", "Dog", "Bark"]
    assert names(folder / "out") == {
        *(f"a.{name}.wav" for name in ("animal", "music", "domestic-animals-pets", "bark")),
        *("a.auto.json", "a.auto.png"),
    }
    files = {name: soundfile.read(folder / row["file"])[0] for name, row in described.items()}
    assert files["Animal"].shape == (45000, 2)
    assert files["Animal"].any()
    assert not np.array_equal(files["Animal"], files["Bark"])


def test_a_tagger_of_its_own_release_names_classes_for_a_model_that_reads_words(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav", 9000)
    (folder / "panns").mkdir()
    weights = hearing("Animal", "Dog", "Speech")
    torch.save({"model": weights}, folder / "panns" / "Cnn14_mAP=0.431.pth")
    done = qsep("auto", "a.wav", "-o", "out", "-m", tiny_model, "--tagger", "panns")
    assert done.code == 0, done.err
    assert [sound["name"] for sound in summary(folder)["sounds"]] == ["Speech", "Dog"]
    assert {"a.speech.wav", "a.dog.wav"} < names(folder / "out")
