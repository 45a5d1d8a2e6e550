"""Low-rank updates of frozen linear layers (Hu et al. 2022, "LoRA", arXiv 2106.09685)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LoraLinear(nn.Module):
    """W x + b + B A x / rank with W frozen; B starts at zero."""

    def __init__(self, num_in: int, num_out: int, rank: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_out, num_in), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(num_out))
        self.lora_A = nn.Parameter(torch.empty(rank, num_in))
        self.lora_B = nn.Parameter(torch.zeros(num_out, rank))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., num_in) to (..., num_out)."""
        change = F.linear(F.linear(hidden, self.lora_A), self.lora_B) / len(self.lora_A)
        return F.linear(hidden, self.weight, self.bias) + change


def linear(num_in: int, num_out: int, rank: int) -> nn.Module:
    """An ordinary linear layer for rank 0, otherwise a frozen one with a low-rank update."""
    return LoraLinear(num_in, num_out, rank) if rank else nn.Linear(num_in, num_out)
