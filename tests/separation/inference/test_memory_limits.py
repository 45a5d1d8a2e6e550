"""When memory runs out: fewer queries and channels, shorter chunks, then the CPU."""

import logging
from collections.abc import Iterator
from typing import Any, Self

import pytest
import torch
from tiny import StubSeparator, noise, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM, RATE
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.separation.api.loading import moved
from qsep.separation.inference import chunks, estimates, memory, ratio_masks
from qsep.separation.inference.chunks import Geometry, geometry, separate_chunks
from qsep.separation.inference.memory import limits_of
from qsep.separation.inference.ratio_masks import RatioMasks
from qsep.separation.inference.recording import RecordingStream
from qsep.separation.interface import Separated, Separator
from qsep.separation.out_of_memory import is_out_of_memory


class MemoryLimited(StubSeparator):
    """Gives the mixture back, times the number of the query's first nonzero entry and shifted by one sample.
    Raises torch's error for more than `most` samples times rows; where its weights seem to lie on a GPU,
    always."""

    def __init__(self, most: int, num_channels: int | None = 1, on_gpu: bool = False) -> None:
        super().__init__()
        self.most, self.num_channels, self.on_gpu = most, num_channels, on_gpu
        self.sample_rate, self.stride_samples, self.context_samples = 8000, 5, 10
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls: list[tuple[int, ...]] = []

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        if self.on_gpu:
            yield nn.Parameter(torch.zeros(1, device="meta"))
        yield from super().parameters(recurse)

    def to(self, *destination: Any, **options: Any) -> Self:
        assert destination == ("cpu",)
        self.on_gpu = False
        return self

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        num_queries = queries.pooled.shape[1]
        self.calls.append((len(mixture), num_queries, mixture.shape[-1]))
        if self.on_gpu or len(mixture) * num_queries * mixture.shape[-1] > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        shifted = nn.functional.pad(mixture, (1, 0))[..., :-1]
        target = queries.pooled[..., :1, None] * shifted[:, None]
        return Separated(target, mixture[:, None] - target)


QUERIES = QueryEmbedding(unit_vectors(6, QUERY_DIM, seed=3))
CUT = Geometry(step=400, context=10, fade=5)


def separated(
    separator: MemoryLimited, queries: QueryEmbedding = QUERIES, channels: int = 2
) -> Tensor:
    blocks = noise(channels, 3001).split(700, dim=-1)
    return torch.cat(list(separate_chunks(separator, blocks, queries, CUT)), dim=-1)


def test_fewer_queries_at_once_give_the_same_result(caplog: pytest.LogCaptureFixture) -> None:
    whole = separated(MemoryLimited(10**9))
    # Two channels of two queries in a chunk with its context.
    memory_limited = MemoryLimited(2 * 2 * 425)
    with caplog.at_level(logging.WARNING, "qsep"):
        actual = separated(memory_limited)
    torch.testing.assert_close(actual, whole, rtol=0, atol=0)
    assert limits_of(memory_limited).rows == 1  # 6, 3, 1
    assert [record.message for record in caplog.records] == [
        "out of memory: fewer queries or channels at once on cpu"
    ]
    num_before = len(memory_limited.calls)
    separated(memory_limited)  # the next recording begins with what was learned
    assert max(channels * num for channels, num, _ in memory_limited.calls[num_before:]) == 1


def test_then_chunks_become_shorter_and_give_the_same_result(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = separated(MemoryLimited(10**9))
    memory_limited = MemoryLimited(140)
    with caplog.at_level(logging.WARNING, "qsep"):
        actual = separated(memory_limited)
    # 1e-6: crossfades of equal samples, x * rise + x * (1 - rise), lie elsewhere
    torch.testing.assert_close(actual, whole, rtol=1e-6, atol=1e-7)
    assert limits_of(memory_limited).step_samples == 100
    assert [record.message for record in caplog.records][1:] == [
        "out of memory: shorter chunks on cpu"
    ]


def test_then_the_remainder_is_computed_on_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    whole = separated(MemoryLimited(10**9))
    memory_limited = MemoryLimited(10**9, on_gpu=True)
    with caplog.at_level(logging.WARNING, "qsep"):
        actual = separated(memory_limited)
    torch.testing.assert_close(actual, whole, rtol=0, atol=0)
    assert [record.message for record in caplog.records] == [
        "out of memory: fewer queries or channels at once on meta",
        "out of memory: shorter chunks on meta",
        "out of memory: the rest is computed on the CPU, slower",
    ]


class TooLarge(MemoryLimited):
    """Fits on the CPU alone."""

    def to(self, *destination: Any, **options: Any) -> Self:
        (device,) = destination
        if device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return self


def test_a_model_that_does_not_fit_on_its_device_is_loaded_on_the_cpu(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "qsep"):
        assert moved(TooLarge(0), torch.device("meta")) == torch.device("cpu")
    assert [record.message for record in caplog.records] == [
        "out of memory: the model does not fit on meta; computed on the CPU, slower"
    ]


def test_without_a_fallback_the_error_says_what_to_do() -> None:
    with pytest.raises(MemoryError, match="out of memory"):
        separated(MemoryLimited(3))


def test_other_errors_are_not_treated_as_lack_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("XPU out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 GB"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_many_channels_are_separated_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_CHANNELS", 3)
    single, several = MemoryLimited(10**9), MemoryLimited(10**9, num_channels=None)
    actual = separated(single, channels=7)
    assert max(rows for rows, _, _ in single.calls) == 3
    assert actual.shape == (6, 7, 3001)
    torch.testing.assert_close(separated(several, channels=7), actual, rtol=0, atol=0)


@pytest.mark.parametrize("rule", [None, RatioMasks(0, True, 5), RatioMasks(2, True, 10)])
def test_many_queries_are_separated_in_groups_and_give_the_same(
    monkeypatch: pytest.MonkeyPatch, rule: RatioMasks | None
) -> None:
    cut = Geometry(step=400, context=40, fade=10)
    mixture = noise(2, 1777)
    queries = QueryEmbedding(unit_vectors(13, QUERY_DIM, seed=4).abs())

    def separated_in_chunks(separator: MemoryLimited) -> Tensor:
        blocks = mixture.split(700, dim=-1)
        return torch.cat(list(separate_chunks(separator, blocks, queries, cut, rule)), dim=-1)

    monkeypatch.setattr(memory, "MAX_TARGETS", 1000)
    together = separated_in_chunks(MemoryLimited(10**9))
    monkeypatch.setattr(memory, "MAX_TARGETS", 6)
    monkeypatch.setattr(ratio_masks, "MAX_SPECTRA", 4)
    in_groups = MemoryLimited(10**9)
    torch.testing.assert_close(separated_in_chunks(in_groups), together, rtol=0, atol=1e-7)
    assert {num_queries for _, num_queries, _ in in_groups.calls} == {3, 1}
    assert together.shape == (13 - (rule.num_negatives if rule else 0), 2, 1777)
    if rule:  # as of the whole recording at once
        rows = queries.map(lambda entry: entry.expand(2, *entry.shape))
        estimates = (
            MemoryLimited(10**9).separate(mixture[:, None], rows).target[:, :, 0].transpose(0, 1)
        )
        torch.testing.assert_close(together, rule(mixture, estimates), rtol=0, atol=1e-6)


PARTS = QueryEmbedding(unit_vectors(11, QUERY_DIM, seed=4).abs())
CLASS_RULES = [None, RatioMasks(0, True, 32), RatioMasks(2, True, 32)]


def parts_of(separator: Separator, rule: RatioMasks | None, mixture: Tensor) -> list[Tensor]:
    blocks = mixture.split(7000, dim=-1)
    cut = geometry(separator, 2.0, rule)
    return list(separate_chunks(separator, blocks, PARTS, cut, rule))


@pytest.mark.parametrize("rule", CLASS_RULES)
@pytest.mark.parametrize("analyses", [True, False])
def test_targets_of_many_queries_come_in_small_parts_of_one_analysis(
    monkeypatch: pytest.MonkeyPatch, rule: RatioMasks | None, analyses: bool
) -> None:
    separator = tiny_separator("class_unet")
    mixture = noise(3, 40_003)
    whole = torch.cat(parts_of(separator, rule, mixture), dim=-1)
    monkeypatch.setattr(chunks, "PART_VALUES", 11 * 3 * 1600)
    monkeypatch.setattr(estimates, "PASS_VALUES", 4 * 3 * 1600)  # four queries at once
    passes: list[int] = []
    separator.unet.register_forward_pre_hook(lambda *_: passes.append(1))
    if not analyses:
        monkeypatch.setattr(type(separator), "capabilities", Separator.capabilities)
    parts = parts_of(separator, rule, mixture)
    assert max(part.shape[-1] for part in parts) <= 1600
    assert len(passes) == (2 if analyses else 6)  # chunks, or in each of them 5 + 5 + 1 queries
    # 1e-6: float32, means over frames summed from other places
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, rtol=0, atol=1e-6)


def test_memory_that_runs_out_within_a_chunk_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    separator = tiny_separator("class_unet")
    mixture = noise(3, 40_003)
    monkeypatch.setattr(chunks, "PART_VALUES", 11 * 3 * 1600)
    whole = torch.cat(parts_of(separator, None, mixture), dim=-1)
    analysed, calls = type(separator.analysed(mixture[None])), []
    original = analysed.targets

    def failing(self: object, *arguments: object) -> Tensor:
        calls.append(1)
        if len(calls) in (3, 14):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return original(self, *arguments)

    monkeypatch.setattr(analysed, "targets", failing)
    actual = torch.cat(parts_of(separator, None, mixture), dim=-1)
    assert limits_of(separator).rows == 1  # 11 queries at first, then 5 // 2 at once
    torch.testing.assert_close(actual, whole, rtol=0, atol=1e-6)


def test_where_chunks_are_analysed_once_more_queries_leave_their_length() -> None:
    separator = tiny_separator("class_unet")
    kinds = QueryEmbedding(torch.ones(400, QUERY_DIM))

    def latency(num_queries: int) -> int:
        some = kinds.map(lambda entry: entry[:num_queries])
        return RecordingStream(separator, RATE, 2, some).latency_samples

    assert latency(2) > latency(100) == latency(400)
