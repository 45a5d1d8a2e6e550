"""Causal separators give the same result block by block as for the whole recording."""

from typing import Any

import pytest
import torch
from tiny import noise, tiny_separator, unit_vectors
from tiny_settings import BANDS, QUERY_DIM
from torch import Tensor

from qsep.queries.interface import QueryEmbedding
from qsep.separation.signal.running_level import running_level

VARIANTS: dict[str, dict[str, Any]] = {
    "bands, complex mask": {},
    "bins, direct spectrum, two channels": {
        "num_channels": 2,
        "analysis": {"kind": "stft", "window_samples": 32},
        "backbone": {"kind": "bsrnn", "num_layers": 1},
        "head": {"kind": "spectrum"},
    },
    "late, magnitude mask, outputs as they are": {
        "entry": {"kind": "late"},
        "analysis": BANDS | {"readout": "linear", "shares": 2},
        "head": {"kind": "magnitude_mask"},
        "consistent": False,
    },
    "dilated convolutions in complex numbers, two channels": {
        "num_channels": 2,
        "analysis": {"kind": "stft", "window_samples": 32},
        "backbone": {"kind": "multidilated", "channels": 3, "num_blocks": 2, "growth": 2},
    },
}
BLOCKS = {"one by one": [1], "odd": [7, 64, 1, 333, 31], "whole": [4000]}


CLASSES = "class U-Net"  # not composed of parts


def causal(variant: str) -> Any:
    if variant == CLASSES:
        return tiny_separator("causal_class_unet", blocks=[1, 2, 1, 1, 2])
    return tiny_separator("queried:causal", segment_seconds=10.0, **VARIANTS[variant])


def streamed(separator: Any, mixture: Tensor, queries: QueryEmbedding, sizes: list[int]) -> Tensor:
    """mixture (c, t), cut into blocks whose sizes repeat."""
    live = separator.live(queries, len(mixture))
    parts, start, turn = [], 0, 0
    while start < mixture.shape[-1]:
        size = sizes[turn % len(sizes)]
        parts.extend(live.push(mixture[:, start : start + size]))
        start, turn = start + size, turn + 1
        late = min(start, mixture.shape[-1]) - sum(part.shape[-1] for part in parts)
        assert late <= live.latency_samples
    return torch.cat([*parts, *live.finish()], dim=-1)


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("variant", [*VARIANTS, CLASSES])
@pytest.mark.parametrize("num_samples", [613, 640])
def test_streamed_equals_offline(variant: str, blocks: str, num_samples: int) -> None:
    separator = causal(variant)
    mixture, queries = noise(2, num_samples), QueryEmbedding(unit_vectors(3, QUERY_DIM, seed=9))
    outputs = streamed(separator, mixture, queries, BLOCKS[blocks])
    with torch.inference_mode():
        batched = queries.map(lambda entry: entry[None])
        offline = separator.separate(mixture[None], batched).target[0]
    assert outputs.shape == offline.shape
    # 1e-5 of samples of about 0.1: float32 through a few layers, in blocks of other sizes
    torch.testing.assert_close(outputs, offline, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("variant", [*VARIANTS, CLASSES])
def test_no_sample_depends_on_input_later_than_the_latency(variant: str) -> None:
    separator = causal(variant)
    mixture, queries = noise(1, 2, 640), QueryEmbedding(unit_vectors(1, 1, QUERY_DIM))
    latency, first_changed = separator.live(queries, 2).latency_samples, 321
    changed = mixture.clone()
    changed[..., first_changed:] += 3
    with torch.inference_mode():
        before, after = (separator.separate(item, queries).target for item in (mixture, changed))
    same = (before == after).flatten(0, 2).all(dim=0)
    assert same[: first_changed - latency].all()
    assert not same[first_changed:].any()


@pytest.mark.parametrize("variant", [*VARIANTS, CLASSES])
def test_an_empty_stream_gives_no_output(variant: str) -> None:
    live = causal(variant).live(QueryEmbedding(unit_vectors(2, QUERY_DIM)), 2)
    assert [part.shape for part in live.push(torch.zeros(2, 0))] == [(2, 2, 0)]
    assert [part.shape for part in live.finish()] == [(2, 2, 0)]


def test_a_model_that_looks_ahead_is_refused() -> None:
    with pytest.raises(ValueError, match="this model looks ahead"):
        tiny_separator("queried").live(QueryEmbedding(unit_vectors(1, QUERY_DIM)), 1)


def test_a_running_level_is_the_weighted_mean_of_past_frames() -> None:
    power = noise(2, 9).abs()
    first, state = running_level(power[:, :4], 0.8, None)
    second, _ = running_level(power[:, 4:], 0.8, state)
    actual = torch.cat([first, second], dim=-1).double()
    for frame in range(9):
        weights = 0.8 ** torch.arange(frame, -1, -1, dtype=torch.float64)
        expected = (power[:, : frame + 1].double() * weights).sum(dim=-1) / weights.sum()
        torch.testing.assert_close(actual[:, frame], expected, rtol=1e-6, atol=0)  # float32 sums
