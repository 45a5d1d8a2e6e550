"""qsep.evaluation.items.conditions: what each condition does to items made in memory, by hand."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from qsep.evaluation.estimators.ideal_masks import named_estimator
from qsep.evaluation.interface import NO_PUBLICATION, Item, ItemQuery, ItemSet, Publication
from qsep.evaluation.items import conditions
from qsep.evaluation.items.conditions import SUITES, suite
from qsep.evaluation.items.published import PublishedItems
from qsep.evaluation.protocols import load_items
from qsep.evaluation.report.comparison import by_setting, groups, read_runs
from qsep.evaluation.run import evaluate
from qsep.recipes.data.wording import FRAMES

LABELS = ("violin", "rain", "cello", "dog_bark", "violin", "speech")
RATE = 8000


@dataclass(frozen=True)
class Noises:
    """Noise of a power of its own for each of LABELS, against noise that is called sea_waves."""

    fingerprint: str = "noises"
    name: str = "noises"
    manifest_sha256: str = "2"
    condition: str = "plain"
    ids: tuple[str, ...] = tuple(f"n{i}" for i in range(len(LABELS)))
    item_queries: tuple[ItemQuery, ...] = tuple(
        ItemQuery(f"the {x}", x, ("sea_waves",)) for x in LABELS
    )
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    publication: Publication = NO_PUBLICATION

    def render(self, index: int) -> Item:
        rng = np.random.default_rng(index)
        num_samples = 4000 + 100 * index
        target = rng.normal(0, 0.01 * (index + 1), num_samples).astype(np.float32)
        rest = rng.normal(0, 0.05, num_samples).astype(np.float32)
        query, label, others = self.item_queries[index]
        parts = target + rest, target, rest
        return Item(self.ids[index], query, label, *parts, RATE, others)


def all_of(items: ItemSet) -> list[Item]:
    return [items.render(index) for index in range(len(items.ids))]


def snr_db(item: Item) -> float:
    energies = [np.square(part.astype(np.float64)).sum() for part in (item.target, item.rest)]
    return float(10 * np.log10(energies[0] / energies[1]))


@pytest.mark.parametrize("condition", list(SUITES))
def test_parts_sum_to_the_mixture_under_every_condition(condition: str) -> None:
    items = suite(Noises(), condition)
    assert items.condition == condition
    assert len(set(items.ids)) == len(items.ids) > 0
    for index, item in enumerate(all_of(items)):
        assert (item.id, item.query, item.label, item.others) == (
            items.ids[index],
            *items.item_queries[index],
        )
        assert item.target + item.rest == pytest.approx(item.mixture, abs=1e-6)
        assert item.mixture.dtype == item.target.dtype == item.rest.dtype == np.float32
        assert np.abs(item.mixture).max() <= 1


def test_conditions_have_fingerprints_of_their_own() -> None:
    assert len({suite(Noises(), condition).fingerprint for condition in SUITES}) == len(SUITES)
    other = replace(Noises(), fingerprint="others")
    assert suite(other, "clipped").fingerprint != suite(Noises(), "clipped").fingerprint


def test_templates_wrap_the_query_and_leave_the_sound() -> None:
    items = suite(Noises(), "templates")
    assert len(items.ids) == 6 * len(LABELS)
    item = items.render(7)
    assert (item.id, item.query) == ("n1@a field recording of …", "a field recording of the rain")
    assert item.setting == "a field recording of …"
    assert np.array_equal(item.mixture, Noises().render(1).mixture)


def test_two_microphones_hear_target_and_rest_from_sides_of_their_own() -> None:
    """Of all pairs of sides, one explains what the second microphone hears 0.15 m away."""
    items = suite(Noises(), "two-microphones")
    sides = set()
    for item, plain in zip(all_of(items), all_of(Noises()), strict=True):
        assert item.other_microphones is not None
        assert np.array_equal(item.mixture, plain.mixture)
        assert np.array_equal(item.channels, [plain.mixture, item.other_microphones[0]])
        size = 2 * len(plain.mixture)
        second, target, rest = (
            np.fft.rfft(part, size)[:-80:80]
            for part in (item.other_microphones[0], plain.target, plain.rest)
        )
        delays = 0.15 * np.cos(np.radians(np.arange(180))) / 343
        turns = np.exp(-2j * np.pi * np.fft.rfftfreq(size, 1 / RATE)[:-80:80] * delays[:, None])
        errors = np.abs(second - (turns * target)[:, None] - turns * rest).max(axis=-1)
        of_target, of_rest = np.unravel_index(errors.argmin(), errors.shape)
        # Up to 4 of 4000 samples are cut off at the end, 0.1 % of the energy and 3 % of a spectral line.
        assert errors.min() < 0.05 * np.abs(second).max()
        assert of_target != of_rest
        sides.add((of_target, of_rest))
    assert len(sides) == len(LABELS)
    assert Noises().render(0).channels.shape == Noises().render(0).mixture.shape


def test_templates_are_not_trained_on() -> None:
    assert set(conditions.TEMPLATES) & set(FRAMES) == set()


def test_negation_queries_the_rest() -> None:
    items = suite(Noises(), "negation")
    item, plain = items.render(3), Noises().render(1)
    assert item.query == "everything except the rain"
    assert np.array_equal(item.target, plain.rest)
    assert np.array_equal(item.rest, plain.target)


def test_absent_queries_a_label_that_is_not_in_the_mixture() -> None:
    for item, plain in zip(all_of(suite(Noises(), "absent")), all_of(Noises()), strict=True):
        assert item.label not in (plain.label, "sea_waves")
        assert item.query == f"the {item.label}"
        assert item.others == (plain.label, "sea_waves")
        assert not item.target.any()
        assert np.array_equal(item.rest, plain.mixture)


def test_the_sweep_puts_the_target_at_each_level_over_the_rest() -> None:
    items = all_of(suite(Noises(), "snr-sweep"))
    assert [item.setting for item in items[:5]] == ["-10 dB", "-5 dB", "0 dB", "5 dB", "10 dB"]
    levels = [snr_db(item) for item in items]
    assert levels == pytest.approx([-10, -5, 0, 5, 10] * len(LABELS), abs=1e-4)  # float32


def test_num_sources_adds_targets_of_other_labels_at_0_db() -> None:
    items = all_of(suite(Noises(), "num-sources"))[:4]
    assert [len(item.others) for item in items] == [1, 2, 3, 4]
    for fewer, more in pairwise(items):
        assert more.others[: len(fewer.others)] == fewer.others
    for item in items:
        assert len({"violin", *item.others}) == 1 + len(item.others)
        # Independent noises: powers add up to a tenth of a decibel or two.
        assert snr_db(item) == pytest.approx(-10 * np.log10(len(item.others)), abs=0.2)


def test_relatives_are_of_one_family() -> None:
    items = all_of(suite(Noises(), "same-family"))
    # rain, dog and speech have no relative among the labels
    assert [(item.id, item.label) for item in items] == [
        ("n0", "violin"),
        ("n2", "cello"),
        ("n4", "violin"),
    ]
    assert [item.others for item in items] == [("cello",), ("violin",), ("cello",)]
    assert [snr_db(item) for item in items] == pytest.approx([0, 0, 0], abs=1e-4)


def test_without_relatives_the_condition_is_refused() -> None:
    alone = Noises(ids=("n1",), item_queries=(ItemQuery("rain", "rain"),))
    with pytest.raises(ValueError, match=r"no item of noises .* same-family"):
        suite(alone, "same-family")


def test_family_members_are_lower_case_words() -> None:
    families = tomllib.loads(conditions.FAMILIES_FILE.read_text()).values()
    assert all(label == label.lower() and "_" not in label for f in families for label in f)
    assert all(len(members) > 1 for members in families)


def test_clipping_is_at_a_quarter_of_the_peak_and_the_target_is_whole() -> None:
    item, plain = suite(Noises(), "clipped").render(2), Noises().render(2)
    peak = np.abs(plain.mixture).max()
    assert np.array_equal(item.target, plain.target)
    assert np.abs(item.mixture).max() == pytest.approx(peak / 4)
    quiet = np.abs(plain.mixture) < peak / 4
    assert np.array_equal(item.mixture[quiet], plain.mixture[quiet])
    assert 0 < quiet.mean() < 1


@pytest.mark.parametrize(("colour", "low", "high"), [(0, 0.894, 0.316), (1, 0.447, 0.949)])
def test_colours_filter_target_and_rest_alike(colour: int, low: float, high: float) -> None:
    # 500 Hz and 3000 Hz at a corner of 1000: low-pass 1 / sqrt(1 + r^2), high-pass r / sqrt(1 + r^2)
    @dataclass(frozen=True)
    class Tones(Noises):
        def render(self, index: int) -> Item:
            phase = 2 * np.pi * np.arange(8000) / RATE
            target, rest = (0.1 * np.cos(hz * phase).astype(np.float32) for hz in (500, 3000))
            return Item("n0", "a", "a", target + rest, target, rest, RATE)

    item = suite(Tones(), "coloured").render(colour)
    middle = slice(2000, 6000)  # away from the ends, where the tones begin and stop
    amplitudes = [np.abs(part[middle]).max() for part in (item.target, item.rest)]
    assert amplitudes == pytest.approx([0.1 * low, 0.1 * high], rel=3e-3)  # of the given digits


def test_partners_of_another_rate_fail_by_name() -> None:
    @dataclass(frozen=True)
    class Mixed(Noises):
        def render(self, index: int) -> Item:
            return replace(super().render(index), sample_rate=RATE + index)

    with pytest.raises(ValueError, match="n2 has 8002 Hz and n0 8000 Hz"):
        suite(Mixed(), "same-family").render(0)


def test_silence_cannot_be_set_to_an_snr() -> None:
    @dataclass(frozen=True)
    class Silent(Noises):
        def render(self, index: int) -> Item:
            item = super().render(index)
            return replace(item, rest=np.zeros_like(item.rest), mixture=item.target)

    with pytest.raises(ValueError, match="silent, so no SNR can be set"):
        suite(Silent(), "snr-sweep").render(0)


def test_conditions_keep_the_protocols_set_up_of_the_estimator(tmp_path: Path) -> None:
    plain = Noises()
    items = PublishedItems(
        name="published",
        manifest_sha256="3",
        condition="plain",
        ids=plain.ids,
        item_queries=plain.item_queries,
        make=plain.render,
        publication=Publication(
            measure=lambda item, estimate: pytest.fail("this is not what was published"),
            average=lambda rows: pytest.fail("nor are these its figures"),
            set_up=lambda estimator: named_estimator("irm"),
        ),
    )
    summary = evaluate("mixture", suite(items, "clipped"), tmp_path)
    assert (summary.run.model, summary.num_scored) == ("irm", len(LABELS))


def test_settings_are_reported_in_their_order(tmp_path: Path) -> None:
    summary = evaluate("mixture", suite(Noises(), "snr-sweep"), tmp_path)
    order = ["-10 dB", "-5 dB", "0 dB", "5 dB", "10 dB"]
    assert list(summary.settings) == order
    (run,) = read_runs([tmp_path])
    assert list(groups(run, "sdr", by_setting)) == order
    # The mixture's SDR is the level itself; 1e-4 dB: float32 waveforms.
    means = [values["sdr"].mean for values in summary.settings.values()]
    assert means == pytest.approx([-10, -5, 0, 5, 10], abs=1e-4)


def test_unknown_conditions_protocols_and_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'loud'; there are plain, templates, negation"):
        suite(Noises(), "loud")
    with pytest.raises(ValueError, match=r"no protocol is called 'sound21'; there are .*sounds21"):
        load_items("sound21", tmp_path)
    with pytest.raises(ValueError, match="sounds21 has no setting 'fold'; it has no settings"):
        load_items("sounds21", tmp_path, settings={"fold": "1"})
    with pytest.raises(FileNotFoundError, match=r"files that the list needs are not in"):
        load_items("sounds21", tmp_path)
