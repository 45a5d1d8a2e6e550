"""The CLIPSep family computes what the authors' code computes, from the same state dict.

Recorded values and key lists: tests/parity (see take_clipsep.py and filling.py there).
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.filling import fall, fill, filled, glide
from parity.recorded import Recorded
from torch import Tensor

from qsep.queries.files.weights import Unfilled, load_weights
from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.separation.components import build_separator
from qsep.separation.interface import MixtureBatch
from qsep.separation.networks.masks.log_frequency import repeat_to
from qsep.separation.published.converters.clipsep import convert, published_modules
from qsep.separation.signal.stft import hann_istft
from qsep.separation.signal.warp import unwarp

RECORDED = Recorded("clipsep")
RATE = 16000
LIMIT = 1e-5  # rms of the difference over the standard deviation; the recording's own noise is 2e-6
ARGUMENTS: dict[str, dict[str, Any]] = {
    "clipsep": {"image_model": "clip"},
    "clipsep_nit": {"image_model": "clipsepnit"},
    "clipsep_early": {"image_model": "clip", "fusion": "early"},
    "clipsep_middle": {"image_model": "clip", "fusion": "middle"},
    "labelsep": {"image_model": "label_only", "n_labels": 310, "label_map_filename": "/x/map.json"},
    "pitsep": {"image_model": "pit"},
}


@pytest.fixture(scope="module", autouse=True)
def weights_are_forgotten_afterwards() -> Iterator[None]:
    yield
    filled.cache_clear()
    separator.cache_clear()


@cache
def folder_of_args(system: str, folder: Path) -> Path:
    (folder / "train-args.json").write_text(json.dumps(ARGUMENTS[system]))
    (folder / "map.json").write_text(json.dumps({f"label {row}": row for row in range(310)}))
    return folder / "best_model.pt"


@cache
def separator(system: str, tmp: Path) -> Any:
    """With the filled weights, converted from the published keys; evaluation mode."""
    converted = convert(fill(RECORDED.document[system]), folder_of_args(system, tmp))
    with Unfilled():
        network = build_separator(converted.kind, converted.settings)
    load_weights(network, converted.weights, system)
    return network.eval()


@pytest.fixture(name="built", scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folders = {system: tmp_path_factory.mktemp(system) for system in ARGUMENTS}
    return lambda system: separator(system, folders[system])


def error(actual: Tensor, expected: Tensor) -> float:
    difference = actual.double() - expected.double()
    return float(difference.square().mean().sqrt() / expected.double().std())


def waveform(num_samples: int) -> Tensor:
    """(1, 1, t), the mixture of the waveform cases."""
    mixture = glide(num_samples, RATE) + fall(num_samples, RATE)
    return torch.from_numpy(mixture / 2)[None, None]


def batch() -> MixtureBatch:
    """The batch of the loss cases: two mixtures of two sources, 128 frames."""
    first, second = glide(32640, RATE), fall(32640, RATE)
    sources = np.stack([[first / 2, second / 2], [0.4 * np.roll(second, 1000), 0.65 * first]])
    waveforms = torch.from_numpy(sources.astype(np.float32))[:, :, None]
    query = TextQuery("anything")
    return MixtureBatch(waveforms.sum(dim=1), waveforms, [[query] * 2] * 2, RATE, ["0", "1"])


def queries(system: str) -> QueryEmbedding:
    if system == "labelsep":
        rows = torch.tensor([[5, 301], [17, 5]])
        return QueryEmbedding(torch.nn.functional.one_hot(rows, 310).float())
    pooled = torch.stack(
        [RECORDED.values(f"clipsep/loss/in.query{source}") for source in (0, 1)], dim=1
    )
    if system != "clipsep_early":
        return QueryEmbedding(pooled)
    frames = [RECORDED.values(f"clipsep_early/mask/in.query{source}") for source in (0, 1)]
    return QueryEmbedding(pooled, torch.stack(frames, dim=1))


def query(system: str = "clipsep") -> QueryEmbedding:
    return QueryEmbedding(RECORDED.values(f"{system}/mask/in.query")[:, None])


def loss(model: Any, system: str) -> Tensor:
    total: Tensor = model.loss(batch(), queries(system), torch.Generator()).total
    return total


def log_magnitude(model: Any, mixture: Tensor) -> Tensor:
    front = model.spectrogram
    return (front.rows(front.spectrum(mixture)) + 1e-10).log()


def test_the_filling_rule_makes_the_recorders_weights() -> None:
    for system, document in RECORDED.document.items():
        first = document["first_values"]
        keys = [pair for pair in document["keys"] if pair[0] in first]
        weights = fill(document | {"keys": keys})
        for key, expected in first.items():
            assert weights[key].flatten()[:3].tolist() == expected, (system, key)


@pytest.mark.parametrize("system", ARGUMENTS)
def test_every_published_weight_is_used_exactly_once(system: str, built: Any) -> None:
    separator, document = built(system), RECORDED.document[system]
    published = {key.removeprefix("module."): shape for key, shape in document["keys"]}
    modules = published_modules(
        {"labelsep": "clipsep", "pitsep": "pitsep", "clipsep_nit": "clipsep_nit"}.get(
            system, "clipsep"
        ),
        ARGUMENTS[system].get("fusion", "late"),
        7,
    )
    used = [key for key in published if modules[key.rpartition(".")[0]] is not None]
    assert len(used) == len(separator.state_dict())
    unused = {key.rpartition(".")[0].rpartition(".")[2] for key in published.keys() - set(used)}
    assert unused == ({"downnorm", "synth_net"} if system == "clipsep_middle" else set())


@pytest.mark.parametrize(
    ("system", "num_parameters"),
    [
        ("clipsep", 30_290_659),
        ("clipsep_nit", 30_292_771),
        ("clipsep_early", 30_287_715),
        ("labelsep", 30_449_379),
        ("pitsep", 30_274_276),
    ],
)
def test_it_has_as_many_parameters_as_the_published_one(
    system: str, num_parameters: int, built: Any
) -> None:
    assert sum(weight.numel() for weight in built(system).parameters()) == num_parameters


@torch.inference_mode()
def test_clipsep_gives_the_recorded_masks(built: Any) -> None:
    separator = built("clipsep")
    log_mag = log_magnitude(separator, waveform(65535))
    logits = separator.logits(log_mag, query())
    linear = unwarp(logits.sigmoid(), 513)
    for name, array in (
        ("log_magnitude_warped", log_mag[:, None]),
        ("logits", logits),
        ("mask_warped", logits.sigmoid()),
        ("mask_linear", linear),
    ):
        assert error(array[..., ::7, ::5], RECORDED.values(f"clipsep/mask/out.{name}")) < LIMIT, (
            name
        )


@torch.inference_mode()
def test_clipsep_nit_gives_the_recorded_query_and_noise_masks(built: Any) -> None:
    separator = built("clipsep_nit")
    features = separator.unet(log_magnitude(separator, waveform(65535))[:, None])
    projected = separator.project(query().pooled)
    logits = separator.masks(features, projected.sigmoid())
    noise = separator.noise_logits(features, projected[:, 0])
    linear = unwarp(logits.sigmoid(), 513)
    for name, array in (
        ("logits", logits),
        ("noise_logits0", noise[:, :1]),
        ("noise_logits1", noise[:, 1:]),
        ("mask_linear", linear),
    ):
        assert (
            error(array[..., ::7, ::5], RECORDED.values(f"clipsep_nit/mask/out.{name}")) < LIMIT
        ), name
    activity = noise.sigmoid().sum(dim=1).mean()
    expected = RECORDED.values("clipsep_nit/mask/out.mean_noise_activation")
    assert activity == pytest.approx(float(expected), rel=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("system", ["clipsep_early", "clipsep_middle", "labelsep", "pitsep"])
def test_the_comparisons_give_the_recorded_masks_and_loss(
    system: str, built: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    separator, seen = built(system), []
    compute = separator.logits

    def logits(*arguments: Any) -> Tensor:
        seen.append(compute(*arguments))
        return seen[-1]

    monkeypatch.setattr(separator, "logits", logits)
    expected = float(RECORDED.values(f"{system}/mask/out.loss_eval"))
    assert loss(separator, system).mean() == pytest.approx(expected, rel=1e-5)
    masks = seen[0].sigmoid()
    assert error(masks[:, :1, ::7, ::5], RECORDED.values(f"{system}/mask/out.mask0")) < LIMIT
    thinned = masks[:, 1:, ::3, ::3][..., ::3, ::2]
    assert error(thinned, RECORDED.values(f"{system}/mask/out.mask1")) < LIMIT


@torch.inference_mode()
def test_separating_four_seconds_gives_the_recorded_waveform(built: Any) -> None:
    separator = built("clipsep")
    target = separator.separate(waveform(65535), query()).target[0, 0, 0, :65280]
    assert error(target[::7], RECORDED.values("clipsep/waveform/out.wave_soft")) < LIMIT


@torch.inference_mode()
def test_hard_masks_give_the_recorded_waveform(built: Any) -> None:
    separator = built("clipsep")
    soft = separator.spectrogram.config
    try:
        separator.spectrogram.config = replace(soft, hard_mask=True)
        target = separator.separate(waveform(65535), query()).target[0, 0, 0, :65280]
    finally:
        separator.spectrogram.config = soft
    # 50 dB: a bin at the threshold may fall to the other side
    assert error(target[::7], RECORDED.values("clipsep/waveform/out.wave_hard")) < 10 ** (-50 / 20)


@torch.inference_mode()
def test_the_network_in_one_pass_over_512_frames_gives_the_recorded_waveform(built: Any) -> None:
    """As the authors' demo runs; `separate` cuts such lengths into segments instead."""
    separator = built("clipsep")
    mixture = repeat_to(waveform(70000), 131070)
    mask = unwarp(separator.logits(log_magnitude(separator, mixture), query()).sigmoid(), 513)
    target = hann_istft(mask * separator.spectrogram.spectrum(mixture)[:, 0], 1024, 256, 70000)
    assert error(target[0, 0, ::7], RECORDED.values("clipsep/waveform_long/out.wave_soft")) < LIMIT


@torch.no_grad()
def test_the_loss_of_clipsep_is_the_recorded_one(built: Any) -> None:
    expected = float(RECORDED.values("clipsep/loss/out.loss_eval"))
    assert loss(built("clipsep"), "clipsep").mean() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_the_noise_invariant_loss_is_the_recorded_one_item_by_item(built: Any) -> None:
    separator = built("clipsep_nit")
    first, second = (RECORDED.values(f"clipsep_nit/loss/out.loss_{pairing}") for pairing in "ab")
    assert bool(first[0] > second[0])
    assert bool(first[1] < second[1])
    output = separator.loss(batch(), queries("clipsep_nit"), torch.Generator())
    # 1e-3: a bin where the masks' sum rounds to 1 over a zero target costs 100, else 16
    united = torch.minimum(first, second)
    torch.testing.assert_close(output.terms["united_bce"], united, rtol=1e-3, atol=0)
    expected = float(RECORDED.values("clipsep_nit/loss/out.loss_eval"))
    assert output.total.mean() == pytest.approx(expected, rel=1e-3)
    activity = float(RECORDED.values("clipsep_nit/loss/out.mean_noise_act"))
    assert output.terms["noise_activity"].mean() == pytest.approx(activity, rel=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ("settings", "name", "tolerance"),
    [
        ({"margin_weight": 0.5, "margin": 0.1}, "loss_eval_with_reg1_coef0.5_eps0.1", 1e-5),
        ({"warmup_steps": 100}, "loss_eval_warmup", 1e-5),
    ],
)
def test_the_options_of_the_noise_invariant_loss_give_the_recorded_ones(
    settings: dict[str, Any], name: str, tolerance: float, built: Any
) -> None:
    separator = built("clipsep_nit")
    plain = separator.config
    try:
        separator.config = replace(plain, noise=replace(plain.noise, **settings))
        total = loss(separator, "clipsep_nit").mean()
    finally:
        separator.config = plain
    assert total == pytest.approx(
        float(RECORDED.values(f"clipsep_nit/loss/out.{name}")), rel=tolerance
    )


PUBLISHED_NAMES = {
    "frame_net.weight": "project.weight",
    "synth_net.scale": "masks.scale",
    "synth_net.bias": "masks.bias",
    "sound_net.bn0.weight": "unet.norm.weight",
    "sound_net.unet_block.model.0.weight": "unet.downs.0.0.weight",
    "sound_net.unet_block.model.4.weight": "unet.ups.0.1.weight",
    "pit_nets.0.weight": "noise_heads.0.weight",
    "pit_nets.1.weight": "noise_heads.1.weight",
}


@pytest.mark.parametrize("system", ["clipsep", "clipsep_nit"])
def test_a_training_step_has_the_recorded_loss_gradients_and_batch_statistics(
    system: str, built: Any
) -> None:
    separator = built(system)
    before = {key: value.clone() for key, value in separator.state_dict().items()}
    separator.train()
    try:
        total = loss(separator, system).mean()
        total.backward()
        after = {key: value.clone() for key, value in separator.state_dict().items()}
    finally:
        separator.load_state_dict(before)
        separator.eval()
    expected = float(RECORDED.values(f"{system}/loss/out.loss_train"))
    assert total.item() == pytest.approx(expected, rel=1e-5)
    network = "network." if system == "clipsep" else ""
    gradients = {name: weight.grad for name, weight in separator.named_parameters()}
    separator.zero_grad()
    prefix = f"{system}/loss/out.grad_norm."
    compared = [key for key in RECORDED.arrays.files if key.startswith(prefix)]
    assert len(compared) >= 5
    for key in compared:
        gradient = gradients[network + PUBLISHED_NAMES[key.removeprefix(prefix)]]
        assert gradient is not None
        # 5e-3: with noise masks, the slope of bins where the sum rounds to 1 is rounding, 1e7 times
        rel = 1e-3 if system == "clipsep" else 5e-3
        assert gradient.norm().item() == pytest.approx(float(RECORDED.values(key)), rel=rel), key
    for statistic in ("mean", "var"):
        statistics = RECORDED.values(f"{system}/loss/out.train_bn0_running_{statistic}")
        torch.testing.assert_close(after[f"{network}unet.norm.running_{statistic}"], statistics)
