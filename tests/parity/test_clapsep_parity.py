"""CLAPSep's decoder computes what the authors' code computes, its audio encoder what transformers' CLAP does.

Recorded values and key list: tests/parity (see take_clapsep.py and filling.py there).
"""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.filling import as_float32, fall, fill, filled, glide
from parity.recorded import Recorded
from torch import Tensor

from qsep.queries.files.weights import load_weights
from qsep.separation.components import from_settings
from qsep.separation.models.clapsep import Config
from qsep.separation.networks.clapsep.decoder import CLAPSepDecoder
from qsep.separation.networks.clapsep.htsat import HTSAT, HTSATConfig
from qsep.separation.networks.masks.magnitude_masks import MagnitudeMasks
from qsep.separation.published.converters.clapsep import renamed
from qsep.separation.signal.spectra import rms_magnitude

RECORDED = Recorded("clapsep")
RATE = 32000
LIMIT = 3e-6  # rms of the difference over the standard deviation: sees every wrong epsilon
SHAPES = {
    "patch_embed": (1, 4096, 128),
    "layer0": (1, 1024, 256),
    "layer1": (1, 256, 512),
    "layer2": (1, 64, 1024),
    "layer3": (1, 64, 1024),
}


@pytest.fixture(scope="module", autouse=True)
def weights_are_forgotten_afterwards() -> Iterator[None]:
    yield
    filled.cache_clear()


def recorded_weights() -> dict[str, Tensor]:
    """By the recorder's rule, under which tables of relative positions are half a normal number each."""
    document = dict(RECORDED.document)
    computed = ("relative_position_index",)
    document["keys"] = [pair for pair in document["keys"] if not pair[0].endswith(computed)]
    document["gains"] = [
        *document["gains"],
        *(
            [rf"layers\.{level}\.blocks\.0\.attn\.relative_position_bias_table", 0.5 * heads**0.5]
            for level, heads in enumerate((32, 16, 8, 4))
        ),
    ]
    return fill(document)


@pytest.fixture(scope="module")
def decoder() -> Any:
    config = Config()
    built = CLAPSepDecoder(config.encoder, 1024, 513, 640, 3, 8, 0.1)
    ours = {renamed(key, Path("it")): value for key, value in recorded_weights().items()}
    load_weights(built, {key.removeprefix("decoder."): value for key, value in ours.items()}, "it")
    return built.eval()


def feature(name: str) -> Tensor:
    rng = np.random.default_rng(zlib.crc32(f"clapsep.{name}".encode()))
    return as_float32(rng.standard_normal(SHAPES[name]))


def error(actual: Tensor, expected: Tensor) -> float:
    difference = actual.double() - expected.double()
    return float(difference.square().mean().sqrt() / expected.double().std())


def test_the_filling_rule_makes_the_recorders_weights_and_features() -> None:
    weights = recorded_weights()
    for key, expected in RECORDED.document["first_values"].items():
        assert weights[key].flatten()[:3].tolist() == expected, key
    for name, expected in zip(SHAPES, RECORDED.values("in.feature_check"), strict=True):
        assert torch.equal(feature(name).flatten()[:8], expected), name


def test_it_has_as_many_parameters_as_the_published_one(decoder: Any) -> None:
    assert sum(weight.numel() for weight in decoder.parameters()) == 43_463_616
    with torch.device("meta"):
        audio_encoder = HTSAT(HTSATConfig())
    tuned = [weight.numel() for weight in audio_encoder.parameters() if weight.requires_grad]
    assert sum(tuned) == 860_160 + 35_840


@torch.inference_mode()
def test_mask_and_waveform_are_the_recorded_ones(decoder: Any) -> None:
    masker = MagnitudeMasks(Config().spectrogram)
    mixture = torch.from_numpy(glide(320000, RATE) + fall(320000, RATE))[None, None]
    spec = masker.spectrum(mixture)
    features = [feature(name) for name in SHAPES]
    seen: list[Tensor] = []
    hook = decoder.skips[-1].register_forward_hook(
        lambda module, inputs, output: seen.append(output)
    )
    embed = RECORDED.values("in.embed")
    mask = decoder(features, rms_magnitude(spec), torch.tensor([0]), embed).sigmoid()
    hook.remove()
    assert error(seen[0].flatten()[::257], RECORDED.values("mid.skip3")) < LIMIT
    actual = mask.transpose(1, 2)[:, None, ::16, ::3]
    assert error(actual, RECORDED.values("out.mask")) < LIMIT
    waveform = masker.waveform(mask[:, None] * spec, 320000)[0, 0]
    assert error(waveform[::35], RECORDED.values("out.waveform")) < LIMIT


def small_audio_encoders() -> tuple[HTSAT, Any]:
    """Ours and transformers' with the same random weights, four stages, maps of 64 to 8."""
    from transformers import ClapAudioConfig
    from transformers.models.clap.modeling_clap import ClapAudioEncoder

    settings = {"width": 8, "depths": [2, 2, 3, 1], "num_heads": [1, 2, 2, 4], "rank": 3}
    ours = HTSAT(from_settings(HTSATConfig, settings))
    theirs = ClapAudioEncoder(
        ClapAudioConfig(
            patch_embeds_hidden_size=8,
            depths=settings["depths"],
            num_attention_heads=settings["num_heads"],
            hidden_size=64,
        )
    ).eval()
    generator = torch.Generator().manual_seed(3)
    state = theirs.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            spread = value[0].numel() ** -0.5 if value.dim() > 1 else 0.1
            state[key] = value.dim() % 2 * ("weight" in key) + spread * noise
            if key.endswith("running_var"):
                state[key] = 0.5 + noise.square()
    theirs.load_state_dict(state)
    return ours, theirs


def as_ours(theirs: Any, ours: HTSAT) -> dict[str, Tensor]:
    """transformers' weights by our names, queries, keys and values joined, changes of rank 3 zero."""
    state, renamed_weights = theirs.state_dict(), {}
    for key, expected in ours.state_dict().items():
        name = key.replace("stages.", "layers.").replace("merging.", "downsample.")
        name = name.replace("norm1.", "layernorm_before.").replace("norm2.", "layernorm_after.")
        name = name.replace("widen.", "intermediate.dense.").replace("narrow.", "output.dense.")
        name = name.replace("attention.proj.", "attention.output.dense.")
        name = name.replace("attention.bias_table", "attention.self.relative_position_bias_table")
        name = name.replace("patches.", "patch_embed.proj.").replace(
            "patch_norm.", "patch_embed.norm."
        )
        name = name.replace("norm.", "batch_norm.") if name.startswith("norm.") else name
        if "lora" in key:
            renamed_weights[key] = torch.zeros_like(expected)
        elif "attention.qkv." in key:
            parts = [name.replace("qkv", f"self.{part}") for part in ("query", "key", "value")]
            renamed_weights[key] = torch.cat([state[part] for part in parts])
        else:
            renamed_weights[key] = state[name]
    return renamed_weights


@torch.no_grad()
def test_the_audio_encoder_is_that_of_transformers_clap() -> None:
    """The map after every stage, shifted windows among them; both get 1024 frames as they are."""
    ours, theirs = small_audio_encoders()
    load_weights(ours, as_ours(theirs, ours), "transformers")
    log_mel = 10 * torch.randn(2, 64, 1024, generator=torch.Generator().manual_seed(5)) - 30
    actual = ours(log_mel)
    embedded = theirs(log_mel.transpose(1, 2)[:, None], is_longer=None, output_hidden_states=True)
    expected = [embedded.hidden_states[stage] for stage in range(len(embedded.hidden_states))]
    assert actual[0].shape == (2, 4096, 8)
    for stage, (mine, other) in enumerate(zip(actual[:4], expected, strict=False)):
        flat = other if other.dim() == 3 else other.flatten(2).transpose(1, 2)
        assert error(mine, flat) < 1e-5, stage
    last = theirs.norm(actual[4])
    assert error(last.mean(dim=1), embedded.pooler_output.flatten(1)) < 1e-5


@torch.no_grad()
def test_the_log_mel_spectrogram_is_that_of_claps_feature_extractor() -> None:
    from transformers import ClapFeatureExtractor

    waveform = glide(96000, 48000) + fall(96000, 48000)
    extractor = ClapFeatureExtractor(
        frequency_min=50, frequency_max=14000, truncation="rand_trunc", padding="pad"
    )
    features = extractor(waveform, sampling_rate=48000, return_tensors="pt")["input_features"]
    audio_encoder = HTSAT(from_settings(HTSATConfig, {"width": 8, "depths": [1], "num_heads": [1]}))
    actual = audio_encoder.log_mel(torch.from_numpy(waveform)[None, None])[0].T
    # The last frames see padding there and a mirrored end here. 1e-3 dB: rounding of the float32 transform.
    torch.testing.assert_close(actual[:199], features[0, 0, :199].float(), atol=1e-3, rtol=0)
    assert math.isclose(actual.shape[0], 201)


@torch.no_grad()
def test_a_low_rank_change_is_a_sixteenth_of_the_product() -> None:
    """At the published rank: W + B A / 16."""
    from qsep.separation.networks.clapsep.lora import LoraLinear

    layer = LoraLinear(5, 7, 16)
    generator = torch.Generator().manual_seed(1)
    for weight in layer.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator))
    features = torch.randn(3, 5, generator=generator)
    whole = layer.weight + layer.lora_B @ layer.lora_A / 16
    torch.testing.assert_close(
        layer(features), features @ whole.T + layer.bias, atol=1e-5, rtol=1e-5
    )
