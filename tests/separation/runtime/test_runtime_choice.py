"""Which networks another runtime may compute, and which combinations of runtime, precision and device."""

import pytest
from graph_runtimes import GRAPH_RUNTIMES
from tiny import tiny_separator
from torch import nn

from qsep.separation.runtime.accelerate import (
    accelerate,
    check_runtime,
    networks_of,
)


def test_a_separator_says_which_of_its_modules_are_networks() -> None:
    separator = tiny_separator("clipsep_nit")
    assert networks_of(separator) == [separator.unet]
    assert networks_of(nn.Sequential(nn.ReLU())) == []


def test_separators_without_exportable_networks_run_by_torch_in_float32_alone() -> None:
    accelerate(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="Sequential has no network for another runtime"):
        accelerate(nn.Sequential(nn.ReLU()), precision="bf16")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("tensorrt", "fp32", "cpu"), "'tensorrt' is not one of torch, openvino, onnx"),
        (("torch", "fp8", "cpu"), "'fp8' is not one of fp32, bf16"),
        (("onnx", "bf16", "cpu"), "ONNX Runtime computes in fp32"),
    ],
)
def test_unavailable_runtimes_are_refused(options: tuple[str, str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_runtime(*options)


def test_openvino_is_refused_bfloat16_where_the_cpu_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino", reason="needs pip install qsep[openvino]")
    module = "qsep.separation.runtime.accelerate.openvino_has_bfloat16"
    monkeypatch.setattr(module, lambda: True)
    check_runtime("openvino", "bf16", "cpu")
    monkeypatch.setattr(module, lambda: False)
    check_runtime("openvino", "fp32", "cpu")
    with pytest.raises(ValueError, match=r"has no bfloat16 instructions.*use --precision fp32"):
        check_runtime("openvino", "bf16", "cpu")


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_runtime_that_is_not_installed_is_refused_with_the_pip_command(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsep.separation.runtime.accelerate.find_spec", lambda package: None)
    with pytest.raises(ValueError, match=rf"pip install 'qsep\[{name}\]'"):
        check_runtime(name, "fp32", "auto")


@pytest.mark.parametrize("name", GRAPH_RUNTIMES)
def test_a_runtime_of_the_cpu_is_refused_another_device(name: str) -> None:
    with pytest.raises(ValueError, match="works on the CPU, not on 'cuda'"):
        check_runtime(name, "fp32", "cuda")
