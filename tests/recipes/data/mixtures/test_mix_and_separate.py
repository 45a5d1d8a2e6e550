"""Training items: what they hold, and that a seed and a number decide them."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from tiny import text_of
from torch.utils.data import DataLoader

from qsep.recipes.data.mixtures.augment import AugmentConfig
from qsep.recipes.data.mixtures.mix_and_separate import (
    MixAndSeparate,
    MixConfig,
    RecordedSounds,
    active_stretch,
    cut_or_pad,
    mean_power,
)
from qsep.recipes.data.wording import PhraseBook

RATE = 8000
SEGMENT = 1024
LABELS = ("a", "b", "c", "d", "e", "f")
BOOK = PhraseBook(
    LABELS,
    tuple(f"the {label}" for label in LABELS),
    {label: tuple(f"{label} {number}" for number in range(4)) for label in LABELS},
    ("x 0", "x 1", "x 2"),
)
PLAIN = AugmentConfig(0.0, 3.0, 0.0, 4.0, 0.0)


def tone(index: int, num_samples: int = 4096) -> np.ndarray:
    """On the bin 20 * (index + 1) of 1,024: so that labels are recognised without error."""
    return np.sin(2 * np.pi * 20 * (index + 1) / SEGMENT * np.arange(num_samples)).astype("float32")


def dataset(seed: int = 3, augment: AugmentConfig = PLAIN, **mix: Any) -> MixAndSeparate:
    by_label = {label: [tone(index)] for index, label in enumerate(LABELS)}
    config = MixConfig(segment_samples=SEGMENT, augment=augment, **mix)
    return MixAndSeparate(RecordedSounds(by_label, augment), BOOK, config, RATE, seed)


def tone_label(source: torch.Tensor) -> str:
    """The label of a source (1, t), from its spectrum."""
    spectrum = np.abs(np.fft.rfft(source[0].numpy()))
    return LABELS[round(spectrum.argmax() / 20) - 1]


def test_an_item_does_not_depend_on_earlier_draws() -> None:
    forwards, backwards = dataset(augment=AugmentConfig()), dataset(augment=AugmentConfig())
    first = [forwards[draw] for draw in range(5)]
    second = [backwards[draw] for draw in reversed(range(5))][::-1]
    for (sources, *rest), (same, *rest_again) in zip(first, second, strict=True):
        assert torch.equal(sources, same)
        assert rest == rest_again


def test_other_processes_draw_the_same_items() -> None:
    data = dataset(augment=AugmentConfig())
    loader = DataLoader(
        data, batch_size=2, num_workers=2, collate_fn=data.collate, sampler=range(6)
    )
    batches = list(loader)
    for index, batch in enumerate(batches):
        expected = data.collate([data[2 * index], data[2 * index + 1]])
        assert torch.equal(batch.sources, expected.sources)
        assert (batch.queries, batch.ids) == (expected.queries, expected.ids)
    assert len(batches) == 3


def test_global_random_state_plays_no_part() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 the state that must not matter
    first = dataset(augment=AugmentConfig())[0]
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert torch.equal(first[0], dataset(augment=AugmentConfig())[0][0])


def test_seeds_and_draws_give_different_items() -> None:
    items = [dataset(seed)[draw][0] for seed in (3, 4) for draw in (0, 1)]
    assert len({item.numpy().tobytes() for item in items}) == 4


def test_sources_of_a_mixture_have_different_labels() -> None:
    for draw in range(40):
        sources, _, _ = dataset()[draw]
        labels = [tone_label(source) for source in sources if source.any()]
        assert len(set(labels)) == len(labels) >= 2


def test_a_present_sound_is_queried_by_a_wording_of_its_label() -> None:
    for draw in range(40):
        sources, queries, _ = dataset()[draw]
        for source, query in zip(sources, queries, strict=True):
            if source.any():
                assert text_of(query) in BOOK.phrases[tone_label(source)]


def test_an_absent_query_has_a_silent_source_and_names_no_sound_of_the_mixture() -> None:
    others = 0
    few, many = dataset(num_sources_weights=(1.0, 1.0)), dataset()
    few.sounds.labels = LABELS[:3]  # so that every absent sound is queried
    for draw in range(60):
        sources, queries, _ = (few, many)[draw % 2][draw]
        present = {tone_label(source) for source in sources if source.any()}
        absent = [
            text_of(query).split()[0]
            for source, query in zip(sources, queries, strict=True)
            if query is not None and not source.any()
        ]
        assert present.isdisjoint(absent)
        known = [label for label in absent if label != "x"]
        assert len(set(known)) == len(known)
        others += len(absent) - len(known)
    assert others > 0


def test_a_noisy_source_holds_another_unnamed_sound_at_its_level() -> None:
    data = dataset(num_sources_weights=(1.0,), noise_db=(-9.0, -6.0))
    for draw in range(30):
        sources, queries, _ = data[draw]
        powers = np.abs(np.fft.rfft(sources[:, 0].numpy())) ** 2
        named, unnamed, texts = [], [], set()
        for power, query in zip(powers, queries, strict=True):
            if query is None:
                continue
            label = text_of(query).split()[0]
            texts.add(label)
            if not power.any():
                continue
            louder, quieter = np.argsort(power)[::-1][:2]
            assert power[[louder, quieter]].sum() > 0.999 * power.sum()
            assert -9 <= 10 * np.log10(power[quieter] / power[louder]) <= -6
            named.append(LABELS[louder // 20 - 1])
            unnamed.append(LABELS[quieter // 20 - 1])
            assert label == named[-1]
        assert len(set(named + unnamed)) == 4
        assert texts.isdisjoint(unnamed)


def test_noisy_sources_need_twice_as_many_labels() -> None:
    with pytest.raises(ValueError, match="mixtures of 8 different sounds, but 6 labels"):
        dataset(noise_db=(-9.0, -6.0))


def test_a_second_recording_of_the_label_joins_at_its_level() -> None:
    augment = AugmentConfig(0.0, 3.0, 0.0, 4.0, 0.0, second_probability=0.5, second_db=6.0)
    tones = [np.float32(3.0) * tone(0), tone(1)]  # recordings of one label, one much louder
    sounds = RecordedSounds({"a": tones}, augment)
    generator = np.random.default_rng(4)
    pairs = 0
    for _ in range(80):
        power = np.abs(np.fft.rfft(sounds.draw("a", SEGMENT, generator))) ** 2
        if min(power[20], power[40]) > 1e-6 * power.sum():
            pairs += 1
            assert abs(10 * np.log10(power[20] / power[40])) <= 6.001
    assert 8 <= pairs <= 32  # half of the draws have a second, half of these are of the other


def test_a_wording_is_drawn_from_all_of_its_label() -> None:
    texts = {text_of(query) for draw in range(200) for query in dataset()[draw][1] if query}
    assert texts == {text for group in (*BOOK.phrases.values(), BOOK.other) for text in group}


def test_numbers_of_sources_follow_the_odds() -> None:
    counts = Counter(
        int(dataset(num_sources_weights=(1.0, 0.0, 3.0))[draw][0].any(dim=-1).sum())
        for draw in range(200)
    )
    assert set(counts) == {2, 4}
    assert counts[4] == pytest.approx(150, abs=25)  # four standard deviations


def test_at_most_max_absent_queries_name_absent_sounds() -> None:
    for draw in range(20):
        sources, queries, _ = dataset(max_absent=1)[draw]
        num_present = int(sources.any(dim=-1).sum())
        texts = [query is not None for query in queries]
        assert texts == [slot < num_present + 1 for slot in range(5)]


def test_any_two_sources_differ_by_at_most_twice_level_db() -> None:
    spreads = []
    for draw in range(60):
        sources = dataset(level_db=4.0)[draw][0].double()
        rms_db = 20 * sources[sources.any(dim=-1)[:, 0]].square().mean(dim=-1).sqrt().log10()
        spreads.append(float(rms_db.max() - rms_db.min()))
        assert float(rms_db.min()) >= -34 - 1e-3  # the common gain takes 0 to 30 dB
        assert float(rms_db.max()) <= 4 + 1e-3
    assert 6 < max(spreads) <= 8 + 1e-3  # float32


def test_levels_of_sources_do_not_depend_on_levels_of_recordings() -> None:
    quiet = dataset()
    assert isinstance(quiet.sounds, RecordedSounds)
    quiet.sounds.by_label = {k: [v[0] * 1e-3] for k, v in quiet.sounds.by_label.items()}
    sources, expected = quiet[0][0], dataset()[0][0]
    # The floor of 1e-12 in the power of 5e-7 takes 1e-6 of it
    assert sources.numpy() == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-7)


def test_collate_makes_a_mixture_that_is_exactly_the_sum_of_its_sources() -> None:
    data = dataset(augment=AugmentConfig())
    batch = data.collate([data[draw] for draw in range(3)])
    assert batch.sources.shape == (3, 5, 1, SEGMENT)
    assert batch.mixture.shape == (3, 1, SEGMENT)
    assert torch.equal(batch.mixture, batch.sources.sum(dim=1))
    assert batch.sample_rate == RATE


def test_collate_keeps_items_queries_and_ids_in_order() -> None:
    data = dataset()
    items = [data[draw] for draw in (7, 2)]
    batch = data.collate(items)
    assert torch.equal(batch.sources[1], items[1][0])
    assert batch.queries == [items[0][1], items[1][1]]
    assert batch.ids == ["3-7", "3-2"]


def test_labels_without_wordings_are_refused() -> None:
    sounds = RecordedSounds({"a": [tone(0)], "b": [tone(1)], "snow": [tone(2)]}, PLAIN)
    with pytest.raises(ValueError, match=r"labels without wordings .*'snow'"):
        MixAndSeparate(sounds, BOOK, MixConfig(), RATE, 0)


@pytest.mark.parametrize("semitones", [3.0, 12.0])
def test_faster_recordings_still_fill_the_segment(semitones: float) -> None:
    sounds = RecordedSounds({"a": [tone(0)]}, AugmentConfig(1.0, semitones, 0.0, 0.0, 0.0))
    for seed in range(10):
        drawn = sounds.draw("a", SEGMENT, np.random.default_rng(seed))
        assert drawn.shape == (SEGMENT,)
        assert np.abs(drawn[-16:]).max() > 0.5


def test_a_short_recording_is_padded_with_zeros_at_a_drawn_offset() -> None:
    starts = set()
    for seed in range(20):
        placed = cut_or_pad(np.ones(10, np.float32), 50, np.random.default_rng(seed))
        starts.add(int(placed.argmax()))
        assert placed.sum() == 10
        assert placed[placed.argmax() :][:10].all()
    assert len(starts) > 5
    assert max(starts) <= 40


def test_segments_are_cut_where_the_recording_is_not_silent() -> None:
    recording = np.zeros(10000, np.float32)
    recording[7000:7100] = 1
    for seed in range(20):
        cut = active_stretch(recording, 500, np.random.default_rng(seed))
        assert len(cut) == 500
        assert cut.any()


def test_with_gains_sources_are_as_recorded_times_a_gain_clipped_and_shared_out() -> None:
    data = dataset(gains=(0.5, 1.5), num_sources_weights=(0.0, 1.0), num_queries=3, max_absent=0)
    peaks = torch.stack([data[draw][0] for draw in range(40)]).abs().amax(dim=-1).flatten()
    # 1e-3: a tone's peak between two samples
    assert peaks.max() <= 1 / 3 + 1e-6
    assert 0.5 / 3 - 1e-3 < peaks.min() < 0.6 / 3
    assert 0.3 < (peaks > 1 / 3 - 1e-3).float().mean() < 0.7  # half of the gains clip


def test_the_power_of_loud_integers_does_not_overflow() -> None:
    recording = np.full(100, -32768, np.int16)
    assert mean_power(recording) == 32768.0**2
    assert mean_power(np.zeros(7, np.int16)) == 0
    assert mean_power(np.array([3.0, -4.0], np.float32)) == 12.5


def test_stretches_of_integers_are_those_of_the_same_numbers_as_floats() -> None:
    rng = np.random.default_rng(5)
    recording = np.zeros(9000, np.int16)
    recording[6500:6900] = rng.integers(-32768, 32768, 400)
    recording[6600] = -32768
    for seed in range(40):
        cut = active_stretch(recording, 700, np.random.default_rng(seed))
        same = active_stretch(recording.astype(np.float32), 700, np.random.default_rng(seed))
        assert np.array_equal(cut, same)
        assert mean_power(cut) >= 0.1 * mean_power(recording)
