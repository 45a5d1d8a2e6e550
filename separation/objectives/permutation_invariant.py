"""Permutation-invariant training (Yu et al. 2017) from pairwise costs.

Once every pair's cost is known, the best pairing is a linear assignment problem: nothing is computed
twice, and many sources are no problem.
"""

from __future__ import annotations

from itertools import permutations
from math import perm

import numpy as np
import torch
from torch import Tensor

MAX_ENUMERATED = 120  # five of five; beyond that the Hungarian algorithm on the CPU is faster


def best_pairing(costs: Tensor) -> Tensor:
    """Index of each source's output in the pairing of least total cost: costs (b, s, j), finite, to
    (b, s).

    ValueError if there are more sources than outputs.
    """
    num_sources, num_outputs = costs.shape[1:]
    if num_sources > num_outputs:
        raise ValueError(f"{num_sources} sources cannot be paired with {num_outputs} outputs")
    costs = costs.detach()
    if perm(num_outputs, num_sources) <= MAX_ENUMERATED:
        all_pairings = list(permutations(range(num_outputs), num_sources))
        pairings = torch.tensor(all_pairings, device=costs.device)
        sums = costs[:, torch.arange(num_sources, device=costs.device), pairings].sum(dim=-1)
        return pairings[sums.argmin(dim=-1)]
    from scipy.optimize import linear_sum_assignment

    rows = [linear_sum_assignment(item)[1] for item in costs.double().cpu().numpy()]
    return torch.from_numpy(np.stack(rows)).to(costs.device)


def permutation_invariant(costs: Tensor) -> tuple[Tensor, Tensor]:
    """Pairwise costs (b, s, j) to the costs (b, s) in each item's best pairing, and that pairing
    (b, s)."""
    pairing = best_pairing(costs)
    return costs.gather(2, pairing[..., None])[..., 0], pairing
