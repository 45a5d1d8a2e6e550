"""A separator gives the same output in every runtime."""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command import Run, record
from graph_runtimes import GRAPH_RUNTIMES
from tiny import mixture_batch, noise, rng, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM
from torch import Tensor, nn

from qsep.queries.encoders import minilm
from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.separation.api import load
from qsep.separation.inference.chunks import geometry, separate_chunks
from qsep.separation.networks.blocks.diffusion_residual import Upsample
from qsep.separation.runtime import onnx_graphs
from qsep.separation.runtime.accelerate import (
    RUNTIMES,
    TorchRunner,
    accelerate,
    networks_of,
    openvino_has_bfloat16,
)
from qsep.separation.runtime.onnx_graphs import GraphRunner
from qsep.separation.storage.checkpoint import describe, save_checkpoint

KINDS = ["band_unet", "clipsep", "clipsep:middle", "convtasnet", "resunet30", "flowsep"]
# Traced in seconds each, and the four networks of FlowSep in a minute.
MARKS = {
    kind: [pytest.mark.slow, *([pytest.mark.nightly] if kind == "flowsep" else [])]
    for kind in KINDS[2:]
}
AS_GRAPHS = [
    pytest.param(*name.values, kind, marks=[*name.marks, *MARKS.get(kind, [])])
    for name in GRAPH_RUNTIMES
    for kind in KINDS
]


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Graphs are made once for all tests, but for those that look into the cache."""
    monkeypatch.setenv("QSEP_CACHE", str(shared_cache))
    return shared_cache


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(autouse=True)
def each_graph_is_traced_once(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of networks that were exported before, in whatever test, are copies: tracing takes seconds."""
    export = onnx_graphs.export

    def remembered(
        network: nn.Module, inputs: Sequence[Tensor], varying: tuple[int, ...], path: Path
    ) -> None:
        sizes = [
            [0 if axis in varying else size for axis, size in enumerate(tensor.shape)]
            for tensor in inputs
        ]
        content = f"{network} {sizes} {onnx_graphs.weights_digest(network)}"
        known = exported / hashlib.sha256(content.encode()).hexdigest()[:16]
        if not known.is_dir():
            known.mkdir()
            export(network, inputs, varying, known / path.name)
        shutil.copytree(known, path.parent, dirs_exist_ok=True)

    monkeypatch.setattr(onnx_graphs, "export", remembered)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "own"))
    return tmp_path / "own" / "graphs"


def separated(separator: Any, num_samples: int) -> Tensor:
    queries = QueryEmbedding(unit_vectors(1, 3, QUERY_DIM, seed=9))
    with torch.inference_mode():
        return separator.separate(noise(1, 2, num_samples), queries).target


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def accelerated(kind: str, name: str, precision: str = "fp32") -> Any:
    separator = tiny_separator(kind)
    accelerate(separator, name, precision)
    return separator


# Of float32 sums in another order. FlowSep: three deep networks in a row. ResUNet30: OpenVINO does not
# merge its first norm, which precedes all layers, and differs by 1.0e-6.
LIMITS = {"flowsep": 1e-5, "resunet30": 2e-6}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("torch", kind) for kind in KINDS[:-1]),
        pytest.param("torch", "flowsep", marks=pytest.mark.slow),
        *AS_GRAPHS,
    ],
)
def test_every_runtime_gives_the_same_samples_at_every_length(kind: str, name: str) -> None:
    plain, separator = tiny_separator(kind), accelerated(kind, name)
    for num_samples in (5000, 12345, 641):
        assert error(separated(separator, num_samples), separated(plain, num_samples)) < LIMITS.get(
            kind, 1e-6
        )


@pytest.mark.parametrize("kind", KINDS[:-1])  # flows of random weights magnify any change
@pytest.mark.parametrize("name", ["torch", GRAPH_RUNTIMES[0]])
def test_bfloat16_changes_samples_by_its_eight_bits(kind: str, name: str) -> None:
    if name == "openvino" and not openvino_has_bfloat16():
        pytest.skip("this CPU has no bfloat16 instructions")
    separator = accelerated(kind, name, "bf16")
    # The directions that ResUNet30 turns phases to are of small numbers, which magnifies.
    limit = 5e-2 if kind == "resunet30" else 2e-2
    assert 1e-5 < error(separated(separator, 5000), separated(tiny_separator(kind), 5000)) < limit


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_cut_into_chunks_a_recording_gives_what_it_gives_whole(name: str) -> None:
    separator = accelerated("band_unet", name)
    queries = QueryEmbedding(unit_vectors(3, QUERY_DIM, seed=9))
    mixture = noise(2, 40_001)
    cut = geometry(separator, chunk_seconds=1.0)
    chunks = torch.cat(list(separate_chunks(separator, [mixture], queries, cut)), dim=-1)
    with torch.inference_mode():
        whole = separator.separate(mixture[None], QueryEmbedding(queries.pooled[None])).target[0]
    # 1e-6: convolutions may sum in another order
    torch.testing.assert_close(chunks, whole, atol=1e-6, rtol=0)


def test_training_and_gradients_are_the_networks_own() -> None:
    plain, separator = tiny_separator("clipsep"), accelerated("clipsep", "torch", "bf16")
    totals = []
    for model in (plain, separator):
        model.train()
        totals.append(model.loss(*mixture_batch(), rng(0)).total)
        totals[-1].sum().backward()
    assert torch.equal(*totals)
    for (name, weight), accelerated_weight in zip(
        plain.named_parameters(), separator.parameters(), strict=True
    ):
        assert torch.equal(weight.grad, accelerated_weight.grad), name


def test_what_bfloat16_makes_nan_is_computed_in_fp32_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain, separator = tiny_separator("clipsep"), accelerated("clipsep", "torch", "bf16")
    monkeypatch.setattr(
        TorchRunner, "_converted", lambda self, tensor: tensor.bfloat16() * torch.nan
    )
    for num_samples in (2003, 3001):
        assert torch.equal(separated(separator, num_samples), separated(plain, num_samples))
    assert [message for message in caplog.messages if "in bf16" in message] == [
        "NaN or infinite values in bf16: such parts are computed in fp32, slower"
    ]


def test_the_weights_keep_their_names_and_stay_one_separators() -> None:
    plain, separator = tiny_separator("clipsep"), accelerated("clipsep", "torch")
    assert separator.state_dict().keys() == plain.state_dict().keys()
    assert len(list(separator.parameters())) == len(list(plain.parameters()))


def test_weights_that_are_used_as_they_are_are_held_once() -> None:
    network = tiny_separator("flowsep").unet
    runner = TorchRunner(network, torch.float32)
    shared = {weight.data_ptr() for weight in network.parameters()}
    used = [weight for weight in runner.network.parameters() if weight.data_ptr() not in shared]
    assert {tuple(weight.shape[-2:]) for weight in used if weight.dim() == 4} == {(2, 2)}
    assert all(weight.dim() in (1, 4) for weight in used)  # kernels for repeated places, biases
    assert len(used) == 5 * sum(isinstance(layer, Upsample) for layer in network.modules())


class Small(nn.Module):
    """A network whose graph is made in no time, with weights enough to lie in a file of their own."""

    varying_axes = (3,)

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 31, 3, bias=False)
        self.conv.weight.data = noise(31, 2, 3, 3, seed=seed)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.conv(hidden).relu()


def by_graph(name: str, network: nn.Module) -> Tensor:
    with torch.no_grad():
        return GraphRunner(network, name, "fp32")(noise(2, 2, 5, 7))


def refuse(*arguments: Any) -> None:
    raise AssertionError("made again")


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_a_graph_is_made_once_and_then_read(
    name: str, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = by_graph(name, Small())
    assert len(list(empty_cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(onnx_graphs, "export", refuse)
        assert torch.equal(by_graph(name, Small()), first)
    assert not torch.equal(by_graph(name, Small(seed=1)), first)
    assert len(list(empty_cache.iterdir())) == 2


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_one_graph_serves_any_number_of_items(name: str, empty_cache: Path) -> None:
    runner = GraphRunner(Small(), name, "fp32")
    for num_items in (3, 1, 2):
        hidden = noise(num_items, 2, 5, 7 + num_items)
        with torch.no_grad():
            expected = Small()(hidden)
            # 1e-6: float32 sums in another order
            torch.testing.assert_close(runner(hidden), expected, atol=1e-6, rtol=0)
    assert len(list(empty_cache.iterdir())) == 1


@pytest.mark.nightly
@pytest.mark.slow  # FlowSep again
@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_guidance_and_channels_take_no_graph_of_their_own(name: str, empty_cache: Path) -> None:
    separator = tiny_separator("flowsep", sampling={"num_steps": 2, "guidance": 2.0})
    expected = separated(separator, 5000)
    accelerate(separator, name)
    assert error(separated(separator, 5000), expected) < 1e-4
    num_networks = len(networks_of(separator))
    assert len(list(empty_cache.iterdir())) == num_networks
    with torch.inference_mode():
        separator.separate(noise(1, 1, 5000), QueryEmbedding(unit_vectors(1, 1, QUERY_DIM)))
    assert len(list(empty_cache.iterdir())) == num_networks


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_graphs_that_nobody_used_for_long_are_removed(name: str, empty_cache: Path) -> None:
    for seed in (1, 2):
        by_graph(name, Small(seed))
    used, unused = empty_cache.iterdir()
    for graph in (used, unused):
        os.utime(graph, (0, time.time() - 61 * 24 * 3600))
    for seed in (1, 2):  # both are read, which is a use
        by_graph(name, Small(seed))
    os.utime(unused, (0, time.time() - 61 * 24 * 3600))
    by_graph(name, Small(seed=3))
    assert used.is_dir()
    assert not unused.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_graphs_of_two_checkpoints_stay_apart(name: str, empty_cache: Path, tmp_path: Path) -> None:
    for seed, num_graphs in ((1, 1), (2, 2), (1, 2)):
        folder = tmp_path / str(seed)
        separator = tiny_separator(query_dim=384, seed=seed)
        description = describe("band_unet", separator, "minilm", minilm.build(minilm.Config()), {})
        save_checkpoint(folder, description, separator.state_dict(), "# Card\n")
        model = load(folder, runtime=name)
        mixture = noise(1, 5000)
        queries = [TextQuery("a dog")]
        separated = model.separate(mixture, queries, 8000)[0].target
        expected = load(folder).separate(mixture, queries, 8000)[0].target
        assert error(separated, expected) < 1e-6
        assert len(list(empty_cache.iterdir())) == num_graphs


@pytest.mark.parametrize("part", ["graph.onnx", "graph.onnx.data"])
@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_a_damaged_graph_is_made_anew(
    name: str, part: str, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = by_graph(name, Small())
    (path,) = empty_cache.glob(f"*/{part}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert torch.equal(by_graph(name, Small()), first)
    assert "exported again" in caplog.text
    assert path.stat().st_size == len(whole)


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_an_unwritable_cache_does_not_change_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "file"))
    expected = Small()(noise(2, 2, 5, 7))
    # 1e-6: float32 sums in another order
    torch.testing.assert_close(by_graph(name, Small()), expected, atol=1e-6, rtol=0)
    assert "set QSEP_CACHE to another folder" in caplog.text


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_a_graph_that_gives_something_else_is_refused(
    name: str, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = onnx_graphs.export
    monkeypatch.setattr(onnx_graphs, "export", lambda network, *rest: export(Small(seed=1), *rest))
    with pytest.raises(ValueError, match="use --runtime torch"):
        by_graph(name, Small())
    assert list(empty_cache.iterdir()) == []


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_threads_may_share_a_separator(name: str) -> None:
    separator = accelerated("clipsep", name)
    lengths = [700 + 400 * index for index in range(8)]
    expected = [separated(tiny_separator("clipsep"), length) for length in lengths]
    collected: list[Any] = [None] * len(lengths)

    def work(index: int) -> None:
        collected[index] = separated(separator, lengths[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(lengths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert max(map(error, collected, expected)) < 1e-6


def test_the_fingerprint_tells_other_runtimes_and_precisions_from_the_usual(
    tiny_model: Path,
) -> None:
    usual = load(tiny_model, "cpu")
    assert (
        load(tiny_model, "cpu", precision="bf16").fingerprint == usual.fingerprint + "-torch-bf16"
    )


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("torch", "bf16"),
        pytest.param("openvino", "fp32", marks=pytest.mark.slow),
        ("onnx", "fp32"),
    ],
)
def test_the_command_uses_the_requested_runtime(
    name: str, precision: str, qsep: Run, tiny_model: Path, tmp_path: Path
) -> None:
    recording = record(tmp_path / "a.wav", 9001)
    targets = []
    for options in ([], ["--runtime", name, "--precision", precision]):
        arguments = ["separate", recording, "-q", "dog", "-m", tiny_model, "-o", tmp_path / "out"]
        done = qsep(*arguments, "--device", "cpu", "--overwrite", *options)
        if name != "torch" and find_spec(RUNTIMES[name][0]) is None and options:
            assert done.code == 2
            assert f"pip install 'qsep[{name}]'" in done.error
            return
        assert done.code == 0, done.err
        targets.append(soundfile.read(tmp_path / "out" / "a.dog.wav")[0])
    difference = np.abs(targets[1] - targets[0]).max() / np.abs(targets[0]).max()
    assert difference < (2e-2 if precision == "bf16" else 1e-3)  # 16-bit files round, too
