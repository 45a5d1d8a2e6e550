"""The two ends of the scale: the mixture left as it is, and masks that know the answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..interface import Estimator, Item


@dataclass(frozen=True)
class UnprocessedMixture:
    """The mixture as its own estimate: every improvement is 0 dB, and all of it leaks."""

    name: str = "mixture"
    fingerprint: str = "mixture"

    def __call__(self, item: Item) -> Tensor:
        return torch.from_numpy(item.mixture)


@dataclass(frozen=True)
class IdealMask:
    """A mask m, made with the true target S and rest R, on the spectrum X and phase of the mixture.

    ibm: m = 1 where |S| > |R|, else 0. irm: m = |S| / (|S| + |R|). psm: m = Re(S / X) clipped to 0
    and 1 (Erdogan et al. 2015, "Phase-sensitive and recognition-boosted speech separation"), the
    mask in that range that is nearest to S bin by bin. m = 0 where all is silent.
    Not upper bounds of every separator: of those that mask at this resolution, nearly.
    """

    name: str
    window_samples: int = 2048
    hop_samples: int = 512

    @property
    def fingerprint(self) -> str:
        return f"{self.name}-{self.window_samples}-{self.hop_samples}"

    def __call__(self, item: Item) -> Tensor:
        return self.masked(self.spectra(item), len(item.mixture))

    def spectra(self, item: Item) -> Tensor:
        """Of mixture, target and rest: (3, f, n). The same for all masks of one resolution."""
        from qsep.separation.signal.stft import stft

        waveforms = torch.stack(
            [torch.from_numpy(w) for w in (item.mixture, item.target, item.rest)]
        )
        return stft(waveforms.double(), self.window_samples, self.hop_samples)

    def masked(self, specs: Tensor, num_samples: int) -> Tensor:
        """specs: of `spectra`."""
        from qsep.separation.signal.stft import istft

        mask = MASKS[self.name](*specs)
        return istft(mask * specs[0], self.window_samples, self.hop_samples, num_samples)


def ideal_binary(mixture_spec: Tensor, target_spec: Tensor, rest_spec: Tensor) -> Tensor:
    return (target_spec.abs() > rest_spec.abs()).to(target_spec.real.dtype)


def ideal_ratio(mixture_spec: Tensor, target_spec: Tensor, rest_spec: Tensor) -> Tensor:
    target_mag, rest_mag = target_spec.abs(), rest_spec.abs()
    return target_mag / (target_mag + rest_mag).clamp_min(SILENT)


def phase_sensitive(mixture_spec: Tensor, target_spec: Tensor, rest_spec: Tensor) -> Tensor:
    power = mixture_spec.abs().square().clamp_min(SILENT**2)
    return ((target_spec * mixture_spec.conj()).real / power).clamp(0, 1)


SILENT = 1e-12  # magnitudes below this count as this
MASKS = {"ibm": ideal_binary, "irm": ideal_ratio, "psm": phase_sensitive}


IDEAL_MASKS = {name: IdealMask(name) for name in MASKS}  # of one resolution
ESTIMATORS: dict[str, Estimator] = {"mixture": UnprocessedMixture(), **IDEAL_MASKS}


def named_estimator(name: str) -> Estimator:
    """One of ESTIMATORS."""
    if name not in ESTIMATORS:
        raise ValueError(f"no estimator is called {name!r}; there are {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]
