"""A network with its loss, its optimiser and its learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from qsep.separation.interface import LossOutput

from .batch_statistics import synchronise
from .config import TrainConfig
from .sharding import divided_moments, whole


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """The factor of learning_rate at a step, counted from 0; see TrainConfig."""
    rise = (step + 1) / max(1, config.warmup_steps)
    if config.warmup_stairs and step < config.warmup_steps:
        stairs = config.warmup_stairs
        rise = stairs[step * len(stairs) // config.warmup_steps]
    remaining = ((config.decay_end or config.steps) - step) / max(1, config.decay_steps)
    fall = config.final_factor + (1 - config.final_factor) * max(0.0, remaining)
    return min(1.0, rise, fall) * config.rate_decay**step


class Objective(nn.Module):
    """A network's loss as a forward pass, which is what Fabric's precision and DDP wrap.

    Its argument is a function of the network: Fabric would unpack a batch, and cannot rebuild frozen
    dataclasses.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, loss: Callable[[Any], LossOutput]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (b,) of the network, and its terms, each (b,), the loss itself among them."""
        output = loss(self.network)
        return output.total, {"loss": output.total.detach(), **output.terms}


class Learner:
    """A network with AdamW, set up on the devices of `fabric`, a Lightning Fabric."""

    def __init__(self, network: nn.Module, config: TrainConfig, fabric: Any) -> None:
        self.network, self.config, self.fabric = network, config, fabric
        if fabric.world_size > 1:
            synchronise(network, fabric.world_size)
        # First, since a strategy that divides weights among devices replaces them.
        self.model = fabric.setup_module(Objective(network))
        self.adam = torch.optim.AdamW(
            network.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            amsgrad=config.amsgrad,
            fused=True,
        )
        self.optimizer = fabric.setup_optimizers(self.adam)

    def load(self, state: dict[str, Any]) -> None:
        """Load the optimiser's state, with whole moments."""
        self.adam.load_state_dict(divided_moments(state, list(self.network.parameters())))

    @property
    def rate(self) -> float:
        """The current learning rate."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def improve(
        self, losses: Iterable[Callable[[Any], LossOutput]], num_parts: int, step: int
    ) -> tuple[bool, dict[str, Tensor]]:
        """One step: loss and backward of each part of the batch, clip, optimiser step.

        losses: one for each of the num_parts equal parts, whose gradients are accumulated. Returns whether
        losses and gradients were finite, else no weight is changed; and for each of the loss's terms its sum
        over the batch's items on this device, without values that are not finite, and their number: (2,).
        """
        self.model.train(not self.config.new_classes_only)  # batch statistics stay too
        self.optimizer.zero_grad()
        terms: dict[str, Tensor] = {}
        mean = torch.zeros((), device=self.fabric.device)
        for part, loss in enumerate(losses, start=1):
            with self.fabric.no_backward_sync(self.model, enabled=part < num_parts):
                total, values = self.model(loss)
                part_mean = total.mean() / num_parts
                self.fabric.backward(part_mean)
            mean += part_mean.detach()
            for name, value in values.items():
                terms[name] = terms.get(name, 0) + sum_and_number(value)
        finite = bool(torch.isfinite(self.fabric.all_reduce(mean)))
        if finite:
            norm = self.fabric.clip_gradients(
                self.model,
                self.optimizer,
                max_norm=self.config.clip_norm,
                error_if_nonfinite=False,
            )
            finite = bool(torch.isfinite(whole(norm, keep=True)))
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * learning_rate_factor(step, self.config)
            self.optimizer.step()
        return finite, terms


def sum_and_number(values: Tensor) -> Tensor:
    """The sum of the finite values (b,), and how many they are: (2,), float32."""
    finite = torch.isfinite(values)
    kept = torch.where(finite, values.detach(), 0).float()
    return torch.stack([kept.sum(), finite.sum().float()])
