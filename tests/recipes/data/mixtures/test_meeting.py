"""Which labels meet: in the rules themselves, and in the mixtures of every kind of data that has them."""

import itertools
from pathlib import Path

import golden_mixtures
import numpy as np
import pytest
import soundfile
from golden_mixtures import BOOK, LABELS, RATE, SAMPLES
from tiny import text_of

from qsep.recipes.data.index import VideoClip
from qsep.recipes.data.mixtures.meeting import Meetings
from qsep.recipes.data.mixtures.mix_and_separate import MixAndSeparate, MixConfig, RecordedSounds
from qsep.recipes.data.mixtures.segments import CaptionedClip, SegmentMixConfig, SegmentMixtures
from qsep.recipes.data.mixtures.videos import VideoMixConfig, training_picks

FAMILIES = {"music": ["violin", "bell"], "weather": ["rain", "wind", "hail"], "lone": ["dog"]}
OVERLAPS = {"siren": ["bell", "dog"]}
MEETINGS = Meetings(LABELS, FAMILIES, OVERLAPS)


def test_a_label_meets_neither_itself_nor_what_it_contains_nor_what_contains_it() -> None:
    assert MEETINGS.never_mixed["siren"] == {"siren", "bell", "dog"}
    assert MEETINGS.never_mixed["bell"] == {"bell", "siren"}
    assert MEETINGS.never_mixed["rain"] == {"rain"}
    assert MEETINGS.unused(["bell", "rain"]) == ["dog", "violin", "wind"]
    assert MEETINGS.barred(["unheard of"]) == {"unheard of"}


def test_families_of_fewer_than_two_known_labels_do_not_count() -> None:
    assert MEETINGS.families == {"music": ["violin", "bell"], "weather": ["rain", "wind"]}
    assert MEETINGS.kin["rain"] == {"rain", "wind"}
    assert MEETINGS.kin["dog"] == {"dog"}


def test_labels_are_chosen_in_order_kin_of_the_first_before_others() -> None:
    order = ["wind", "siren", "dog", "violin", "rain", "bell"]
    assert MEETINGS.chosen(order, 3, False) == ["wind", "siren", "violin"]
    assert MEETINGS.chosen(order, 3, True) == ["wind", "rain", "siren"]
    assert MEETINGS.chosen(["siren", "bell", "dog"], 2, False) == ["siren"]


def labelled(**settings: object) -> MixAndSeparate:
    config = MixConfig(SAMPLES, families=FAMILIES, overlaps=OVERLAPS, **settings)  # type: ignore[arg-type]
    sounds = RecordedSounds(golden_mixtures.recordings(), golden_mixtures.AUGMENT)
    return MixAndSeparate(sounds, BOOK, config, RATE, 3)


def named(text: str) -> str | None:
    return next((label for label in LABELS if label in text), None)


def test_recordings_that_overlap_are_neither_mixed_nor_queried_as_absent() -> None:
    pairs = set()
    data = labelled(max_absent=3, num_queries=6)
    for draw in range(60):
        sources, queries, _ = data[draw]
        labels = [named(text_of(query)) for query in queries if query]
        present = [label for label, source in zip(labels, sources, strict=False) if source.any()]
        pairs |= {frozenset({one, other}) for one in present for other in labels if one != other}
    assert not pairs & {frozenset({"siren", "bell"}), frozenset({"siren", "dog"})}
    known = {pair for pair in pairs if None not in pair}
    assert len(known) == 15 - 2


def test_recordings_of_one_family_are_mixed_as_often_as_asked() -> None:
    data = labelled(family_probability=0.5, num_sources_weights=(1.0,), num_queries=2)
    together = 0
    for draw in range(200):
        _, queries, _ = data[draw]
        first, second = (named(text_of(query)) or "" for query in queries if query)
        if len(MEETINGS.kin[first]) > 1:  # four labels of six
            together += second in MEETINGS.kin[first]
    # half of 133, and by chance one in five of the other half
    assert together == pytest.approx(133 * (0.5 + 0.5 / 5), abs=24)


def test_captions_that_overlap_are_not_mixed(tmp_path: Path) -> None:
    times = np.arange(2 * RATE) / RATE
    for index, label in enumerate(
        LABELS
    ):  # of 200 Hz times its number, so that a source tells its label
        soundfile.write(tmp_path / f"{label}.wav", np.sin(400 * np.pi * (index + 1) * times), RATE)
    clips = [CaptionedClip(f"{label}.wav", (label,)) for label in LABELS]
    config = SegmentMixConfig(RATE, "exact", 3, overlaps=OVERLAPS)
    data = SegmentMixtures(tmp_path, clips, config, False, 4, RATE, 1)
    pairs = set()
    for draw in range(60):
        sources = data[draw][0][:, 0].numpy()
        spectra = np.abs(np.fft.rfft(sources[sources.any(axis=1)]))
        labels = [LABELS[round(int(peak) / 200) - 1] for peak in spectra.argmax(axis=1)]
        assert len(set(labels)) == len(labels) >= 2
        pairs |= {frozenset(pair) for pair in itertools.combinations(labels, 2)}
    barred = {frozenset({"siren", "bell"}), frozenset({"siren", "dog"})}
    assert not pairs & barred
    assert len(pairs) == 15 - 2
    with pytest.raises(ValueError, match=r"mix.overlaps needs mix.rule = 'exact', not 'uss'"):
        SegmentMixConfig(rule="uss", overlaps=OVERLAPS)


CLIPS = [VideoClip(f"{n}.wav", f"{n}", 9, label) for n, label in enumerate(2 * LABELS)]


def test_videos_of_one_label_or_overlapping_ones_do_not_meet_if_asked() -> None:
    config = VideoMixConfig(SAMPLES, 3, different_labels=True, overlaps=OVERLAPS)
    seen = set()
    for draw in range(60):
        picks = training_picks(CLIPS, config, 5, draw)
        labels = [pick.clip.label for pick in picks]
        assert len(set(labels)) == 3
        assert not {"siren", "bell"} <= set(labels)
        assert not {"siren", "dog"} <= set(labels)
        seen |= {frozenset(labels[1:])}
    assert len(seen) > 6
    assert [p.clip for p in training_picks(CLIPS, config, 5, 7)] == [
        p.clip for p in training_picks(CLIPS, config, 5, 7)
    ]


def test_too_few_labels_of_videos_are_refused() -> None:
    config = VideoMixConfig(SAMPLES, 3, different_labels=True)
    with pytest.raises(ValueError, match=r"num_sources is 3, but only 1 labels may meet"):
        training_picks([CLIPS[0], CLIPS[6], CLIPS[0]], config, 5, 0)
    with pytest.raises(ValueError, match=r"overlaps needs mix.different_labels = true"):
        VideoMixConfig(overlaps=OVERLAPS)
