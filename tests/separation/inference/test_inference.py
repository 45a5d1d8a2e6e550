"""qsep.separation.inference.chunks: cutting into chunks and resampling leave no trace."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from tiny import StubSeparator, noise, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM, RATE
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.separation.audio.resample import StreamResampler
from qsep.separation.inference.chunks import (
    Geometry,
    geometry,
    separate_chunks,
)
from qsep.separation.inference.memory import in_groups
from qsep.separation.inference.recording import separate_stream
from qsep.separation.interface import Separated, Separator

RATES = [8000, 11025, 32000, 44100, 48000, 96000, 192000]


class Rule(StubSeparator):
    """A separator that applies a function (b, c, t) to (b, c, t), the first query's result once, the
    second's twice, and so on. longest: the most samples it was ever given."""

    num_channels: int | None = None

    def __init__(
        self,
        function: Callable[[Tensor], Tensor] = torch.clone,
        context_samples: int = 0,
        sample_rate: int = 32000,
    ) -> None:
        super().__init__()
        self.function, self.context_samples = function, context_samples
        self.sample_rate, self.stride_samples = sample_rate, 5
        self.device_marker = nn.Parameter(torch.zeros(()))  # a weight, for the device
        self.longest = 0

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        self.longest = max(self.longest, mixture.shape[-1])
        factors = torch.arange(1.0, queries.pooled.shape[1] + 1)[:, None, None]
        target = factors * self.function(mixture)[:, None]
        return Separated(target, mixture[:, None] - target)


def later(mixture: Tensor, delay: int = 7) -> Tensor:
    return nn.functional.pad(mixture, (delay, 0))[..., : mixture.shape[-1]]


def earlier(mixture: Tensor, delay: int = 7) -> Tensor:
    return nn.functional.pad(mixture, (0, delay))[..., delay:]


def random_queries(num: int = 3) -> QueryEmbedding:
    return QueryEmbedding(unit_vectors(num, QUERY_DIM, seed=9))


def in_chunks(separator: Separator, mixture: Tensor, cut: Geometry, block: int = 61) -> Tensor:
    return torch.cat(
        list(separate_chunks(separator, mixture.split(block, dim=-1), random_queries(), cut)),
        dim=-1,
    )


def in_stream(
    separator: Separator,
    mixture: np.ndarray,
    rate: int,
    block: int = 1000,
    cut: Geometry | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    blocks = np.array_split(mixture, range(block, mixture.shape[1], block), axis=1)
    pairs = list(separate_stream(separator, blocks, rate, random_queries(2), cut))
    assert all(mixture.shape == targets.shape[1:] for mixture, targets in pairs)
    mixtures, targets = zip(*pairs, strict=True)
    return np.concatenate(mixtures, axis=-1), np.concatenate(targets, axis=-1)


def level_db(part: np.ndarray | Tensor, whole: np.ndarray | Tensor) -> float:
    energies = [np.square(np.asarray(wave, dtype=np.float64)).sum() for wave in (part, whole)]
    return 10 * np.log10(energies[0] / energies[1])


@pytest.mark.parametrize("channels", [1, 2])
def test_chunks_joined_equal_the_whole(channels: int) -> None:
    separator = tiny_separator()
    cut = geometry(separator, chunk_seconds=0.5)
    mixture = noise(channels, 5 * cut.step + 2 * cut.context + 1237)
    mixture[..., 9000:15000] *= 100  # levels change, so that contexts matter
    with torch.inference_mode():
        whole = separator.separate(
            mixture[None], QueryEmbedding(random_queries().pooled[None])
        ).target[0]
    joined = in_chunks(separator, mixture, cut, block=4001)
    quiet = slice(15000, None)
    assert level_db(joined - whole, whole) < -110  # only the order of float32 sums differs
    assert level_db((joined - whole)[..., quiet], whole[..., quiet]) < -110


@pytest.mark.parametrize("num_samples", [1, 4, 5, 19, 20, 21, 39, 40, 41, 60, 100, 997])
@pytest.mark.parametrize("context", [0, 10])
def test_an_identity_separator_is_one_in_chunks_too(num_samples: int, context: int) -> None:
    mixture = noise(2, num_samples)
    joined = in_chunks(Rule(), mixture, Geometry(step=20, context=context, fade=5), block=7)
    for source in range(3):
        # 1e-7: where two chunks overlap, x * rise + x * (1 - rise) is rounded
        torch.testing.assert_close(joined[source], (source + 1) * mixture, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("move", [later, earlier])
def test_a_sufficient_context_makes_chunks_seamless(
    move: Callable[[Tensor], Tensor],
) -> None:
    mixture = noise(2, 997)
    joined = in_chunks(Rule(move), mixture, Geometry(step=20, context=10, fade=5))
    torch.testing.assert_close(joined[0], move(mixture), rtol=1e-6, atol=1e-7)


def test_a_context_that_is_too_short_shows_at_the_borders_alone() -> None:
    mixture = noise(1, 997).abs() + 1
    joined = in_chunks(Rule(later), mixture, Geometry(step=20, context=5, fade=5))[0, 0]
    wrong = (joined - later(mixture)[0]).abs() > 1e-6
    # A chunk from `start` lacks the two samples before start - 5: its first two outputs, under the fade
    expected = torch.zeros(997, dtype=torch.bool)
    for start in range(20, 997 - 20 - 5 - 5 + 20, 20):
        expected[start : start + 2] = True
    assert wrong.nonzero().flatten().tolist() == expected.nonzero().flatten().tolist()


def test_chunks_fade_linearly_into_each_other() -> None:
    calls = iter(range(100))
    numbered = Rule(lambda mixture: torch.full_like(mixture, next(calls)))
    joined = in_chunks(numbered, noise(1, 60), Geometry(step=20, context=0, fade=5))[0, 0]
    expected = np.repeat([0.0, 1.0, 2.0], 20)
    expected[20:25] = [0.1, 0.3, 0.5, 0.7, 0.9]
    expected[40:45] = [1.1, 1.3, 1.5, 1.7, 1.9]
    np.testing.assert_allclose(joined, expected, atol=1e-6)  # float32


def test_chunks_begin_at_multiples_of_the_stride_and_see_the_whole_context() -> None:
    for blocks in ((1, 1, 1, 1, 1), (1, 2, 2, 2, 2)):
        separator = tiny_separator(blocks=blocks)
        cut = geometry(separator, chunk_seconds=1.7)
        stride = separator.stride_samples
        assert [value % stride for value in (cut.step, cut.context, cut.fade)] == [0, 0, 0]
        assert abs(cut.step - 1.7 * RATE) <= stride / 2
        assert separator.context_samples <= cut.context < separator.context_samples + stride


@pytest.mark.parametrize("block", [1, 97, 5000])
def test_the_size_of_the_blocks_does_not_matter(block: int) -> None:
    separator, mixture = tiny_separator(), noise(2, 3001).numpy()
    cut = Geometry(step=512, context=512, fade=512)
    _, whole = in_stream(separator, mixture, RATE, block=3001, cut=cut)
    _, targets = in_stream(separator, mixture, RATE, block=block, cut=cut)
    np.testing.assert_array_equal(targets, whole)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("num_samples", [1, 2, 3, 441, 4097])
def test_length_and_mixture_are_those_of_the_input(rate: int, num_samples: int) -> None:
    mixture = noise(2, num_samples).numpy()
    cut = Geometry(step=500, context=100, fade=100)
    same, targets = in_stream(Rule(), mixture, rate, block=333, cut=cut)
    np.testing.assert_array_equal(same, mixture)
    assert targets.shape == (2, 2, num_samples)
    assert targets.dtype == np.float32


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_position_at_every_rate(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate // 4) / rate)
    mixture = np.stack([tone, -0.5 * tone])
    cut = Geometry(step=1000, context=100, fade=100)
    _, targets = in_stream(Rule(), mixture, rate, cut=cut)
    middle = slice(rate // 16, -rate // 16)  # the tone's ends are clicks, which have no band limit
    # 1e-5: two passes of soxr's 20 bits, then times two for the second query
    np.testing.assert_allclose(targets[0][:, middle], mixture[:, middle], atol=1e-5, rtol=0)
    np.testing.assert_allclose(targets[1][:, middle], 2 * mixture[:, middle], atol=2e-5, rtol=0)


def test_the_separator_gets_the_resampled_recording() -> None:
    received: list[Tensor] = []

    def record_lengths(mixture: Tensor) -> Tensor:
        received.append(mixture[0].clone())
        return mixture.clone()

    mixture = noise(2, 3001).numpy()
    in_stream(Rule(record_lengths), mixture, 44100, block=500)
    resampler = StreamResampler(44100, 32000, 2)
    expected = np.concatenate([resampler.process(mixture), resampler.flush()], axis=1)
    # See test_resample.
    np.testing.assert_allclose(torch.cat(received, dim=-1), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("step", [1, -1])
def test_read_only_and_reversed_arrays_are_accepted_and_not_modified(step: int) -> None:
    mixture = noise(2, 997).numpy()
    mixture.flags.writeable = False
    cut = Geometry(step=20, context=0, fade=5)
    same, targets = in_stream(
        Rule(lambda mixture: mixture.zero_()), mixture[:, ::step], 32000, cut=cut
    )
    np.testing.assert_array_equal(same, noise(2, 997).numpy()[:, ::step])
    assert not targets.any()


@pytest.mark.parametrize("rate", [32000, 44100])
def test_memory_does_not_grow_with_the_recording(rate: int) -> None:
    cut = Geometry(step=1000, context=200, fade=100)

    def max_held(num_blocks: int) -> tuple[int, int]:
        separator, num_in, num_out, held = Rule(later), 0, 0, 0

        def blocks() -> Iterator[np.ndarray]:
            nonlocal num_in, held
            for _ in range(num_blocks):
                num_in += 300
                held = max(held, num_in - num_out)
                yield np.ones((2, 300), np.float32)

        for _, targets in separate_stream(separator, blocks(), rate, random_queries(2), cut):
            num_out += targets.shape[-1]
        assert num_out == num_in
        return held, separator.longest

    held, longest = max_held(400)  # 120,000 samples
    # A chunk with its contexts at 44100 / 32000, two blocks, and what soxr keeps on both ways
    assert held <= 1500 * rate / 32000 + 2 * 300 + 2000 * (rate != 32000)
    assert longest <= 1500 + 300


def test_no_blocks_give_nothing() -> None:
    assert list(separate_stream(Rule(), iter(()), 44100, random_queries(2))) == []
    assert list(separate_chunks(Rule(), iter(()), random_queries(2), Geometry(20, 10, 5))) == []


class OneChannel(Rule):
    """Takes one channel and adds to it the first entries of each query's vector, token and mask."""

    num_channels = 1

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        assert mixture.shape[1] == 1
        assert queries.tokens is not None
        assert queries.token_mask is not None
        offset = queries.pooled[..., 0] + queries.tokens[..., 0, 0] * queries.token_mask[..., 0]
        target = mixture[:, None] + offset[..., None, None]
        return Separated(target, mixture[:, None] - target)


def test_a_separator_of_one_channel_takes_each_by_itself_with_whole_queries() -> None:
    mixture, pooled = noise(3, 40), unit_vectors(2, QUERY_DIM, seed=9)
    tokens, mask = noise(2, 5, 7), torch.tensor([[True] * 5, [False] * 5])
    target = in_groups(OneChannel(), mixture, QueryEmbedding(pooled, tokens, mask))
    offset = pooled[:, 0] + torch.stack([tokens[0, 0, 0], torch.tensor(0.0)])
    torch.testing.assert_close(target, mixture[None] + offset[:, None, None])


def test_other_numbers_of_channels_are_refused() -> None:
    separator = Rule()
    separator.num_channels = 2
    with pytest.raises(ValueError, match="has 3 channels, this model takes 2"):
        in_groups(separator, noise(3, 40), random_queries())
