"""Lists of recordings, and what is read from them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.recipes.data.mixtures.clips import ClipStore, load_mono, load_takes, read_clip_list

RATE = 8000
LIST = "file,label,split\na.wav,rain,train\nb.wav,flute,train\nc.wav,rain,dev\nd.wav,rain,train\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four recordings, each a constant of its own."""
    for level, name in enumerate("abcd", start=1):
        soundfile.write(tmp_path / f"{name}.wav", np.full(100 * level, level / 8), RATE)
    (tmp_path / "clips.csv").write_text(LIST)
    return tmp_path


def test_a_split_is_read_by_label(folder: Path) -> None:
    by_label = ClipStore(folder, "train", RATE).by_label
    actual = {label: [len(clip) for clip in clips] for label, clips in by_label.items()}
    assert actual == {"rain": [100, 400], "flute": [200]}


def test_samples_are_read_unchanged(folder: Path) -> None:
    (clip,) = ClipStore(folder, "dev", RATE).by_label["rain"]
    assert clip.dtype == np.float32
    assert np.array_equal(clip, np.full(300, 0.375, np.float32))


def test_only_the_requested_labels_are_read(folder: Path) -> None:
    (folder / "b.wav").unlink()  # not missed
    assert list(ClipStore(folder, "train", RATE, ("rain",)).by_label) == ["rain"]


def test_a_label_that_the_split_lacks_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"clips\.csv: no clips of 'flute' in split 'dev'"):
        read_clip_list(folder, "dev", ["rain", "flute"])


def test_a_folder_without_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"clips\.csv: no such file; data\.folder must hold"):
        read_clip_list(tmp_path, "train")


def test_missing_recordings_are_counted_and_the_first_is_named(folder: Path) -> None:
    for name in ("b.wav", "d.wav"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"2 recordings are missing, first b\.wav"):
        ClipStore(folder, "train", RATE)


def test_a_split_without_clips_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="no clips of split 'test'"):
        read_clip_list(folder, "test")


def test_a_missing_column_is_named(folder: Path) -> None:
    (folder / "clips.csv").write_text("file,kind,split\na.wav,rain,train\n")
    with pytest.raises(ValueError, match=r"clips\.csv: no column label"):
        read_clip_list(folder, "train")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, r"c\.wav: silent: remove it from the list"),
        (np.nan, r"c\.wav holds a NaN .* at 0\.000 s"),
    ],
)
def test_a_silent_or_broken_recording_is_named_once(
    folder: Path, value: float, message: str
) -> None:
    soundfile.write(folder / "c.wav", np.full(50, value), RATE, subtype="FLOAT")
    for load in (ClipStore, load_takes):
        with pytest.raises(ValueError, match=message) as refused:
            load(folder, "dev", RATE)
        assert str(refused.value).count("c.wav") == 1


def test_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.array([[0.5, 0.25], [-0.5, 0.0], [0.25, 0.25]])
    soundfile.write(tmp_path / "stereo.wav", channels, RATE, subtype="FLOAT")
    assert np.array_equal(
        load_mono(tmp_path / "stereo.wav", RATE), np.array([0.375, -0.25, 0.25], np.float32)
    )


def test_another_rate_is_resampled_at_the_same_pitch(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, tone], 1), 44100, subtype="FLOAT")
    mono = load_mono(tmp_path / "tone.wav", RATE)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    # soxr HQ keeps the pass band within 1e-4; the ends ring
    assert mono[500:-500] == pytest.approx(expected[500:-500], abs=1e-3)
    assert len(mono) == RATE


@pytest.mark.parametrize("name", ["../a.wav", "/etc/a.wav", "sub/../../a.wav"])
def test_a_list_names_nothing_outside_its_folder(folder: Path, name: str) -> None:
    (folder / "clips.csv").write_text(f"file,label,split\n{name},rain,train\n")
    with pytest.raises(ValueError, match=r"clips\.csv: .*a\.wav is outside its folder"):
        read_clip_list(folder, "train")
