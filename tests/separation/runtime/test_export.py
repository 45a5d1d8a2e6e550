"""Exported graphs give PyTorch's results, in a process without PyTorch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import noise, rng, tiny_separator
from tiny_settings import RATE
from torch import Tensor, nn
from without_torch import run_without_torch

from qsep.queries.encoders import minilm
from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.queries.networks.bert import load_bert
from qsep.queries.networks.bert_arrays import BertArrays
from qsep.separation.export.graph import trace, write_whole, write_without_weights
from qsep.separation.export.portable import Portable
from qsep.separation.export.separator import separator_graph
from qsep.separation.light.graph_separator import METADATA, GraphSeparator, settings_digest
from qsep.separation.signal.spectra import squared_magnitude
from qsep.separation.signal.stft import istft, stft

RUN = """
import sys
import numpy as np
import onnxruntime

graph, arrays, results = sys.argv[1:]
session = onnxruntime.InferenceSession(graph)
given = np.load(arrays)
cases = sorted({name.partition("/")[0] for name in given})
found = {}
for case in cases:
    names = {name.partition("/")[2]: name for name in given if name.startswith(case + "/")}
    outputs = session.run(None, {key: given[name] for key, name in names.items()})
    for output, values in zip(session.get_outputs(), outputs):
        found[f"{case}/{output.name}"] = values
np.savez(results, **found)
assert "torch" not in sys.modules
"""


def computed(graph: Path, cases: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What a graph gives for each case, by "case/output", without PyTorch."""
    folder = graph.parent
    flat = {
        f"{case}/{name}": value for case, inputs in cases.items() for name, value in inputs.items()
    }
    np.savez(folder / "given.npz", allow_pickle=False, **flat)
    code, _, errors = run_without_torch(
        RUN, graph, folder / "given.npz", folder / "found.npz", folder=folder
    )
    assert code == 0, errors
    return dict(np.load(folder / "found.npz"))


@pytest.mark.parametrize(("window", "hop"), [(64, 32), (60, 20), (64, 16)])
@pytest.mark.parametrize("num_samples", [1, 31, 257])
def test_spectra_by_matrices_are_those_of_torch(window: int, hop: int, num_samples: int) -> None:
    waveform = noise(2, 3, num_samples, seed=1)
    expected = stft(waveform, window, hop)
    with Portable():
        spec = stft(waveform, window, hop)
        power = squared_magnitude(spec)
        again = istft(torch.full(expected.shape, 0.25) * spec, window, hop, num_samples)
    # 1e-5: float32 sums of 64 terms of about 1
    torch.testing.assert_close(torch.complex(spec.real, spec.imag), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(power, squared_magnitude(expected), atol=1e-4, rtol=0)
    torch.testing.assert_close(again, waveform / 4, atol=1e-6, rtol=0)


def test_sigmoid_keeps_its_digits_where_it_is_small() -> None:
    values = torch.tensor([-200.0, -40.0, -15.0, 0.0, 15.0, 200.0])
    with Portable():
        actual = values.sigmoid()
    torch.testing.assert_close(actual, values.sigmoid(), rtol=1e-6, atol=0)


class Scaled(nn.Module):
    """A network small enough to trace in a second."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.BatchNorm1d(3)
        assert norm.running_mean is not None
        norm.running_mean.normal_(generator=rng(3))
        self.conv = nn.Sequential(nn.Conv1d(1, 3, 5, padding=2), norm)

    def forward(self, waveform: Tensor) -> Tensor:
        scaled: Tensor = self.conv(waveform).sum(dim=1).sigmoid()
        return scaled


class Shell(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor) -> Tensor:
        with Portable():
            output: Tensor = self.network(waveform)
        return output


def test_weights_keep_their_names_and_are_stored_as_they_are_or_in_half(tmp_path: Path) -> None:
    network = Scaled().eval()
    network.conv[0].weight.data = network.conv[0].weight.half().float()  # loses nothing in 16 bits
    graph = trace(
        Shell(network), {"waveform": torch.zeros(2, 1, 9)}, ["made"], {"waveform": (0, 2)}, {"a": 1}
    )
    names = [name for name in network.state_dict() if "num_batches" not in name]
    assert list(graph.weights) == names
    write_whole(graph, tmp_path / "whole.onnx")
    import onnx

    stored = {item.name: item for item in onnx.load(tmp_path / "whole.onnx").graph.initializer}
    assert stored["conv.0.weight.half"].data_type == onnx.TensorProto.FLOAT16
    assert stored["conv.0.bias"].data_type == onnx.TensorProto.FLOAT
    waveform = noise(3, 1, 23, seed=2)
    with torch.inference_mode():
        expected = network(waveform)
    actual = computed(tmp_path / "whole.onnx", {"a": {"waveform": waveform.numpy()}})
    np.testing.assert_allclose(actual["a/made"], expected, atol=1e-6)
    write_without_weights(graph, tmp_path / "bare.onnx", "weights.safetensors")
    bare = onnx.load(tmp_path / "bare.onnx", load_external_data=False)
    assert {item.name for item in bare.graph.initializer if item.external_data} == set(names)


@pytest.mark.slow
@pytest.mark.nightly  # the export alone takes half a minute
def test_exported_separators_match_torch_at_any_size(tmp_path: Path) -> None:
    separator = tiny_separator("class_unet:shifted")
    write_whole(separator_graph(separator), tmp_path / "model.onnx")
    sizes = {
        "stereo": (2, 3001, 3),
        "mono": (1, 640, 1),
        "one sample": (3, 1, 2),
        "long": (1, 20011, 5),
    }
    cases, expected = {}, {}
    for case, (num_channels, num_samples, num_queries) in sizes.items():
        waveform = noise(1, num_channels, num_samples, seed=num_samples)
        queries = torch.rand(num_queries, separator.query_dim, generator=rng(num_queries))
        queries[0] = torch.eye(separator.query_dim)[1]
        cases[case] = {"waveform": waveform.numpy(), "queries": queries.numpy()}
        with torch.inference_mode():
            expected[case] = separator.separate(waveform, QueryEmbedding(queries[None]))
    actual = computed(tmp_path / "model.onnx", cases)
    for case, (num_channels, num_samples, num_queries) in sizes.items():
        target, residual = actual[f"{case}/target"], actual[f"{case}/residual"]
        assert target.shape == (num_queries, num_channels, num_samples)
        np.testing.assert_allclose(target, expected[case].target[0], atol=1e-5)
        np.testing.assert_allclose(residual, expected[case].residual[0], atol=1e-5)
        assert np.abs(target).max() > 0.01  # the target is not the mixture


@pytest.mark.parametrize("kind", ["flow_unet", "audiovisual", "convtasnet:unqueried"])
def test_separators_that_are_not_one_graph_are_refused(kind: str) -> None:
    if kind == "convtasnet:unqueried":
        separator: Any = tiny_separator("class_unet")
        separator.query_dim = 0
    else:
        separator = tiny_separator(kind)
    with pytest.raises(ValueError, match="cannot be exported"):
        separator_graph(separator)


def texts() -> list[str]:
    return ["a", "a dog barking in the distance", "Rain, on a tin-roof! " * 9]


def test_sentences_by_arrays_are_those_of_torch() -> None:
    folder = minilm.build(minilm.Config()).folder()
    bert, arrays = load_bert(folder), BertArrays(folder)
    for ids in ([101, 102], [101, 1037, 3899, 19372, 102], list(range(1000, 1300, 7))):
        with torch.inference_mode():
            expected = bert(torch.tensor([ids]))[0].numpy()
        np.testing.assert_allclose(arrays(ids), expected, atol=1e-5)


@pytest.mark.slow
def test_the_exported_sentence_encoder_matches_torch(tmp_path: Path) -> None:
    from qsep.separation.export.sentences import sentence_graph

    encoder = minilm.build(minilm.Config())
    write_whole(sentence_graph(encoder), tmp_path / "sentences.onnx")
    tokenizer, _ = encoder.network
    cases = {
        str(number): {"token_ids": np.array([tokenizer(text)])}
        for number, text in enumerate(texts())
    }
    actual = computed(tmp_path / "sentences.onnx", cases)
    for number, text in enumerate(texts()):
        expected = encoder.encode([TextQuery(text)]).pooled
        np.testing.assert_allclose(actual[f"{number}/vector"], expected, atol=1e-5)


@pytest.mark.slow
def test_the_default_models_graph_fits_its_weights_and_matches_torch() -> None:
    from qsep.separation import DEFAULT_MODEL
    from qsep.separation.storage.checkpoint import load_checkpoint
    from qsep.separation.storage.shipped import shipped_folder

    folder = shipped_folder(DEFAULT_MODEL)
    description = json.loads((folder / "config.json").read_text("utf-8"))["separator"]
    light = GraphSeparator(folder, description)
    separator, encoder, _ = load_checkpoint(folder)
    assert light.classes == (*separator.classes, "other")
    waveform = 0.2 * noise(1, 2, separator.sample_rate + 123, seed=4)
    queries = torch.eye(encoder.dim)[[3, 77]]
    queries = torch.cat([queries, 1 - queries[:1]])
    with torch.inference_mode():
        expected = separator.separate(waveform, QueryEmbedding(queries[None])).target[0]
    separated = light.separate(waveform[0].numpy(), queries.numpy())
    np.testing.assert_allclose(separated, expected, atol=1e-5)
    assert settings_digest(description) != settings_digest({**description, "kind": "another"})
    about = json.loads(light.session.get_modelmeta().custom_metadata_map[METADATA])
    assert about["sample_rate"] == separator.sample_rate
    assert RATE != about["sample_rate"]
