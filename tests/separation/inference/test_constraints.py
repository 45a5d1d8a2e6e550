"""Constraints: negatives, spans of time, and targets that sum to the input."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from command import Run, names, record
from tiny import StubEncoder, noise, tiny_separator
from tiny_settings import RATE

from qsep.queries.constraints import Constraints, Span
from qsep.queries.interface import TextQuery
from qsep.separation.api import Model, separate_file
from qsep.separation.inference.ratio_masks import RatioMasks, fitting_hop
from qsep.separation.inference.time_spans import FADE_SECONDS, allowed, gains


@pytest.fixture(name="model")
def model_by_hand() -> Model:
    return Model(tiny_separator(), StubEncoder(), "tiny")


# Spans


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("3.2-5.0", Span(3.2, 5)),
        ("0-2", Span(0, 2)),
        (" .5 - 12. ", Span(0.5, 12)),
        ("7-", Span(7)),
    ],
)
def test_a_span_reads_as_it_is_written(text: str, span: Span) -> None:
    assert Span.parse(text) == span
    assert Span.parse(str(span)) == span


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5-3", "span 5-3 ends before it starts; write START-END"),
        ("3-3", "span 3-3 ends before it starts"),
        ("-3", "span '-3': expected START-END in seconds"),
        ("1:75-2:00", "expected START-END in seconds"),
        ("1e3-2", "expected START-END in seconds"),
        ("", "expected START-END in seconds"),
    ],
)
def test_a_malformed_span_is_refused_with_how_to_write_it(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Constraints(spans=[text])


@pytest.mark.parametrize(
    ("spans", "not_spans", "left"),
    [
        ([], [], ["0-"]),
        (["3-5", "1-2"], [], ["1-2", "3-5"]),
        (["3-5", "1-3", "4-4.5"], [], ["1-5"]),
        ([], ["1-2"], ["0-1", "2-"]),
        ([], ["0-2", "1-3", "7-"], ["3-7"]),
        (["1-5", "8-9"], ["2-3", "4-8.5"], ["1-2", "3-4", "8.5-9"]),
    ],
)
def test_spans_give_the_intervals_in_which_a_target_is_allowed(
    spans: list[str], not_spans: list[str], left: list[str]
) -> None:
    actual = allowed(Constraints(spans=spans, not_spans=not_spans))
    assert [str(span) for span in actual] == left


def test_spans_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="the spans leave no time"):
        allowed(Constraints(spans=["1-2"], not_spans=["0-1.5", "1.2-3"]))


def test_gains_fade_inside_the_span_and_are_the_same_in_blocks() -> None:
    left, fade = [Span(0, 0.02), Span(0.05, 0.1)], round(FADE_SECONDS * RATE)
    expected = np.zeros(1000)
    rise = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade) ** 2
    expected[:160], expected[400:800] = 1, 1
    expected[160 - fade : 160] = rise[::-1]  # nothing fades in where the recording begins
    expected[400 : 400 + fade], expected[800 - fade : 800] = rise, rise[::-1]
    actual = gains(left, 0, 1000, RATE)
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    blocks = [gains(left, start, 77, RATE) for start in range(0, 1001, 77)]
    np.testing.assert_array_equal(np.concatenate(blocks)[:1000], actual)


def test_outside_its_spans_a_target_is_silent_and_inside_as_it_was(model: Model) -> None:
    rate, mixture = 44100, noise(2, 3 * 44100).numpy()
    constraints = Constraints(spans=["0.5-2.25"], not_spans=[(1, 1.5)])
    plain = model.separate(mixture, "a dog", rate).target
    result = model.separate(mixture, "a dog", rate, constraints=constraints)
    fade = round(FADE_SECONDS * rate)
    for first, last in ((22050, 44100), (66150, 99225)):
        inside = slice(first + fade, last - fade)
        np.testing.assert_array_equal(result.target[:, inside], plain[:, inside])
        assert result.target[:, first].any()
        assert result.target[:, last - 1].any()
        assert not result.target[:, last].any()
    for first, last in ((0, 22050), (44100, 66150), (99225, 132300)):
        assert not result.target[:, first:last].any()
    np.testing.assert_array_equal(result.residual, mixture - result.target)


@pytest.mark.parametrize("span", ["1-", "0.9-1.2", "3-4"])
def test_a_span_outside_the_recording_is_refused_and_nothing_written(
    qsep: Run, tiny_model: Path, folder: Path, span: str
) -> None:
    record(folder / "a.wav", 8000)
    for option in ("--span", "--not-span"):
        done = qsep("separate", "a.wav", "-q", "rain", option, span, "-o", "out", "-m", tiny_model)
        assert done.code == 1
        assert f"span {span} lies outside the recording, which is 1.000 s long" in done.error
    assert names(folder) == {"a.wav"}


def test_a_span_may_end_a_rounding_error_after_the_recording(model: Model) -> None:
    target = model.separate(noise(1, 7990), "a dog", constraints=Constraints(spans=["0-1"])).target
    assert target.shape == (1, 7990)


# Negatives and sharing


def estimates(model: Model, mixture: np.ndarray, words: Sequence[str]) -> np.ndarray:
    return np.stack([result.target for result in model.separate(mixture, list(words))])


def test_a_negative_is_separated_too_and_removed_by_ratio_masks(model: Model) -> None:
    mixture = noise(2, 3001).numpy()
    constraints = Constraints(["rain", TextQuery("wind"), "rain"], exclusive=True)
    separated = model.separate(mixture, ["a dog", "a bell"], constraints=constraints)
    rule = RatioMasks(2, True, fitting_hop(RATE, model.separator.stride_samples))
    alone = estimates(model, mixture, ["a dog", "a bell", "rain", "wind"])
    expected = rule(torch.from_numpy(mixture), torch.from_numpy(alone)).numpy()
    for result, target in zip(separated, expected, strict=True):
        np.testing.assert_allclose(result.target, target, atol=2e-6)
        np.testing.assert_array_equal(result.residual, mixture - result.target)
    plain = estimates(model, mixture, ["a dog"])
    assert np.abs(plain[0] - separated[0].target).max() > 1e-2


@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 2), ("PCM_24", 1), ("PCM_U8", 3)])
def test_exclusive_results_and_their_one_residual_sum_to_the_input_exactly(
    qsep: Run, tiny_model: Path, folder: Path, subtype: str, channels: int
) -> None:
    record(folder / "a.wav", 9001, 22050, channels, subtype)
    arguments = ["-q", "rain", "-q", "a dog", "-q", "a flute", "--exclusive", "--residual"]
    arguments += ["--negative", "wind", "--not-span", "0.1-0.2", "--json", "-o", "out"]
    done = qsep("separate", "a.wav", *arguments, "-m", tiny_model)
    assert done.code == 0
    written = {f"a.{name}.wav" for name in ("rain", "a-dog", "a-flute", "residual")}
    assert names(folder / "out") == written
    parts = [
        soundfile.read(folder / "out" / name, dtype="int32", always_2d=True)[0].astype(np.int64)
        for name in sorted(written)
    ]
    assert all(part.any() for part in parts)
    whole = soundfile.read(folder / "a.wav", dtype="int32", always_2d=True)[0]
    assert np.array_equal(sum(parts), whole)
    row = json.loads(done.out.splitlines()[1])
    assert row["files"] == ["out/a.a-dog.wav", "out/a.residual.wav"]
    assert (row["negatives"], row["not_spans"], row["exclusive"]) == (["wind"], ["0.1-0.2"], True)
    assert not {"spans", "consistent"} & row.keys()


def test_a_query_named_residual_does_not_collide_with_the_residual(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav")
    arguments = ("-q", "rain", "-q", "residual", "--exclusive", "--residual", "-m", tiny_model)
    expected = "the residual and 'residual' would both be written to a.residual.wav: separate them"
    assert qsep("separate", "a.wav", *arguments).error.startswith(expected)


def test_a_query_that_is_also_a_negative_is_refused(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    record(folder / "a.wav")
    done = qsep("separate", "a.wav", "-q", "rain", "--negative", "rain", "-m", tiny_model)
    assert done.code == 2
    assert done.error == "'rain' is both a query and a --negative: remove one"
    done = qsep("separate", "a.wav", "-q", "rain", "--negative", " ", "-m", tiny_model)
    assert done.error.startswith("the query is empty")
    assert names(folder) == {"a.wav"}


# Generated sound


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16", always_2d=True)[0].astype(np.int64).T


def test_generated_targets_become_parts_of_the_recording_if_consistent(tmp_path: Path) -> None:
    """Equal to the mixture with the generated magnitudes, none above its own; and bit by bit in files."""
    model = Model(tiny_separator("flowsep"), StubEncoder(), "flow")
    source = tmp_path / "a.wav"
    # So quiet that what is generated fits too.
    soundfile.write(source, noise(4001, 2).numpy(), RATE)
    collected = {}
    for name, constraints in (("plain", Constraints()), ("parts", Constraints(consistent=True))):
        separate_file(
            model,
            source,
            [TextQuery("rain")],
            tmp_path / name,
            residual=True,
            constraints=constraints,
        )
        collected[name] = [read(tmp_path / name / f"a.rain{end}.wav") for end in ("", ".residual")]
        assert np.array_equal(sum(collected[name]), read(source))
    mixture = read(source) / 2**15
    generated = model.separate(source, "rain").target
    np.testing.assert_allclose(collected["plain"][0] / 2**15, generated, atol=2**-15)

    hop = fitting_hop(RATE, model.separator.stride_samples)
    size = {"window": np.sqrt(scipy.signal.get_window("hann", 2 * hop)), "nperseg": 2 * hop}
    whole, generated = (
        scipy.signal.stft(np.pad(waveform, ((0, 0), (0, -4001 % hop + 2 * hop))), **size)[2]
        for waveform in (mixture, generated)
    )
    norms = [np.sqrt((np.abs(spec) ** 2).sum(axis=0)) for spec in (generated, whole)]
    mask = np.minimum(1, norms[0] / (norms[1] + 1e-30))
    expected = scipy.signal.istft(mask * whole, **size)[1][:, :4001]
    np.testing.assert_allclose(collected["parts"][0] / 2**15, expected, atol=2**-15)
    assert (mask < 0.9).any()


def test_conditions_combine_for_generated_sound(tmp_path: Path) -> None:
    model = Model(tiny_separator("flowsep"), StubEncoder(), "flow")
    source = record(tmp_path / "a.wav", 4001, RATE, 2)
    constraints = Constraints(["wind"], ["0.1-0.4"], ["0.2-0.25"], exclusive=True, consistent=True)
    queries = [TextQuery("rain"), TextQuery("dog")]
    separate_file(model, source, queries, tmp_path / "out", residual=True, constraints=constraints)
    parts = [read(tmp_path / "out" / f"a.{name}.wav") for name in ("rain", "dog", "residual")]
    assert np.array_equal(sum(parts), read(source))
    for target in parts[:2]:
        sounding = np.flatnonzero(target.any(axis=0)) / RATE
        assert 0.1 <= sounding.min() < sounding.max() < 0.4
        assert not ((sounding >= 0.2) & (sounding < 0.25)).any()


@pytest.mark.parametrize("seconds", [1e6, 12345.678, 1e16, 1e-7, 0.1 + 0.2, 100])
def test_a_span_is_written_with_all_its_digits(seconds: float) -> None:
    assert Span.parse(str(Span(0, seconds))) == Span(0, seconds)
    assert Span.parse(str(Span(seconds))) == Span(seconds)
    assert str(Span(100, 1e6)) == "100-1000000"
