"""What is particular to FlowSep; parity with the published one is in test_flowsep_parity.py."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny import noise, rng
from tiny_flowsep import CELL, WINDOW, flowsep, random_queries, worded
from tiny_settings import QUERY_DIM
from torch import Tensor

from qsep.queries.interface import QueryEmbedding
from qsep.separation.components import build_separator
from qsep.separation.inference.chunks import geometry, separate_chunks
from qsep.separation.networks.mel.bigvgan import BigVGAN, VocoderConfig
from qsep.separation.networks.mel.vae import Posterior
from qsep.separation.signal.segments import join_overlapping


@pytest.fixture(autouse=True)
def no_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with torch.set_grad_enabled("trains" in request.node.name):
        yield


def separate(separator: Any, mixture: Tensor, queries: QueryEmbedding, seed: int = 0) -> Tensor:
    target: Tensor = separator.separate(mixture, queries, rng(seed)).target
    return target


def test_in_float64_a_batch_is_its_items_to_the_last_digits() -> None:
    """So the deviations in the contract's tests, in float32, are rounding."""
    separator = flowsep().double()
    mixture, queries = noise(2, 2, 1601).double(), random_queries(2, 3).map(Tensor.double)
    together = separate(separator, mixture, queries)
    for item in range(2):
        alone = separate(separator, mixture[[item]], queries.map(lambda part: part[[item]]))  # noqa: B023
        torch.testing.assert_close(together[[item]], alone, atol=1e-12, rtol=0)


def test_without_a_generator_the_noise_is_always_the_same_and_with_one_the_generators() -> None:
    separator, mixture = flowsep(), noise(1, 1, 900)
    first, second = (separator.separate(mixture, random_queries()).target for _ in range(2))
    assert torch.equal(first, second)
    other = separate(separator, mixture, random_queries(), seed=5)
    assert (other - first).abs().max() > 0.01 * first.abs().max()
    assert torch.equal(other, separate(separator, mixture, random_queries(), seed=5))


def test_masked_tokens_are_not_read_and_their_number_does_not_matter() -> None:
    separator, mixture = flowsep(), noise(1, 1, 900)
    expected = separate(separator, mixture, worded([3, 5]))
    padded = separate(separator, mixture, worded([3, 5], extra=4))
    # 1e-5: attention sums in another order
    torch.testing.assert_close(padded, expected, atol=1e-5, rtol=0)
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 0.01 * expected.abs().max()


def test_guidance_of_one_does_not_evaluate_the_hidden_query() -> None:
    separator, mixture = flowsep(), noise(1, 1, 900)
    expected = separate(separator, mixture, random_queries())
    separator.null.normal_(generator=rng(4))
    assert torch.equal(separate(separator, mixture, random_queries()), expected)


def test_guidance_extrapolates_from_the_hidden_query_to_the_given_one() -> None:
    """One Euler step is linear in the velocity: v(null) + w (v(query) - v(null)), checked on latents."""
    latents = {}
    start, mixture_latent = noise(3, 16, 4, scale=1.0), noise(1, 1, 3, 16, 4, seed=1, scale=1.0)
    for guidance in (0.0, 1.0, 3.0):
        separator = flowsep(sampling={"num_steps": 1, "guidance": guidance})
        separator.null.normal_(generator=rng(4))
        context = separator.context(worded([4]))
        latents[guidance] = separator.generate(start, mixture_latent, *context)
    expected = latents[0.0] + 3 * (latents[1.0] - latents[0.0])
    torch.testing.assert_close(latents[3.0], expected, atol=1e-4, rtol=1e-4)
    assert (latents[3.0] - latents[1.0]).abs().max() > 0.1


def test_the_hidden_query_is_read_whole() -> None:
    """As in the published training, where its padding was attended to."""
    start, mixture_latent = noise(3, 16, 4, scale=1.0), noise(1, 1, 3, 16, 4, seed=1, scale=1.0)
    separator = flowsep(sampling={"num_steps": 1, "guidance": 0.0})
    separator.null.normal_(generator=rng(4))
    before = separator.generate(start, mixture_latent, *separator.context(worded([2])))
    as_query = flowsep(sampling={"num_steps": 1})
    whole = QueryEmbedding(torch.zeros(1, 1, QUERY_DIM), separator.null[None, None])
    expected = as_query.generate(start, mixture_latent, *as_query.context(whole))
    torch.testing.assert_close(before, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", ["midpoint", "heun"])
def test_solvers_of_second_order_come_nearer_to_many_steps(solver: str) -> None:
    start, mixture_latent = noise(3, 16, 4, scale=1.0), noise(1, 1, 3, 16, 4, seed=1, scale=1.0)

    def end(**sampling: Any) -> Tensor:
        separator = flowsep(sampling=sampling)
        with torch.inference_mode():
            point: Tensor = separator.generate(
                start, mixture_latent, *separator.context(worded([4]))
            )
        return point

    truth = end(num_steps=48, solver="heun")
    euler = (end(num_steps=8) - truth).abs().max()
    assert (end(num_steps=8, solver=solver) - truth).abs().max() < euler / 3


class Copy(torch.nn.Module):
    """Stands in for the velocity network: leads to the mixture's latent, in any number of steps."""

    def forward(self, latent: Tensor, mixture: Tensor, tau: Tensor, *_: Tensor) -> Tensor:
        return (mixture - latent) / (1 - tau).reshape(-1, 1, 1, 1)


class Linear(torch.nn.Module):
    """Stands in for the autoencoder: means over squares of frames and bands, three times, and repetition."""

    stride = 2

    def encode(self, log_mel: Tensor) -> Posterior:
        mean = torch.nn.functional.avg_pool2d(log_mel, 2).expand(-1, 3, -1, -1)
        return Posterior(mean, torch.full_like(mean, -1.0))

    def decode(self, latent: Tensor) -> Tensor:
        pooled = latent.mean(dim=1, keepdim=True)
        return pooled.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)


def local(**changes: Any) -> Any:
    """A tiny FlowSep whose networks have a receptive field of one position, so that windows agree."""
    separator = flowsep(**changes)
    separator.unet, separator.codec.vae = Copy(), Linear()
    return separator


def beating(num_samples: int) -> Tensor:
    """(1, 1, t): two tones of one level all along, so that all windows have the same gain."""
    time = torch.arange(num_samples, dtype=torch.float64)
    tones = torch.sin(2 * math.pi * time / 16) + torch.sin(2 * math.pi * time / 24)
    return (0.2 * tones).float()[None, None]


def test_windows_of_a_long_recording_leave_no_seam() -> None:
    """With a receptive field of one position, windows and their joints must not be visible: a stationary
    sound stays stationary, frame by frame, where windows begin and end."""
    separator = local()
    num_samples = 6 * CELL + 100
    actual = separate(separator, beating(num_samples), random_queries(1, 1))[0, 0, 0]
    period = 192  # six frames, three of latents, and whole periods of the tones
    inner = actual[WINDOW : WINDOW + 3 * CELL].reshape(-1, period)
    assert inner.abs().max() > 0.01
    torch.testing.assert_close(inner, inner[:1].expand_as(inner), atol=1e-5, rtol=0)


def test_equal_parts_are_joined_seamlessly_and_others_crossfaded() -> None:
    whole = noise(2, 17, 3)
    parts = [whole[:, start : start + 8] for start in (0, 5, 9)][:2]
    assert torch.equal(join_overlapping(parts, 3), whole[:, :13])
    low, high = torch.zeros(1, 5, 1), torch.ones(1, 5, 1)
    joined = join_overlapping([low, high, low], 2)
    assert joined.flatten().tolist() == [0, 0, 0, 0.25, 0.75, 1, 0.75, 0.25, 0, 0, 0]
    assert torch.equal(
        join_overlapping([low, high], 0).flatten(), torch.cat([low, high], 1).flatten()
    )


def test_a_quiet_passage_after_a_loud_one_keeps_its_level() -> None:
    separator = local()
    mixture = beating(8 * CELL)
    mixture[..., 4 * CELL :] *= 0.01
    actual = separate(separator, mixture, random_queries(1, 1))[0, 0]
    loud, quiet = actual[..., CELL : 2 * CELL], actual[..., 6 * CELL : 7 * CELL]
    ratio_db = 20 * math.log10(float(quiet.std() / loud.std()))
    assert ratio_db == pytest.approx(-40, abs=0.1)


@pytest.mark.slow
def test_chunks_give_what_the_whole_gives() -> None:
    separator = flowsep()
    num_samples = separator.context_samples + 5 * separator.stride_samples + 77
    mixture = noise(2, num_samples)
    queries = random_queries()
    cut = geometry(separator, chunk_seconds=0.1)
    blocks = mixture.split(1111, dim=-1)
    actual = torch.cat(
        list(separate_chunks(separator, blocks, queries.map(lambda q: q[0]), cut)), -1
    )
    expected = separator.separate(mixture[None], queries).target[0]
    error = (actual - expected).square().sum() / expected.square().sum()
    assert 10 * math.log10(float(error)) < -60


def test_chunks_are_long_where_much_is_seen_around_them() -> None:
    """At the published sizes the context is 38.8 s; 30 s chunks would compute three quarters twice."""
    with torch.device("meta"):
        separator = build_separator("flowsep", {})
    cut = geometry(separator)
    assert separator.context_samples == 5 * 7.68 * 16000 + 37 * 160 + 1024
    assert cut.step >= 7.8 * separator.context_samples
    assert cut.step % separator.stride_samples == 0


def test_noise_does_not_repeat_within_a_window() -> None:
    separator = flowsep()
    assert separator.stride_samples >= WINDOW


# Faithful settings.


def test_exact_takes_each_window_by_itself() -> None:
    separator = flowsep(exact=True)
    mixture = noise(1, 2, 2 * WINDOW + 100)
    actual = separate(separator, mixture, random_queries())
    parts = [separate(separator, part, random_queries()) for part in mixture.split(WINDOW, dim=-1)]
    # 1e-5: rounding, as in the contract
    torch.testing.assert_close(actual, torch.cat(parts, dim=-1), atol=1e-5, rtol=0)


def test_the_target_has_the_mixtures_level_and_with_exact_that_of_the_networks() -> None:
    """As published, a mixture is brought to a peak of 0.5 and its target stays there."""
    mixture = noise(1, 2, 900)
    mixture = 0.5 * (mixture - mixture.mean(dim=-1, keepdim=True))
    mixture = mixture / mixture.abs().max() * 0.5
    levelled = separate(flowsep(), mixture, random_queries())
    for exact, gain in ((False, 0.2), (True, 1.0)):
        actual = separate(flowsep(exact=exact), 0.2 * mixture, random_queries())
        at_half = separate(flowsep(exact=exact), mixture, random_queries())
        # 1e-4: the gain is rounded before a deep network
        torch.testing.assert_close(actual, gain * at_half, atol=1e-4, rtol=1e-3)
    assert levelled.abs().max() > 1e-2


def test_exact_draws_the_mixtures_latent_from_its_posterior_and_otherwise_it_is_the_mean() -> None:
    mixture = noise(1, 1, 900)
    for exact in (False, True):
        separator = local(exact=exact)
        seen: list[Tensor] = []
        separator.unet.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))  # noqa: B023
        separate(separator, mixture, random_queries(1, 1))
        posterior_std = math.exp(-0.5)
        normal = (mixture - mixture.mean()) * 0.5 / (mixture - mixture.mean()).abs().max()
        padded = torch.nn.functional.pad(normal, (0, WINDOW - 900))
        mean = separator.codec.encode(separator.codec.log_mel(padded))[0]
        off = (seen[0] - mean).std().item()
        assert off == pytest.approx(posterior_std if exact else 0.0, abs=0.1 if exact else 1e-5)


def test_exact_refuses_guidance() -> None:
    with pytest.raises(ValueError, match="exact has no guidance"):
        build_separator("flowsep", {"exact": True, "sampling": {"guidance": 2.0}})


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"sampling": {"solver": "rk4"}}, "solver is 'rk4'; expected one of euler, midpoint, heun"),
        ({"sampling": {"num_steps": 0}}, "num_steps is 0"),
        ({"flow": {"times": "cosine"}}, "times is 'cosine'; expected one of uniform, logit-normal"),
        (
            {"window_frames": 1000},
            "window_frames 1000 and mel.num_bands 64: expected multiples of 32",
        ),
        ({"mel": {"hop_samples": 128}}, "the product of vocoder.rates is 160"),
    ],
)
def test_invalid_settings_are_named(settings: dict[str, Any], reason: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=reason):
        build_separator("flowsep", settings)


# The vocoder.


@pytest.mark.parametrize(("rates", "kernels"), [((5, 2), (16, 4)), ((4, 2), (8, 4))])
def test_pieces_of_the_vocoders_waveform_are_those_of_the_whole(
    rates: tuple[int, ...], kernels: tuple[int, ...]
) -> None:
    config = VocoderConfig(8, rates, kernels, (3, 5), (1, 2))
    vocoder = BigVGAN(config, 6).double()
    for weight in vocoder.parameters():
        if weight.dim() > 1:
            weight.normal_(std=weight[0].numel() ** -0.5, generator=rng(0))
    mel = noise(2, 6, 150, scale=1.0).double()
    whole = vocoder(mel)[..., : 150 * vocoder.hop_samples]
    sizes = []
    vocoder.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
    for total in (150, 110, 40):
        del sizes[:]
        part, beyond = mel[..., :total], vocoder.context_frames
        pieces = torch.cat(list(vocoder.pieces(part, 40)), dim=-1)
        true = (total if total == 150 else total - beyond) * vocoder.hop_samples
        torch.testing.assert_close(pieces[..., :true], whole[..., :true], atol=1e-12, rtol=0)
        assert pieces.shape[-1] == total * vocoder.hop_samples
        assert set(sizes) == {min(total, max(40 + beyond, 3 * beyond))}
