"""model.stream: what it gives block by block equals the file's result, a fixed time later."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny import StubConfig, StubEncoder, noise, tiny_separator
from tiny_settings import QUERY_DIM, RATE, SETTINGS

from qsep.queries.constraints import Constraints
from qsep.queries.interface import TextQuery
from qsep.separation.api import Model
from qsep.separation.audio.resample import StreamResampler, lateness

BLOCKS = [1, 700, 64, 2001, 333]
RAIN, DOG = TextQuery("rain"), TextQuery("dog")


def model(kind: str = "band_unet", **changes: Any) -> Model:
    separator = tiny_separator(kind, **changes)
    dim = separator.query_dim or QUERY_DIM
    return Model(separator, StubEncoder(StubConfig(dim=dim)), "tiny")


def pushed(stream: Any, mixture: np.ndarray) -> np.ndarray:
    """All that comes of a mixture (..., t) in blocks whose sizes repeat; its lateness is checked."""
    parts, start, turn = [], 0, 0
    while start < mixture.shape[-1]:
        size = BLOCKS[turn % len(BLOCKS)]
        parts.append(stream.push(mixture[..., start : start + size]))
        start, turn = min(start + size, mixture.shape[-1]), turn + 1
        assert sum(part.shape[-1] for part in parts) == max(0, start - stream.latency_samples)
    return np.concatenate([*parts, stream.finish()], axis=-1)


@pytest.mark.parametrize("kind", SETTINGS)
def test_blocks_together_equal_the_file_for_every_model(kind: str) -> None:
    ours = model(kind)
    able = ours.separator.capabilities
    shorter = None if able.streaming or able.chunk_seconds else 0.4
    stream = ours.stream([RAIN, DOG], num_channels=2, chunk_seconds=shorter)
    # Several chunks, where they are not long.
    num_samples = min(13013, max(8013, stream.latency_samples + 2413))
    mixture = noise(2, num_samples).numpy()
    outputs = pushed(stream, mixture)
    whole = np.stack([each.target for each in ours.separate(mixture, [RAIN, DOG])])
    assert outputs.shape == whole.shape
    peak = float(np.abs(whole).max())
    # Chunks of other lengths: float32 sums in another order; resunet30's go through logarithms.
    np.testing.assert_allclose(
        outputs, whole, atol=(1e-5 if kind == "resunet30" else 1e-6) * peak, rtol=0
    )


def test_with_the_same_chunks_the_arithmetic_is_the_same() -> None:
    ours = model()
    mixture = noise(3 * RATE + 5).numpy()
    stream = ours.stream("rain", chunk_seconds=30)  # as files are cut
    outputs = pushed(stream, mixture)
    np.testing.assert_allclose(outputs, ours.separate(mixture, "rain").target, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 5000])
@pytest.mark.parametrize("kind", ["band_unet", "queried:causal"])
def test_other_rates_come_after_a_fixed_latency_too(rate: int, kind: str) -> None:
    ours = model(kind)
    mixture = noise(2, 2 * rate + 7).numpy()
    shorter = None if ours.separator.capabilities.streaming else 0.3
    outputs = pushed(ours.stream(RAIN, rate, 2, chunk_seconds=shorter), mixture)
    whole = ours.separate(mixture, RAIN, rate).target
    np.testing.assert_allclose(outputs, whole, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    "constraint", [{"spans": ["0.2-0.7"]}, {"negatives": ["wind"]}, {"exclusive": True}]
)
def test_constraints_apply_as_to_files(constraint: dict[str, Any]) -> None:
    ours, constraints = model(), Constraints(**constraint)
    stream = ours.stream([RAIN, DOG], None, 2, constraints, 0.3)
    mixture = noise(
        2, stream.latency_samples + RATE + 5
    ).numpy()  # so that there are several chunks
    outputs = pushed(stream, mixture)
    whole = ours.separate(mixture, [RAIN, DOG], constraints=constraints)
    np.testing.assert_allclose(outputs, [each.target for each in whole], atol=2e-6, rtol=0)


def test_a_span_after_the_end_is_reported_at_the_end() -> None:
    stream = model().stream("rain", constraints=Constraints(spans=["2-3"]))
    stream.push(np.zeros(RATE, np.float32))
    with pytest.raises(ValueError, match="lies outside the recording"):
        stream.finish()


def test_blocks_come_back_as_they_were_given() -> None:
    stream = model().stream("rain", chunk_seconds=0.01)
    tensor = stream.push(noise(2 * RATE).double())
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.float64
    assert tensor.ndim == 1
    array = stream.push(noise(1, RATE).numpy())
    assert array.dtype == np.float32
    assert array.shape == (1, RATE)


def test_unsupported_streams_are_refused_in_one_line() -> None:
    stream = model().stream("rain", num_channels=2)
    with pytest.raises(ValueError, match="has 2 channels, the block 1"):
        stream.push(np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="NaN"):
        stream.push(np.full((2, 5), np.nan, np.float32))
    stream.finish()
    with pytest.raises(ValueError, match="is finished"):
        stream.push(np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="leave chunk_seconds out"):
        model("queried:causal").stream("rain", chunk_seconds=1.0)
    with pytest.raises(ValueError, match="expected more than 0"):
        model().stream("rain", chunk_seconds=0.0)


def test_memory_does_not_grow_with_the_recording() -> None:
    stream = model().stream("rain", chunk_seconds=0.2)
    block, kept = noise(1000).numpy(), []
    for _ in range(60):
        stream.push(block)
        aligned: Any = stream._stream._aligned
        waiting = sum(part.shape[-1] for part in aligned.core.core._waiting)
        mixtures = sum(part.shape[-1] for part in aligned._mixtures)
        kept.append(waiting + mixtures + sum(part.shape[-1] for part in stream._ready))
    assert max(kept[30:]) <= max(kept[:30]) + len(block)


@pytest.mark.parametrize(("rate", "other"), [(44100, 32000), (8000, 44100), (192000, 16000)])
def test_a_resampler_is_never_later_than_its_measured_latency(rate: int, other: int) -> None:
    resampler, sizes = StreamResampler(rate, other, 1), [1, 5000, 17, 64, 999]
    num_in = num_out = 0
    for turn in range(300):
        block = np.zeros((1, sizes[turn % len(sizes)]), np.float32)
        num_in += block.shape[1]
        num_out += resampler.process(block).shape[1]
        assert num_in - num_out * rate // other <= lateness(rate, other)
