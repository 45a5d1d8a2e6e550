"""A network that learns: its loss, its optimiser, and the rate at which it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qsep.separation.interface import LossOutput

from .config import TrainConfig


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Linear rise or stairs, constant, linear fall to final_factor, and rate_decay a step all along; step
    counts from 0."""
    rise = (step + 1) / max(1, config.warmup_steps)
    if config.warmup_stairs and step < config.warmup_steps:
        stairs = config.warmup_stairs
        rise = stairs[step * len(stairs) // config.warmup_steps]
    left = ((config.decay_end or config.steps) - step) / max(1, config.decay_steps)
    fall = config.final_factor + (1 - config.final_factor) * max(0.0, left)
    return min(1.0, rise, fall) * config.rate_decay**step


class Objective(nn.Module):
    """A network's loss as a forward pass: only this do Fabric's precision and DDP wrap.

    The argument is a function, for Fabric would take batches apart and refuses frozen dataclasses.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, loss: Callable[[Any], LossOutput]) -> tuple[Tensor, dict[str, Tensor]]:
        output = loss(self.network)
        return output.total, dict(output.terms)


class Learner:
    """Moves the network to the devices of `fabric`, a Lightning Fabric."""

    def __init__(self, network: nn.Module, config: TrainConfig, fabric: Any) -> None:
        self.network, self.config, self.fabric = network, config, fabric
        self.adam = torch.optim.AdamW(
            network.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            amsgrad=config.amsgrad,
            fused=True,
        )
        self.model, self.optimizer = fabric.setup(Objective(network), self.adam)

    @property
    def rate(self) -> float:
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def improve(
        self, loss: Callable[[Any], LossOutput], step: int
    ) -> tuple[bool, dict[str, float]]:
        """Loss, backward, clip, step. Whether loss and gradients were finite, without which nothing is
        changed, and the loss's terms."""
        self.model.train()
        total, terms = self.model(loss)
        mean = total.mean()
        finite = bool(torch.isfinite(self.fabric.all_reduce(mean.detach())))
        if finite:
            self.optimizer.zero_grad()
            self.fabric.backward(mean)
            norm = self.fabric.clip_gradients(
                self.model,
                self.optimizer,
                max_norm=self.config.clip_norm,
                error_if_nonfinite=False,
            )
            finite = bool(torch.isfinite(norm))
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * learning_rate_factor(step, self.config)
            self.optimizer.step()
        return finite, {name: value.nanmean().item() for name, value in terms.items()}
