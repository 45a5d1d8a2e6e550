"""The parts of FlowSep compute what the authors' code computes, from the same state dict.

Recorded values and key lists: tests/parity (see take_flowsep.py and filling.py there). Limits are those at
which tanh for exact GELU and most wrong epsilons show; the recording's own rounding is about a third.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from parity.filling import fall, filled, glide
from parity.recorded import Recorded
from torch import Tensor

from qsep.separation.flow_matching import integrate, step_times
from qsep.separation.models.flowsep import Config, FlowSep
from qsep.separation.networks.mel.bigvgan import BigVGAN, half_band
from qsep.separation.networks.mel.codec import MelCodec
from qsep.separation.published.converters.flowsep import published_name
from qsep.separation.signal.levels import levels
from qsep.separation.signal.mel import log_mel

RECORDED = Recorded("flowsep")
RATE = 16000
LIMIT, VELOCITY_LIMIT = 1e-5, 5e-6  # rms of the difference over the standard deviation
CONFIG = (
    Config()
)  # which is what the published keys say: tests/separation/published/test_published_flowsep.py


def filled_weight(key: str, shape: list[int], document: str = "keys") -> Tensor:
    """A weight by its rule, not kept: the network's take a gigabyte."""
    system = RECORDED.document[document]
    gains = [number for pattern, number in system["gains"] if re.search(pattern, key)]
    weight: Tensor = filled.__wrapped__(key, tuple(shape), float(np.prod(gains)))
    return weight


def load(module: torch.nn.Module, prefix: str, theirs: Callable[[str], str] = str) -> None:
    """Fill a part of FlowSep, `prefix` in our names, in place; theirs: changes a published name."""
    for name, weight in module.state_dict().items():
        key = theirs(published_name(prefix + name, CONFIG))
        weight.copy_(filled_weight(key, list(weight.shape)))


def averaged(key: str) -> str:
    return "model_ema." + key.removeprefix("model.").replace(".", "")


def error(actual: Tensor, expected: Tensor) -> float:
    difference = actual.double() - expected.double()
    return float(difference.square().mean().sqrt() / expected.double().std())


@pytest.fixture(scope="module", autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def codec() -> MelCodec:
    with torch.device("meta"):
        model = MelCodec(CONFIG.mel, CONFIG.vae, CONFIG.vocoder)
    model = model.to_empty(device="cpu").eval()
    load(model.vae, "codec.vae.")
    load(model.vocoder, "codec.vocoder.")
    model.scale.fill_(0.9)
    return model


@pytest.fixture(scope="module")
def unet() -> Any:
    """With the averaged weights."""
    with torch.device("meta"):
        network = FlowSep(CONFIG).unet
    network = network.to_empty(device="cpu").eval()
    load(network, "unet.", averaged)
    return network


def test_the_weights_made_are_the_recorded_ones() -> None:
    shapes = dict(map(tuple, RECORDED.document["keys"]["keys"]))
    first_values = RECORDED.document["keys"]["first_values"]
    assert len(first_values) >= 5
    for key, expected in first_values.items():
        actual = filled_weight(key, shapes[key]).reshape(-1)[:3]
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def mixture(num_samples: int) -> Tensor:
    return torch.from_numpy(glide(num_samples, RATE) + fall(num_samples, RATE))


def test_the_front_end_gives_the_recorded_log_mel(codec: MelCodec) -> None:
    raw = 1.7 * mixture(60000)[None] + 0.05
    actual = levels(raw, 60000)
    normal = 0.5 * (raw - actual.offset) / actual.peak
    frames = codec.log_mel(torch.nn.functional.pad(normal, (0, 163840 - 60000)))[0]
    assert frames.shape == (1024, 64)
    assert error(frames[:384:3], RECORDED.values("mel/out.log_mel")) < LIMIT
    assert torch.equal(frames[384:], torch.full((640, 64), 1e-5).log())  # silence


def test_a_short_waveform_gives_the_recorded_log_mel() -> None:
    actual = log_mel(0.8 * mixture(10240), CONFIG.mel).T
    assert error(actual, RECORDED.values("mel_plain/out.log_mel_bands_by_frames")) < LIMIT


def test_the_encoder_gives_the_recorded_posterior(codec: MelCodec) -> None:
    posterior = codec.vae.encode(RECORDED.values("vae/in.log_mel"))
    assert error(posterior.mean, RECORDED.values("vae/out.mean")) < LIMIT
    assert error(posterior.log_variance[:, :, ::3], RECORDED.values("vae/out.logvar")) < LIMIT
    sample = codec.encode(
        RECORDED.values("vae/in.log_mel"), RECORDED.values("vae/in.posterior_noise")
    )[0]
    expected = RECORDED.values("vae/out.sample_times_scale_factor_0.9")
    assert error(sample[:, :, ::3], expected) < LIMIT


@pytest.mark.parametrize(("latent", "name"), [("in.z", "decoded_z"), ("out.mean", "decoded_mean")])
def test_the_decoder_gives_the_recorded_log_mel(latent: str, name: str, codec: MelCodec) -> None:
    decoded = codec.decode(0.9 * RECORDED.values(f"vae/{latent}")[None])[0]
    assert error(decoded[:, None, ::3], RECORDED.values(f"vae/out.{name}")) < LIMIT


def vocoder_mel() -> Tensor:
    rng = np.random.default_rng(zlib.crc32(b"flowsep.vocoder_mel"))
    return torch.from_numpy((1.5 * rng.standard_normal((1, 64, 16))).astype(np.float32)) - 4


def test_the_vocoder_gives_the_recorded_waveform(codec: MelCodec) -> None:
    waveform = codec.vocoder(vocoder_mel())
    assert waveform.shape == (1, 1, 2592)
    assert error(waveform, RECORDED.values("vocoder/out.waveform")) < LIMIT


def without_weight_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain weights of the vocoder's own file (`generator` of g_01000000): g v / |v|, a norm a row."""
    plain = {}
    for key, value in weights.items():
        if key.endswith(".weight_g"):
            direction = weights[f"{key.removesuffix('_g')}_v"]
            length = direction.flatten(1).norm(dim=1).reshape(value.shape)
            plain[key.removesuffix("_g")] = value * direction / length
        elif not key.endswith(".weight_v"):
            plain[key] = value
    return plain


def test_the_vocoders_own_file_gives_the_recorded_waveform() -> None:
    theirs = {
        key: filled_weight(key, shape, "keys_vocoder_generator")
        for key, shape in RECORDED.document["keys_vocoder_generator"]["keys"]
        if not key.endswith(".filter")
    }
    plain = without_weight_norm(theirs)
    vocoder = BigVGAN(CONFIG.vocoder, CONFIG.mel.num_bands)
    names = {name: published_name(f"codec.vocoder.{name}", CONFIG) for name in vocoder.state_dict()}
    assert len(names) == len(plain)
    vocoder.load_state_dict(
        {name: plain[key.removeprefix("first_stage_model.vocoder.")] for name, key in names.items()}
    )
    assert (
        error(vocoder(vocoder_mel()), RECORDED.values("vocoder/out.waveform_weight_norm_file"))
        < LIMIT
    )


def test_the_filter_of_the_activations_is_the_recorded_one() -> None:
    assert error(half_band(), RECORDED.values("vocoder/out.filter").reshape(-1)) < LIMIT


def context() -> tuple[Tensor, Tensor]:
    """Token states as recorded, and padding that no attention may reach."""
    tokens = torch.nn.functional.pad(
        RECORDED.values("euler4_ema/in.context"), (0, 0, 0, 38), value=7.0
    )
    return tokens, RECORDED.values("velocity/in.mask") > 0.5


@pytest.mark.slow
def test_the_averaged_weights_give_the_recorded_velocity(unet: Any) -> None:
    names = ("in.x_t", "in.z_mix", "in.t")
    actual = unet(*(RECORDED.values(f"velocity/{name}") for name in names), *context())
    expected = RECORDED.values("euler4_ema/out.velocity_ema_for_velocity_inputs")
    assert error(actual, expected) < VELOCITY_LIMIT


@pytest.mark.slow
def test_four_steps_of_euler_go_the_recorded_way(unet: Any) -> None:
    mixture_latent = RECORDED.values("velocity/in.z_mix")
    point, times = RECORDED.values("euler4_ema/in.x0"), step_times(4)
    for step in range(4):
        point = integrate(
            lambda latent, tau: unet(latent, mixture_latent, torch.full((1,), tau), *context()),
            point,
            times[step : step + 2],
        )
        if step < 3:
            expected = RECORDED.values(f"euler4_ema/out.x_at_step{step + 1}")
            assert error(point[:, :, ::3], expected) < VELOCITY_LIMIT, step
    assert error(point, RECORDED.values("euler4_ema/out.x1")) < VELOCITY_LIMIT
