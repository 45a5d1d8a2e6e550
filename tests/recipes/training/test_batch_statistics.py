"""Batch norms by formula, with the statistics of all devices, against PyTorch's on one."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny import mixture_batch, rng, tiny_separator
from tiny_settings import SETTINGS
from torch import nn

from qsep.recipes.training import batch_statistics


@pytest.fixture(autouse=True)
def one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_statistics, "all_reduce", lambda total: total)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm1d, (6, 3, 5)), (nn.BatchNorm2d, (4, 3, 5, 2))]
)
def test_norms_of_one_device_compute_what_pytorchs_do(
    kind: Any, shape: tuple[int, ...], momentum: float | None
) -> None:
    """Outputs, gradients and running statistics, of two batches; then in evaluation."""
    norms = [kind(3, momentum=momentum) for _ in range(2)]
    for norm in norms:
        norm.weight.data = torch.tensor([0.5, 1.5, 2.0])
    batch_statistics.synchronise(norms[1], num_devices=1)
    for training in (True, True, False):
        hidden = 2 + 3 * torch.randn(shape, generator=rng(4))
        inputs = [hidden.clone().requires_grad_() for _ in norms]
        outputs = [norm.train(training)(one) for norm, one in zip(norms, inputs, strict=True)]
        torch.testing.assert_close(*outputs)
        for output in outputs:
            (output * torch.randn(shape, generator=rng(5))).sum().backward()
        gradients = [[one.grad, norm.weight.grad] for norm, one in zip(norms, inputs, strict=True)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)  # sums in another order
    torch.testing.assert_close(norms[0].state_dict(), norms[1].state_dict())


def with_norms() -> Iterator[Any]:
    for kind in sorted(SETTINGS):
        separator = tiny_separator(kind)
        if any(isinstance(module, batch_statistics.NORMS) for module in separator.modules()):
            yield pytest.param(separator, id=kind)


@pytest.mark.parametrize("separator", list(with_norms()))
def test_gradients_of_separators_are_those_of_norms_by_formula(separator: Any) -> None:
    """Those of BatchNorm2d are wrong in PyTorch 2.11 on CPUs if its input has a width of one and the gradient
    of its output is transposed."""
    separators = [separator.train(), copy.deepcopy(separator)]
    batch_statistics.synchronise(separators[1], num_devices=1)
    for one in separators:
        # a length at which no ReLU's input lies within rounding of zero
        one.loss(*mixture_batch(1999), rng(0)).total.mean().backward()
    gradients = [[w.grad for w in one.parameters() if w.grad is not None] for one in separators]
    largest = max(gradient.abs().max() for gradient in gradients[0])
    for pair in zip(*gradients, strict=True):
        torch.testing.assert_close(*pair, rtol=0, atol=1e-4 * float(largest))  # deep networks
