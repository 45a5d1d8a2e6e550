"""Reference estimators: the unprocessed mixture, and ideal masks made from the true target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..interface import Estimator, Item, TextSeparator


@dataclass(frozen=True)
class UnprocessedMixture:
    """The mixture as the estimate: every improvement is 0 dB, and the leakage is 0 dB."""

    name: str = "mixture"
    fingerprint: str = "mixture"
    model: TextSeparator | None = None

    def __call__(self, item: Item) -> Tensor:
        """The mixture (t,)."""
        return torch.from_numpy(item.mixture)


@dataclass(frozen=True)
class IdealMask:
    """A mask m, made with the true target S and rest R, on the spectrum X and phase of the mixture.

    ibm: m = 1 where |S| > |R|, else 0. irm: m = |S| / (|S| + |R|). psm: m = Re(S / X) clipped to [0, 1]
    (Erdogan et al. 2015, "Phase-sensitive and recognition-boosted speech separation"), in each bin the
    mask in that range with the least squared error. m = 0 in silence. Nearly upper bounds for separators
    that mask at this resolution, but not for others.
    """

    name: str
    window_samples: int = 2048
    hop_samples: int = 512
    model: TextSeparator | None = None

    @property
    def fingerprint(self) -> str:
        """Name, window and hop."""
        return f"{self.name}-{self.window_samples}-{self.hop_samples}"

    def __call__(self, item: Item) -> Tensor:
        """The masked mixture (t,), float64."""
        return self.masked(self.spectra(item), len(item.mixture))

    def spectra(self, item: Item) -> Tensor:
        """Spectra (3, f, n) of mixture, target and rest, complex; the same for every mask at a resolution."""
        from qsep.separation.signal.stft import stft

        waveforms = torch.stack(
            [torch.from_numpy(w) for w in (item.mixture, item.target, item.rest)]
        )
        return stft(waveforms.double(), self.window_samples, self.hop_samples)

    def masked(self, specs: Tensor, num_samples: int) -> Tensor:
        """The masked mixture (t,), float64. specs: (3, f, n) from `spectra`; num_samples: t."""
        from qsep.separation.signal.stft import istft

        mask = MASKS[self.name](*specs)
        return istft(mask * specs[0], self.window_samples, self.hop_samples, num_samples)


def ideal_binary(mixture_spec: Tensor, target_spec: Tensor, rest_spec: Tensor) -> Tensor:
    """1 where the target's magnitude exceeds the rest's, else 0: (f, n)."""
    return (target_spec.abs() > rest_spec.abs()).to(target_spec.real.dtype)


def ideal_ratio(mixture_spec: Tensor, target_spec: Tensor, rest_spec: Tensor) -> Tensor:
    """|S| / (|S| + |R|), in [0, 1], 0 in silence: (f, n)."""
    target_mag, rest_mag = target_spec.abs(), rest_spec.abs()
    return target_mag / (target_mag + rest_mag).clamp_min(SILENT)


def phase_sensitive(mixture_spec: Tensor, target_spec: Tensor, rest_spec: Tensor) -> Tensor:
    """Re(S / X) clipped to [0, 1], 0 in silence: (f, n)."""
    power = mixture_spec.abs().square().clamp_min(SILENT**2)
    return ((target_spec * mixture_spec.conj()).real / power).clamp(0, 1)


SILENT = 1e-12  # floor of magnitudes in denominators
MASKS = {"ibm": ideal_binary, "irm": ideal_ratio, "psm": phase_sensitive}

IDEAL_MASKS = {name: IdealMask(name) for name in MASKS}  # all at one resolution
ESTIMATORS: dict[str, Estimator] = {"mixture": UnprocessedMixture(), **IDEAL_MASKS}


def named_estimator(name: str) -> Estimator:
    """One of ESTIMATORS by its name; ValueError for another name."""
    if name not in ESTIMATORS:
        raise ValueError(f"no estimator is called {name!r}; there are {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]
