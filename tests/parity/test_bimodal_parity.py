"""Bi-modal separation computes what the authors' code computes, from the same state dict.

Recorded values and key list: tests/parity (see take_bimodal.py and filling.py there).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchaudio
from parity.filling import as_float32, fall, fill, filled, glide
from parity.recorded import Recorded
from torch import Tensor

from qsep.queries.files.weights import Unfilled, load_weights
from qsep.queries.interface import QueryEmbedding
from qsep.separation.components import build_separator
from qsep.separation.objectives.weak_supervision import (
    agreement,
    consistency,
    mix_and_separate,
    weighted_l1,
)
from qsep.separation.published.converters import bimodal
from qsep.separation.signal.spectra import rms_magnitude

RECORDED = Recorded("bimodal")
RATE = 16000
LIMIT = 1e-5  # rms of the difference over the standard deviation; sees tanh for exact GELU
LAYER_LIMIT = 5e-6  # sees the layer norm's epsilon
LOSS_LIMIT = 1e-6  # relative; sees the phase of the single mixtures


@pytest.fixture(scope="module", autouse=True)
def weights_are_forgotten_afterwards() -> Iterator[None]:
    yield
    filled.cache_clear()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("release")
    (folder / bimodal.RELEASED_CLAP).touch()
    document = RECORDED.document
    computed = [key for key, _ in document["keys"] if ".stft." in key or ".istft." in key]
    kept = document | {"keys": [pair for pair in document["keys"] if pair[0] not in computed]}
    converted = bimodal.convert(fill(kept), folder / "model_weights.pth.tar")
    with Unfilled():
        separator = build_separator(converted.kind, converted.settings)
    load_weights(separator, converted.weights, "recorded")
    return separator.eval()


def draw(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """A tensor that the recorder made by its name alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return as_float32(scale * rng.standard_normal(shape))


def error(actual: Tensor, expected: Tensor) -> float:
    difference = actual.double() - expected.double()
    return float(difference.square().mean().sqrt() / expected.double().std())


def query() -> QueryEmbedding:
    pooled = F.normalize(draw("bimodal.text_embed", (1, 512)), dim=-1)
    return QueryEmbedding(pooled[:, None], draw("bimodal.hidden", (1, 77, 768), 0.5)[:, None])


def mixture() -> Tensor:
    return torch.from_numpy(glide(32512, RATE) + fall(32512, RATE))[None, None]


@dataclass(frozen=True)
class Pass:
    """The network's pass over the mixture: its spectrum, logits of the mask and values of an attention."""

    spec: Tensor
    logits: Tensor
    attention: Tensor


@pytest.fixture(scope="module", name="whole")
def pass_over_the_mixture(network: Any) -> Pass:
    seen: list[Tensor] = []
    hook = network.unet.attentions[0].itself.register_forward_hook(
        lambda module, inputs, output: seen.append(output.transpose(1, 2))
    )
    with torch.inference_mode():
        spec = network.masker.spectrum(mixture())
        embedding = query().map(lambda entry: entry[:, 0])
        logits = network.logits(rms_magnitude(spec), embedding, torch.tensor([0]))
    hook.remove()
    return Pass(spec, logits, seen[0])


def test_the_filling_rule_makes_the_recorders_weights() -> None:
    first = RECORDED.document["first_values"]
    keys = [pair for pair in RECORDED.document["keys"] if pair[0] in first]
    weights = fill(RECORDED.document | {"keys": keys})
    for key, expected in first.items():
        assert weights[key].flatten()[:3].tolist() == expected, key


def test_it_has_as_many_parameters_as_the_published_one(network: Any) -> None:
    published = 87_681_250 + 16_416 + 33
    unused = 3 * 2 * 512  # layer norms that its code has and never uses
    assert sum(weight.numel() for weight in network.parameters()) == published - unused


def test_mask_and_attention_are_the_recorded_ones(whole: Pass) -> None:
    assert error(whole.logits[:, None, ::7, ::5], RECORDED.values("mask/out.logits")) < LIMIT
    attention = RECORDED.values("mask/mid.self_attention4.values")
    assert error(whole.attention.reshape(-1)[::17], attention) < LAYER_LIMIT


@torch.inference_mode()
def test_the_separated_waveform_is_the_recorded_one(network: Any, whole: Pass) -> None:
    mask = whole.logits.sigmoid()
    actual = network.masker.waveform(mask[:, None] * whole.spec, 32512)[0, 0]
    assert error(actual[::7], RECORDED.values("mask/out.waveform")) < LIMIT


@torch.inference_mode()
def test_attention_reads_every_token_and_nothing_else(network: Any, whole: Pass) -> None:
    """With all but ten tokens masked, the output changes by the recorded amount, 0.129."""
    embedding = query().map(lambda entry: entry[:, 0])
    few = QueryEmbedding(embedding.pooled, embedding.tokens, torch.arange(77)[None] < 10)
    logits = network.logits(rms_magnitude(whole.spec), few, torch.tensor([0]))
    masks = [whole.logits.sigmoid(), logits.sigmoid()]
    change = (masks[1] - masks[0]).square().mean().sqrt() / masks[0].std()
    assert change == pytest.approx(0.129, abs=0.001)


def stub_embedding(waveform: Tensor) -> Tensor:
    """The recorder's stand-in for CLAP: (n, t) at 48 kHz to unit vectors (n, 512)."""
    size = waveform.shape[-1] // 64
    blocks = waveform[:, : 64 * size].unflatten(-1, (64, size))
    levels = (blocks.square().mean(dim=-1) + 1e-6).log()
    return F.normalize(levels @ draw("bimodal.audio_projection", (512, 64)).T, dim=-1)


@pytest.mark.nightly
@pytest.mark.slow  # 16 passes of a network of 88 million weights, and back
def test_losses_and_their_gradients_are_the_recorded_ones(network: Any) -> None:
    wholes = RECORDED.values("loss/in.audios")
    weight = RECORDED.values("loss/in.source_weights")
    names = ("caption", "phrase")
    pooled = {
        name: F.normalize(draw(f"bimodal.loss.{name}_embed", (2, 2, *more, 512)), dim=-1)
        for name, more in zip(names, ((), (3,)), strict=True)
    }
    hidden = {
        name: draw(f"bimodal.loss.{name}_hidden", (2, 2, *more, 77, 768), 0.5)
        for name, more in zip(names, ((), (3,)), strict=True)
    }
    spec = network.masker.spectrum(wholes.sum(dim=1, keepdim=True))
    magnitude, sources = rms_magnitude(spec), network.masker.spectrum(wholes).abs()
    # Of each mixture of mixtures two captions, then the phrases of the first and those of the second.
    embedding = QueryEmbedding(
        torch.cat([pooled["caption"], pooled["phrase"].flatten(1, 2)], dim=1).flatten(0, 1),
        torch.cat([hidden["caption"], hidden["phrase"].flatten(1, 2)], dim=1).flatten(0, 1),
    )
    item = torch.arange(2).repeat_interleave(8)
    network.zero_grad()
    masks = network.logits(magnitude, embedding, item).sigmoid().unflatten(0, (2, 8))
    estimates = masks * magnitude[:, None]
    separation = mix_and_separate(
        estimates[:, :2], sources, magnitude, torch.ones(2, 2, dtype=torch.bool)
    )
    share = torch.zeros(2, 6, 2)
    share[:, :3, 0], share[:, 3:, 1] = weight[:, 0], weight[:, 1]
    consistent = consistency(estimates[:, 2:], share, sources)
    judged = []
    for whole in range(2):
        parts = slice(2 + 3 * whole, 5 + 3 * whole)
        waveform = network.masker.waveform(masks[:, parts] * spec, 32512)
        resampled = torchaudio.functional.resample(waveform, RATE, 48000).transpose(0, 1)
        sounds = stub_embedding(resampled.flatten(0, 1))
        recorded = RECORDED.values(f"loss/out.audio_embed_mixture{whole}")
        assert error(sounds.detach(), recorded) < 1e-4
        phrases = pooled["phrase"][:, whole].transpose(0, 1).flatten(0, 1)
        judged.append(agreement(sounds, phrases, 14.0).mean())
        expected = float(RECORDED.values(f"loss/out.contrastive_mixture{whole}"))
        assert float(judged[-1].detach()) == pytest.approx(expected, rel=LOSS_LIMIT)
    total = 0.5 * sum(judged) + 5 * (consistent + separation).mean()
    for name, value in (
        ("total", total),
        ("consistency", consistent.mean()),
        ("unsupervised", separation.mean()),
    ):
        expected = float(RECORDED.values(f"loss/out.{name}"))
        assert float(value.detach()) == pytest.approx(expected, rel=LOSS_LIMIT), name
    total.backward()
    for theirs, parameter in (
        ("net_sound.bn0.weight", network.unet.norm.weight),
        ("net_sound.unet_block.upconv.weight", network.unet.ups[0].conv.weight),
        ("net_clap.fc.weight", network.project.weight),
        ("net_synthesizer.scale", network.masks.scale),
        (
            f"{bimodal.block_of(4)}.ca_blocks.0.ca_block.attn.kv.weight",
            network.unet.attentions[0].words.key_value.weight,
        ),
    ):
        expected = float(RECORDED.values(f"loss/out.grad_norm.{theirs}"))
        assert float(parameter.grad.norm()) == pytest.approx(expected, rel=1e-3), theirs
    network.zero_grad()


def test_the_loss_functions_alone_are_the_recorded_ones() -> None:
    def value(name: str) -> Tensor:
        return RECORDED.values(f"loss_functions/{name}")

    actual = agreement(value("in.audio_embed"), value("in.text_embed"), 14.0).mean()
    assert float(actual) == pytest.approx(float(value("out.contrastive")), rel=LOSS_LIMIT)
    distance = weighted_l1(value("in.pred"), value("in.target"), value("in.weight")).mean()
    assert float(distance) == pytest.approx(float(value("out.weighted_l1")), rel=LOSS_LIMIT)
