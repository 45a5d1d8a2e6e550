"""Detection by a separator with a phrase book: it separates every class that it knows, and a joint
encoder of text and audio compares each estimate with its class.

    mixture (c, t) -> separator -> estimates of all classes (k, c, t)
    estimates -> their levels, and the part of each that no more likely class claims, (k,) each, in dB
    level, share -> logistic regression -> probabilities (k, n)

For a class that is absent the separator's estimate is
quiet (in the median 20 to 27 dB below the mixture), and resembles something else or belongs to
another class: the estimate of a clarinet contains some of a flute. Each feature alone detects poorly,
both together acceptably.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.encoders.joint import JointEncoder, shipped
from qsep.queries.interface import TextQuery

from ..api import Model
from ..audio.resample import StreamResampler
from ..inference.aligned import take
from ..inference.chunks import geometry, separate_chunks
from ..signal.stft import stft
from .activity import Activity
from .hierarchy import sounds_of_classes

WINDOW_SECONDS = 5.0  # analysed at once; windows overlap by half
STEP_SECONDS = 0.5  # time resolution of the probabilities
# Log odds that a class is present: BIAS + LEVEL x level + SHARE x share, in dB as returned by `features`.
# Logistic regression on 300 mixtures of two to four training recordings:
# recipes/benchmarks/quality/auto.py.
BIAS, LEVEL, SHARE = 3.378, 0.174, 0.494
MIN_SHARE_DB = -40.0
BIN_WINDOW = 1024  # samples, of the spectra whose bins are divided among the classes
FAINT_DB = -25.0  # relative to the mixture: estimates below this are not examined
QUIET_DB = -20.0  # relative to a class' loudest step in a window: below this it is inactive


@dataclass(frozen=True)
class Window:
    """Part of a recording from step `start` on: estimates (k, c, t) of all classes in a mixture (c, t)."""

    start: int
    mixture: Tensor
    estimates: Tensor


def detect_separated(
    model: Model, blocks: Iterable[NDArray[np.floating]], sample_rate: int, threshold: float
) -> Activity:
    """Detects the model's classes in a recording, in constant memory except for the result.

    blocks: (c, t) of a recording at sample_rate, not empty. ValueError if the model has no phrase book.
    """
    classifier = EstimateClassifier(model)
    step = round(STEP_SECONDS * model.separator.sample_rate)
    probabilities = np.zeros((len(model.classes), 0), np.float32)
    num_samples = 0
    for window in windows(model, blocks, sample_rate, step):
        window_result = classifier.probabilities(window, step)
        num_steps = window.start + window_result.shape[1]
        missing = num_steps - probabilities.shape[1]
        probabilities = np.pad(probabilities, ((0, 0), (0, missing)))
        part = probabilities[:, window.start : num_steps]
        np.maximum(part, window_result, out=part)
        num_samples = window.start * step + window.mixture.shape[-1]
    seconds = num_samples / model.separator.sample_rate
    return Activity(
        sounds_of_classes(model.classes), probabilities, STEP_SECONDS, seconds, threshold
    )


def windows(
    model: Model, blocks: Iterable[NDArray[np.floating]], sample_rate: int, step: int
) -> Iterator[Window]:
    """Windows of WINDOW_SECONDS that overlap by half and start at a step; the last ends with the
    recording.

    The mean of the channels is analysed: estimates of all classes take much memory.
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

    queries = model.embed([TextQuery(label) for label in model.classes])
    waiting: list[Tensor] = []  # mixture and estimates in one (1 + k, c, t)
    start = num_new = 0  # num_new: samples that are in no window yet
    for estimates in separate_chunks(separator, at_model_rate(), queries, geometry(separator)):
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


class EstimateClassifier:
    """The joint encoder of sound and text, and the mean embedding of each class' phrases in it.
    ValueError if the model has no phrase book."""

    def __init__(self, model: Model) -> None:
        book = model.separator.phrase_book
        if book is None:
            raise ValueError(
                f"{model.name or 'this model'} has no sound classes to detect; "
                "give a detector with --tagger yamnet, or Cnn14_mAP=0.431.pth of PANNs"
            )
        self.sample_rate = model.separator.sample_rate
        self.joint: JointEncoder = shipped()
        with torch.inference_mode():
            embeddings = self.joint.network.text(book.phrases.float().cpu())
            classes = book.classes.cpu()
            class_means = [
                embeddings[classes == number].mean(dim=0) for number in range(len(model.classes))
            ]
            self.class_embeddings = F.normalize(torch.stack(class_means), dim=-1)  # (k, d)

    def probabilities(self, window: Window, step: int) -> NDArray[np.float32]:
        """Probability that each class is active in the window's steps, (k, n); 0 where it is much
        quieter than its loudest step."""
        level_db, share_db = self.features(window)
        odds = BIAS + LEVEL * level_db + SHARE * share_db
        loudness = step_energies(window.estimates, step)
        loudest = loudness.amax(dim=1, keepdim=True)
        sounding = (loudest > 0) & (loudness >= loudest * 10 ** (QUIET_DB / 10))
        return (odds.sigmoid()[:, None] * sounding).numpy().astype(np.float32)

    @torch.inference_mode()
    def features(self, window: Window) -> tuple[Tensor, Tensor]:
        """In dB, (k,) each: level of each class' estimate relative to the mixture, and its own share of
        the estimate.

        The share is what remains of the estimate when every bin is divided among the classes in
        proportion to power times the root of the likelihood, which is the encoder's probability that
        the estimate sounds like this class and no other. Both are -inf for estimates that are too
        quiet.
        """
        mixture_energy = window.mixture.square().sum()
        energy = window.estimates.square().sum(dim=(1, 2))
        level_db = 10 * torch.log10(energy / mixture_energy.clamp_min(1e-20))
        level_db[level_db < FAINT_DB] = -torch.inf
        likelihood = torch.zeros_like(level_db)
        for number in torch.nonzero(level_db > -torch.inf)[:, 0]:
            similarity = self.class_embeddings @ self.joint.sound_at(
                window.estimates[number], self.sample_rate
            )
            likelihood[number] = (self.joint.network.scale() * similarity).softmax(dim=0)[number]
        power = stft(window.estimates, BIN_WINDOW, BIN_WINDOW // 2).abs().square().sum(dim=1)
        claim = power * likelihood.sqrt()[:, None, None]
        own_energy = (power * claim / claim.sum(dim=0).clamp_min(1e-20)).sum(dim=(1, 2))
        share_db = 10 * torch.log10(own_energy / power.sum(dim=(1, 2)).clamp_min(1e-20))
        share_db = share_db.clamp_min(MIN_SHARE_DB)
        share_db[level_db == -torch.inf] = -torch.inf
        return level_db, share_db


def step_energies(estimates: Tensor, step: int) -> Tensor:
    """Energies of the steps of estimates (k, c, t): (k, n); the last step may be shorter."""
    padded = F.pad(estimates, (0, -estimates.shape[-1] % step))
    return padded.unflatten(-1, (-1, step)).square().sum(dim=(1, 3))
