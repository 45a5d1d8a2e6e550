"""What a model of ours hears: it separates every kind that it knows, and a second network listens.

    mixture -> separator, for each kind -> how loud, and how much of it no likelier kind claims -> probability

A separator gives little for a sound that is not there (20 to 27 dB under the mixture in the median), and
what it gives does not sound like it, or is another kind's: asked for a clarinet, it gives some of a flute.
Either alone is a poor detector, the two together a fair one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.encoders.joint import Config, JointEncoder, build
from qsep.queries.interface import TextQuery

from ..api import Model
from ..audio.resample import StreamResampler
from ..inference.chunks import geometry, separate_chunks
from ..inference.recording import take
from ..signal.stft import stft
from .activity import Activity
from .hierarchy import sounds_of_kinds

WINDOW_SECONDS = 5.0  # heard at once, and half as much between one window's start and the next's
STEP_SECONDS = 0.5  # of the timeline
# Log-odds that a kind is there: BIAS + LEVEL x level + SHARE x share, in dB as `features` gives them.
# Logistic regression on 300 mixtures of training recordings, two to four in each:
# recipes/benchmarks/quality/auto.py.
BIAS, LEVEL, SHARE = 3.713, 0.187, 0.539
MIN_SHARE_DB = -40.0
BIN_WINDOW = 1024  # samples, of the spectra that are shared out
FAINT_DB = -25.0  # under the mixture: not listened to
QUIET_DB = -20.0  # under a window's loudest step: the kind pauses


@dataclass(frozen=True)
class Window:
    """Part of a recording from the step `start` on: estimates (k, c, t) of all kinds in a mixture (c, t)."""

    start: int
    mixture: Tensor
    estimates: Tensor


def detect_own(
    model: Model, blocks: Iterable[NDArray[np.floating]], sample_rate: int, threshold: float
) -> Activity:
    """blocks: (c, t) of a recording at sample_rate, not empty. Memory does not grow with its length, but
    for the probabilities."""
    listener = Listener(model)
    step = round(STEP_SECONDS * model.separator.sample_rate)
    probabilities = np.zeros((len(model.classes), 0), np.float32)
    num_samples = 0
    for window in windows(model, blocks, sample_rate, step):
        heard = listener.probabilities(window, step)
        num_steps = window.start + heard.shape[1]
        missing = num_steps - probabilities.shape[1]
        probabilities = np.pad(probabilities, ((0, 0), (0, missing)))
        part = probabilities[:, window.start : num_steps]
        np.maximum(part, heard, out=part)
        num_samples = window.start * step + window.mixture.shape[-1]
    seconds = num_samples / model.separator.sample_rate
    return Activity(sounds_of_kinds(model.classes), probabilities, STEP_SECONDS, seconds, threshold)


def windows(
    model: Model, blocks: Iterable[NDArray[np.floating]], sample_rate: int, step: int
) -> Iterator[Window]:
    """Of WINDOW_SECONDS, every half of that; the last begins at a step too and ends with the recording.

    Heard is the mean of its channels: all kinds at once take much memory, and so half as much for stereo.
    """
    separator = model.separator
    size = round(WINDOW_SECONDS / STEP_SECONDS) * step
    hop = size // step // 2 * step
    mixtures: deque[NDArray[np.floating]] = deque()

    def at_model_rate() -> Iterator[Tensor]:
        resampler = StreamResampler(sample_rate, separator.sample_rate, 1)
        for block in blocks:
            mixtures.append(resampler.process(block.mean(axis=0, keepdims=True)).copy())
            yield torch.from_numpy(mixtures[-1]).to(model.device)
        mixtures.append(resampler.flush())
        yield torch.from_numpy(mixtures[-1]).to(model.device)

    kinds = model.embed([TextQuery(kind) for kind in model.classes])
    waiting: list[Tensor] = []  # mixture and estimates in one (1 + k, c, t)
    start = num_new = 0  # num_new: samples that no window has had
    for estimates in separate_chunks(separator, at_model_rate(), kinds, geometry(separator)):
        mixture = torch.from_numpy(take(mixtures, estimates.shape[-1]))
        waiting.append(torch.cat([mixture[None], estimates.cpu()]))
        num_new += estimates.shape[-1]
        joined = torch.cat(waiting, dim=-1)
        while joined.shape[-1] >= size:
            yield Window(start // step, joined[0, :, :size], joined[1:, :, :size])
            num_new = joined.shape[-1] - size
            joined = joined[..., hop:]
            start += hop
        waiting = [joined.clone()]
    if num_new:
        yield Window(start // step, waiting[0][0], waiting[0][1:])


class Listener:
    """The joint encoder, and where a model's kinds lie among what it hears."""

    def __init__(self, model: Model) -> None:
        book = model.separator.phrase_book
        if book is None:
            raise ValueError(
                f"{model.name or 'this model'} has no kinds of sound of its own; "
                "say with --tagger what detects them (Cnn14_mAP=0.431.pth of PANNs)"
            )
        self.sample_rate = model.separator.sample_rate
        self.joint: JointEncoder = build(Config())
        with torch.inference_mode():
            places = self.joint.network.text(book.phrases.float().cpu())
            concepts = book.concepts.cpu()
            kinds = [places[concepts == number].mean(dim=0) for number in range(len(model.classes))]
            self.kinds = F.normalize(torch.stack(kinds), dim=-1)  # (k, d)

    def probabilities(self, window: Window, step: int) -> NDArray[np.float32]:
        """(k, n) for the window's steps; 0 where a kind pauses."""
        level_db, share_db = self.features(window)
        odds = BIAS + LEVEL * level_db + SHARE * share_db
        loudness = step_energies(window.estimates, step)
        loudest = loudness.amax(dim=1, keepdim=True)
        sounding = (loudest > 0) & (loudness >= loudest * 10 ** (QUIET_DB / 10))
        return (odds.sigmoid()[:, None] * sounding).numpy().astype(np.float32)

    @torch.inference_mode()
    def features(self, window: Window) -> tuple[Tensor, Tensor]:
        """Of each kind's estimate (k,): its level in dB relative to the mixture, and how much of it is its
        own, in dB: what it keeps when every bin is shared out among the kinds by power times the root of the
        likelihood, the probability that what is heard is this kind rather than another, if it is one.
        -inf for what is faint."""
        whole = window.mixture.square().sum()
        energy = window.estimates.square().sum(dim=(1, 2))
        level_db = 10 * torch.log10(energy / whole.clamp_min(1e-20))
        level_db[level_db < FAINT_DB] = -torch.inf
        likelihood = torch.zeros_like(level_db)
        for number in torch.nonzero(level_db > -torch.inf)[:, 0]:
            likeness = self.kinds @ self.hear(window.estimates[number])
            likelihood[number] = (self.joint.network.scale() * likeness).softmax(dim=0)[number]
        power = stft(window.estimates, BIN_WINDOW, BIN_WINDOW // 2).abs().square().sum(dim=1)
        claim = power * likelihood.sqrt()[:, None, None]
        own = (power * claim / claim.sum(dim=0).clamp_min(1e-20)).sum(dim=(1, 2))
        share_db = 10 * torch.log10(own / power.sum(dim=(1, 2)).clamp_min(1e-20))
        share_db = share_db.clamp_min(MIN_SHARE_DB)
        share_db[level_db == -torch.inf] = -torch.inf
        return level_db, share_db

    def hear(self, estimate: Tensor) -> Tensor:
        """(c, t) to a unit vector (d,)."""
        mono = estimate.mean(dim=0)
        if self.sample_rate != self.joint.sample_rate:
            resampled = soxr.resample(mono.numpy(), self.sample_rate, self.joint.sample_rate)
            mono = torch.from_numpy(resampled) if len(resampled) else mono[:1]
        return self.joint.sound(mono)


def step_energies(estimates: Tensor, step: int) -> Tensor:
    """(k, c, t) to energies of steps (k, n), the last of what is left."""
    padded = F.pad(estimates, (0, -estimates.shape[-1] % step))
    return padded.unflatten(-1, (-1, step)).square().sum(dim=(1, 3))
