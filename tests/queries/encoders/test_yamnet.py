"""YAMNet in PyTorch against the graph that carries its weights, run in floats by ONNX Runtime."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import noise

from qsep.queries.audioset import class_nodes
from qsep.queries.encoders.yamnet import Config, YamnetEncoder, build
from qsep.queries.interface import AudioQuery
from qsep.queries.networks import yamnet
from qsep.queries.networks.yamnet import GRAPH, INSTALL, Yamnet, load_yamnet, mel_weights
from qsep.separation.detection.nodes import load_tagger
from qsep.separation.detection.tagged_sounds import detect_tagged

RATE = 16000

onnx = pytest.importorskip("onnx")


@pytest.fixture(name="network", scope="module")
def published() -> Yamnet:
    try:
        return load_yamnet()
    except ValueError as error:
        pytest.skip(str(error))


def in_floats(folder: Path) -> Any:
    """The graph as a session of ONNX Runtime, with its steps to integers and back taken out."""
    import onnxruntime

    with zipfile.ZipFile(yamnet.package_file(GRAPH)) as archive:
        archive.extractall(folder)
    (path,) = folder.glob("*/model.onnx")
    model = onnx.load(path)
    steps = ("QuantizeLinear", "DequantizeLinear")
    source = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type in steps}

    def origin(name: str) -> str:
        return origin(source[name]) if name in source else name

    layers = [node for node in model.graph.node if node.op_type not in steps]
    for node in layers:
        names = [origin(name) for name in node.input]
        del node.input[:]
        node.input.extend(names)
    logits = layers[-1].output[0]
    of_floats = onnx.helper.make_graph(
        layers,
        "yamnet",
        [onnx.helper.make_tensor_value_info("audio", onnx.TensorProto.FLOAT, [1, 1, 96, 64])],
        [onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, [1, 521])],
        model.graph.initializer,
    )
    changed = onnx.helper.make_model(
        of_floats, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    return onnxruntime.InferenceSession(changed.SerializeToString())


@torch.inference_mode()
def test_logits_are_those_of_the_graph(network: Yamnet, tmp_path: Path) -> None:
    session = in_floats(tmp_path)
    patch = network.log_mel(noise(1, 15600, seed=2) * 0.1)
    assert patch.shape == (1, 96, 64)
    (expected,) = session.run(None, {"audio": patch[None].numpy()})
    actual = network.classifier(network.hidden(patch).mean(dim=(2, 3)))
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-4)


def test_mel_bands_are_triangles_between_points_equally_far_apart_in_mel() -> None:
    weights = mel_weights()
    assert weights.shape == (257, 64)

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)  # O'Shaughnessy 1987

    step = (mel(7500) - mel(125)) / 65
    for number, band in ((0, 0), (32, 20), (240, 63), (100, 37)):
        centre = mel(125) + (band + 1) * step
        expected = max(0.0, 1 - abs(mel(number * 31.25) - centre) / step)
        assert weights[number, band].item() == pytest.approx(expected, abs=2e-4)


@torch.inference_mode()
def test_a_frame_is_the_magnitude_of_a_periodic_hann_window_of_400_samples_in_512_points() -> None:
    waveform = noise(1, 400 + 2 * 160, seed=5)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = [waveform[0, start : start + 400].numpy() * window for start in (0, 160, 320)]
    magnitudes = np.abs(np.fft.rfft(np.array(frames), 512))
    expected = np.log(magnitudes @ mel_weights().numpy() + 0.001)
    np.testing.assert_allclose(Yamnet().log_mel(waveform)[0].numpy(), expected, atol=1e-4)


@torch.inference_mode()
def test_patches_cover_every_sample_and_begin_every_48_frames(network: Yamnet) -> None:
    for num_samples, num_patches in ((1, 1), (15600, 1), (15601, 2), (15600 + 7680, 2), (40000, 5)):
        assert network.embeddings(torch.zeros(1, num_samples)).shape == (1, num_patches, 1024)
    waveform = noise(2, 31000, seed=7)
    each = [network.embeddings(part) for part in waveform[:, 7680 : 7680 + 15600].split(1)]
    torch.testing.assert_close(
        network.embeddings(waveform)[:, 1:2], torch.cat(each), atol=1e-4, rtol=1e-4
    )


@torch.inference_mode()
def test_an_example_is_the_mean_of_its_patches_and_examples_have_equal_weights(
    network: Yamnet,
) -> None:
    short, long = noise(20000, seed=1).numpy(), noise(52000, seed=2).numpy()
    encoder: YamnetEncoder = build(Config())
    pooled = encoder.encode([AudioQuery(short, long, sample_rate=RATE)]).pooled[0]
    means = [network.embeddings(torch.from_numpy(x)[None])[0].mean(dim=0) for x in (short, long)]
    torch.testing.assert_close(pooled, (means[0] + means[1]) / 2, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_as_a_tagger_it_has_audiosets_order_and_lacks_six_classes(network: Yamnet) -> None:
    waveform = noise(1, 2 * RATE, seed=3) * 0.1
    tagged = network.tagged(waveform)[0]
    assert tagged.shape == (527,)
    assert (tagged == 0).sum() == 6
    scores = network.classifier(network.embeddings(waveform)).sigmoid().mean(dim=1)[0]
    names = {node.name: number for number, node in enumerate(class_nodes())}
    # The positions of these in YAMNet's own list of classes.
    for position, name in ((0, "Speech"), (69, "Dog"), (132, "Music"), (494, "Silence")):
        assert tagged[names[name]] == scores[position]


def test_auto_tags_with_it_every_two_seconds(network: Yamnet) -> None:
    tagger = load_tagger(Path("yamnet"))
    stereo = noise(2, 5 * 8000, seed=4).numpy() * 0.1
    activity = detect_tagged(tagger, [stereo], 8000, 0.2)
    assert activity.probabilities.shape == (527, 3)
    assert activity.seconds == 5
    names = {
        sound.name
        for sound, row in zip(activity.sounds, activity.probabilities, strict=True)
        if row.max() > 0.1
    }
    assert names & {"Noise", "White noise", "Static", "Waterfall", "Pink noise"}


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamnet, "PACKAGE", "no-such-package")
    with pytest.raises(ValueError, match="YAMNet's weights come in a package") as caught:
        build(Config())
    assert str(caught.value) == INSTALL
