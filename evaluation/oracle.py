"""The two ends of the scale: the mixture left as it is, and a mask that knows the answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .interface import Estimator, Item


@dataclass(frozen=True)
class UnprocessedMixture:
    """The mixture as its own estimate: every improvement is 0 dB, and all of it leaks."""

    name: str = "mixture"
    fingerprint: str = "mixture"

    def __call__(self, item: Item) -> Tensor:
        return torch.from_numpy(item.mixture)


@dataclass(frozen=True)
class IdealRatioMask:
    """|S| / (|S| + |R|) of the true target S and rest R, on the mixture's spectrum and phase.

    Not an upper bound of every separator: of ratio masks without phase, nearly.
    """

    window_samples: int = 2048
    hop_samples: int = 512
    name: str = "irm"

    @property
    def fingerprint(self) -> str:
        return f"irm-{self.window_samples}-{self.hop_samples}"

    def __call__(self, item: Item) -> Tensor:
        from qsep.separation.signal.stft import istft, stft

        waveforms = torch.stack(
            [torch.from_numpy(w) for w in (item.mixture, item.target, item.rest)]
        )
        mixture_spec, target_spec, rest_spec = stft(
            waveforms.double(), self.window_samples, self.hop_samples
        )
        target_mag, rest_mag = target_spec.abs(), rest_spec.abs()
        mask = target_mag / (target_mag + rest_mag).clamp_min(1e-12)  # 0 where both are silent
        num_samples = len(item.mixture)
        return istft(mask * mixture_spec, self.window_samples, self.hop_samples, num_samples)


def named_estimator(name: str) -> Estimator:
    """ "mixture" or "irm"."""
    estimators: dict[str, Estimator] = {"mixture": UnprocessedMixture(), "irm": IdealRatioMask()}
    if name not in estimators:
        raise ValueError(f"no estimator is called {name!r}; there are {', '.join(estimators)}")
    return estimators[name]
