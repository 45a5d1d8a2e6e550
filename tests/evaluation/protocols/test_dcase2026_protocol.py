"""DCASE 2026 task 4 on three soundscapes of a few samples: CAPI-SDRi worked out by hand."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.evaluation.interface import Item
from qsep.evaluation.protocols import load_items
from qsep.evaluation.protocols.dcase2026 import QUERIES
from qsep.evaluation.run import Summary, evaluate

BASIS = 0.5 * np.eye(6, 40)  # orthogonal, of equal energy
SPEECH_1, SPEECH_2, DISHES, NOISE, ERROR, TAIL = BASIS
SOUNDS = {
    "test_0000_0_Speech": 2 * SPEECH_1,
    "test_0000_1_Dishes": DISHES,
    "test_0000_2_Speech": SPEECH_2,
    "test_0002_Speech": SPEECH_2,  # the number may be left out
}
MIXTURES = {
    "test_0000": 2 * SPEECH_1 + SPEECH_2 + DISHES + TAIL,
    "test_0001": NOISE,  # no target
    "test_0002": SPEECH_2 + 3 * NOISE,
}
# 10 log10(4 / 1): estimates have a tenth of the target's amplitude as error, 20 dB; the mixtures' SDRs are
# 10 log10(4 / 3) to the louder voice of the first and 10 log10(1 / 9) to that of the third.
GAIN_0 = 20 - 10 * np.log10(4 / 3)
GAIN_2 = 20 + 10 * np.log10(9)
CLOSE = 1e-3  # float32's epsilon in energies of 0.0025 and more


@pytest.fixture(name="folder")
def soundscapes(tmp_path: Path) -> Path:
    for name, first in MIXTURES.items():
        others = np.random.default_rng(3).standard_normal((40, 3))  # channels that are not used
        write(tmp_path / "soundscape" / f"{name}.wav", np.column_stack([first, others]))
    for name, sound in SOUNDS.items():
        write(tmp_path / "oracle_target" / f"{name}.wav", sound)
    return tmp_path


def write(path: Path, waveform: np.ndarray, rate: int = 32000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.astype(np.float32), rate, subtype="FLOAT")


class Answers:
    """An estimator with given estimates for some queries, and silence for the others."""

    name, fingerprint, model = "answers", "1", None

    def __init__(self, answers: Mapping[str, np.ndarray]) -> None:
        self.answers = answers

    def __call__(self, item: Item) -> np.ndarray:
        return self.answers.get(item.id, np.zeros(item.mixture.shape))


def run(folder: Path, answers: Mapping[str, np.ndarray], **settings: str) -> Summary:
    items = load_items("dcase2026", folder, settings=settings)
    summary = evaluate(Answers(answers), items, folder / "scores")
    assert not summary.failed
    return summary


VOICES = {
    "test_0000/Speech": 2 * SPEECH_1 + 0.2 * ERROR,
    "test_0002/Speech": SPEECH_2 + 0.1 * ERROR,
}


def test_every_class_is_queried_in_every_soundscape(folder: Path) -> None:
    items = load_items("dcase2026", folder)
    assert items.name == "DCASE 2026 task 4, 3 soundscapes"
    assert len(items.ids) == 3 * 18
    item = items.render(items.ids.index("test_0000/Speech"))
    assert item.others == ("Dishes",)
    assert item.mixture == pytest.approx(MIXTURES["test_0000"], abs=1e-7)  # the first channel
    assert item.target == pytest.approx(2 * SPEECH_1 + SPEECH_2, abs=1e-7)
    absent = items.render(items.ids.index("test_0001/FootSteps"))
    assert (absent.query, absent.others, absent.target.any()) == ("footsteps", (), np.False_)


def test_missed_duplicates_and_classes_count_0_and_silence_rightly_kept_counts_nothing(
    folder: Path,
) -> None:
    """The second voice and the dishes are missed: a third of one gain, and all of the other."""
    summary = run(folder, VOICES)
    assert summary.published == {"CAPI-SDRi": pytest.approx((GAIN_0 / 3 + GAIN_2) / 2, abs=CLOSE)}


def test_a_false_positive_lowers_its_soundscapes_score_and_an_empty_soundscapes_to_0(
    folder: Path,
) -> None:
    extra = {"test_0001/Blender": NOISE, "test_0002/Typing": NOISE}
    summary = run(folder, VOICES | extra)
    expected = np.mean([GAIN_0 / 3, 0, GAIN_2 / 2])
    assert summary.published == {"CAPI-SDRi": pytest.approx(expected, abs=CLOSE)}


def test_estimates_below_the_level_are_not_found(folder: Path) -> None:
    """NOISE has a tenth of the third soundscape's energy: -10 dB."""
    answers = VOICES | {"test_0002/Typing": NOISE}
    louder = run(folder, answers, absent_db="-9.9").published["CAPI-SDRi"]
    # its speech is at -10 dB as well: nothing is found
    assert louder == pytest.approx((GAIN_0 / 3 + 0) / 2, abs=CLOSE)


def test_the_level_counts_in_db_of_energy(folder: Path) -> None:
    answers = VOICES | {"test_0002/Typing": NOISE}
    both = run(folder, answers, absent_db="-10.1").published["CAPI-SDRi"]
    assert both == pytest.approx((GAIN_0 / 3 + GAIN_2 / 2) / 2, abs=CLOSE)


def test_oracle_labels_query_only_present_classes_and_detect_them_at_any_level(
    folder: Path,
) -> None:
    items = load_items("dcase2026", folder, settings={"labels": "oracle"})
    assert items.ids == ("test_0000/Speech", "test_0000/Dishes", "test_0002/Speech")
    assert items.condition == "oracle labels"
    summary = run(folder, VOICES, labels="oracle")
    # silence for the dishes: 0 dB less the mixture's 10 log10(1 / 6)
    expected = np.mean([(GAIN_0 + 10 * np.log10(6)) / 3, GAIN_2])
    assert summary.published == {"CAPI-SDRi": pytest.approx(expected, abs=CLOSE)}


def test_a_soundscape_of_which_an_item_failed_is_left_out(folder: Path) -> None:
    items = load_items("dcase2026", folder)
    broken = {"test_0000/Percussion": np.full(40, np.nan)}
    summary = evaluate(Answers(VOICES | broken), items, folder / "scores")
    assert list(summary.failed) == ["test_0000/Percussion"]
    assert summary.published == {"CAPI-SDRi": pytest.approx(GAIN_2, abs=CLOSE)}


def test_the_queries_are_the_classes_of_the_task() -> None:
    assert len(QUERIES) == 18
    assert all(query == query.lower() and query.isascii() for query in QUERIES.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"absent_db": "loud"}, "absent_db='loud'; expected a level in dB of at most 0"),
        ({"absent_db": "3"}, "absent_db='3'; expected a level in dB of at most 0"),
        ({"labels": "some"}, "labels='some'; expected one of all, oracle"),
    ],
)
def test_bad_settings_are_refused_in_one_line(
    folder: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"\A{message}[^\n]*\Z"):
        load_items("dcase2026", folder, settings=settings)


@pytest.mark.parametrize("name", ["test_0000_0_Dog", "test_0003_0_Speech", "Speech"])
def test_misnamed_sources_are_refused(folder: Path, name: str) -> None:
    write(folder / "oracle_target" / f"{name}.wav", NOISE)
    with pytest.raises(ValueError, match=rf"{name}\.wav: expected SOUNDSCAPE_NUMBER_LABEL\.wav"):
        load_items("dcase2026", folder)


def test_sources_of_another_rate_or_length_fail_alone(folder: Path) -> None:
    write(folder / "oracle_target" / "test_0000_1_Dishes.wav", DISHES, 16000)
    write(folder / "oracle_target" / "test_0002_Speech.wav", SPEECH_2[:39])
    summary = evaluate(Answers(VOICES), load_items("dcase2026", folder), folder / "scores")
    assert "16000 Hz; expected 32000 Hz" in summary.failed["test_0000/Dishes"]
    assert "39 samples and test_0002.wav has 40" in summary.failed["test_0002/Speech"]
    assert summary.num_failed == 2
