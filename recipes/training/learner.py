"""A network with its loss, its optimiser and its learning-rate schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qsep.separation.interface import LossOutput

from .config import TrainConfig


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
        """The loss (b,) of the network, and its terms, each (b,)."""
        output = loss(self.network)
        return output.total, dict(output.terms)


class Learner:
    """A network with AdamW, set up on the devices of `fabric`, a Lightning Fabric."""

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
        """The current learning rate."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def improve(
        self, loss: Callable[[Any], LossOutput], step: int
    ) -> tuple[bool, dict[str, float]]:
        """One step: loss, backward, clip, optimiser step.

        Returns whether loss and gradients were finite, else no weight is changed; and the means of the loss's
        terms over the batch, the shares of all processes together.
        """
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
        return finite, self._means(terms)

    def _means(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Of terms (b,) over the batches of all processes, without NaN."""
        if not terms:
            return {}
        own = torch.stack([value.detach().float().nanmean() for value in terms.values()])
        means = self.fabric.all_gather(own).reshape(-1, len(terms)).nanmean(dim=0)
        return dict(zip(terms, means.tolist(), strict=True))
