"""ResUNet30, Cnn14 and its detector of sound events compute what the authors' code computes, from the
same state dict.

Recorded values and key lists: tests/parity (take_resunet30.py, take_sound_events.py, filling.py).
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.filling import fall, fill, filled, glide
from parity.recorded import Recorded
from torch import Tensor

from qsep.queries.files.weights import Unfilled, load_weights
from qsep.queries.interface import QueryEmbedding
from qsep.queries.networks.cnn14 import Cnn14
from qsep.queries.networks.cnn14_events import framewise
from qsep.separation.components import build_separator
from qsep.separation.published.converters.resunet30 import convert, published_modules

RECORDED = Recorded("resunet30")
RATES = {"audiosep": 32000, "dcase": 16000, "uss": 32000}
LIMIT = 5e-6  # rms of the difference over the standard deviation; the recording's own noise is 9e-7
COMPUTED = ("stft.conv_", "ola_window", "logmel_extractor.melW")  # of which no values were recorded


@pytest.fixture(scope="module", autouse=True)
def weights_are_forgotten_afterwards() -> Iterator[None]:
    yield
    filled.cache_clear()
    separator.cache_clear()


def weights_of(system: str) -> dict[str, Tensor]:
    document = RECORDED.document[system]
    keys = [key for key in document["keys"] if not any(part in key[0] for part in COMPUTED)]
    return fill(document | {"keys": keys})


@cache
def separator(system: str, tmp: Path) -> Any:
    """With the filled weights, converted from the published keys; evaluation mode."""
    for name in ("music_speech_audioset_epoch_15_esc_89.98.pt", "Cnn14_mAP=0.431.pth"):
        (tmp / name).touch()
    converted = convert(weights_of(system), tmp / "released.ckpt")
    with Unfilled():
        network = build_separator(converted.kind, converted.settings)
    load_weights(network, converted.weights, system)
    return network.eval()


def error(actual: Tensor, expected: Tensor) -> float:
    difference = actual.double() - expected.double()
    return float(difference.square().mean().sqrt() / expected.double().std())


def mixture(system: str) -> Tensor:
    """(1, 1, t): two seconds."""
    rate = RATES[system]
    return torch.from_numpy(glide(2 * rate, rate) + fall(2 * rate, rate))[None, None]


@pytest.mark.parametrize("system", [*RATES, "panns_cnn14"])
def test_the_filling_rule_makes_the_recorders_weights(system: str) -> None:
    document = RECORDED.document[system]
    first = document["first_values"]
    weights = fill(document | {"keys": [key for key in document["keys"] if key[0] in first]})
    for key, expected in first.items():
        assert weights[key].flatten()[:3].tolist() == expected, key


@torch.inference_mode()
@pytest.mark.parametrize("system", RATES)
def test_it_gives_the_recorded_waveform(system: str, tmp_path_factory: Any) -> None:
    network = separator(system, tmp_path_factory.mktemp(system))
    assert network.sample_rate == RATES[system]
    query = QueryEmbedding(RECORDED.values(f"{system}/in.condition")[:, None])
    target = network.separate(mixture(system), query).target[0, 0, 0]
    assert error(target[::7], RECORDED.values(f"{system}/out.waveform")) < LIMIT


@pytest.mark.parametrize("system", RATES)
def test_every_published_weight_is_used_once_or_listed_as_unused(system: str) -> None:
    document = RECORDED.document[system]
    published = [key.removeprefix("ss_model.") for key, _ in document["keys"]]
    modules = published_modules()
    assert {key.rpartition(".")[0] for key in published} <= modules.keys()
    unused = [key for key in published if modules[key.rpartition(".")[0]] is None]
    # six decoders: five entries of bn2, two of beta2; five weights of transforms
    assert len(published) == 332
    assert len(unused) == 6 * 7 + 5
    used = {modules[key.rpartition(".")[0]] for key in published} - {None}
    assert len(used) == len(
        {key.rpartition(".")[0] for key in published} - {key.rpartition(".")[0] for key in unused}
    )


@pytest.mark.parametrize(
    ("system", "num_trainable"),
    [("audiosep", 26_447_941), ("dcase", 26_446_917), ("uss", 26_595_781)],
)
def test_it_has_as_many_parameters_as_the_published_one_without_its_unused_ones(
    system: str, num_trainable: int
) -> None:
    query_dim = 527 if system == "uss" else 512
    settings: dict[str, Any] = {"query_dim": query_dim}
    if system == "dcase":
        settings |= {"sample_rate": 16000, "window_samples": 1024, "hop_samples": 160}
    with torch.device("meta"):
        separator = build_separator("resunet30", settings)
    inputs = (384, 384, 384, 256, 128, 64)  # of the decoders
    unused = sum(2 * width + (query_dim + 1) * width for width in inputs)
    assert sum(weight.numel() for weight in separator.parameters()) == num_trainable - unused


@pytest.fixture(name="tagger", scope="module")
def filled_tagger() -> Cnn14:
    with Unfilled():
        tagger = Cnn14()
    load_weights(tagger, weights_of("panns_cnn14"), "panns_cnn14")
    return tagger.eval()


@torch.inference_mode()
def test_the_tagger_gives_the_recorded_embedding_and_probabilities(tagger: Cnn14) -> None:
    embedding, probabilities = tagger(mixture("audiosep")[0])
    assert error(embedding, RECORDED.values("panns_cnn14/out.embedding")) < LIMIT
    assert error(probabilities, RECORDED.values("panns_cnn14/out.clipwise_output")) < LIMIT


@torch.inference_mode()
def test_the_detector_gives_the_recorded_probabilities_of_frames_and_of_the_clip(
    tagger: Cnn14,
) -> None:
    waveform = torch.from_numpy(glide(137_600, 32000) + fall(137_600, 32000))[None]
    actual = framewise(tagger, waveform)
    assert actual.shape == (1, 431, 527)
    expected = Recorded("sound_events")
    assert error(actual[0, ::23, ::8], expected.values("framewise")) < LIMIT
    assert error(actual[0].amax(dim=0), expected.values("clipwise")) < LIMIT
