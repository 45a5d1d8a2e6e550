"""What a network declares so that another runtime may compute it, or torch after rewriting it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Exportable(Protocol):
    """A network whose forward takes tensors (bool or floating) and returns one, each with items on axis 0.

    Items do not depend on each other, and no random numbers are drawn in evaluation.
    varying_axes: the axes of the inputs whose sizes change from call to call; 0 only if the network is
    to be given several items at once.
    """

    varying_axes: tuple[int, ...]


@runtime_checkable
class Narrow(Exportable, Protocol):
    """An exportable network for images with few columns, which runtimes compute faster when transposed.

    It returns an image and treats rows and columns alike but for its kernels.
    narrow_inputs: indices of the inputs that are such images, (b, c, k, n).
    """

    narrow_inputs: tuple[int, ...]
