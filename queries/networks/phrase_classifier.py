"""Mapping sentence embeddings to the sound classes that a separator was trained on.

A learned mapping of the embedding overfits to the few classes in training: unseen wordings then select the
wrong class, the more so the longer it is trained. So the mapping is not trained: it is attention over a
phrase book, and a query gets the classes of the phrases that it is similar to.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Inverse temperature of the attention; 20 to 60 work equally well on unseen wordings.
SHARPNESS = 30.0


class PhraseClassifier(nn.Module):
    """Maps a query to a probability for each class and for "something else".

    phrases: (p, d), unit norm, in half precision to keep checkpoints small. classes: (p,), the class of each
    phrase, num_classes for "something else". Both are buffers, not trained; the book may grow afterwards.
    """

    phrases: Tensor
    concepts: Tensor  # the classes, under the name that they have in checkpoints

    def __init__(self, query_dim: int, num_classes: int, num_phrases: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("phrases", torch.zeros(num_phrases, query_dim, dtype=torch.float16))
        self.register_buffer("concepts", torch.zeros(num_phrases, dtype=torch.long))

    @property
    def classes(self) -> Tensor:
        """(p,): the class of each phrase, in [0, num_classes]."""
        return self.concepts

    def store(self, phrases: Tensor, classes: Tensor) -> None:
        """Set the phrase book: embeddings (p, d), of any norm, and classes (p,)."""
        assert phrases.shape == self.phrases.shape  # copy_ would repeat a single phrase
        assert classes.shape == self.classes.shape
        self.phrases.copy_(F.normalize(phrases, dim=-1))
        self.classes.copy_(classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """pooled: (..., d), any norm. Returns probabilities (..., num_classes + 1).

        Kernel regression (Nadaraya 1964, Watson 1964) with weights exp(SHARPNESS * cosine).
        """
        similarity = F.normalize(pooled, dim=-1) @ self.phrases.to(pooled).T
        attention = (SHARPNESS * similarity).softmax(dim=-1)
        return attention @ F.one_hot(self.classes, self.num_classes + 1).to(attention)

    def nearest(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Class and cosine of the most similar phrase that names a class: (b, d) to two (b,)."""
        known = self.classes < self.num_classes
        similarity = F.normalize(pooled, dim=-1) @ self.phrases[known].to(pooled).T
        best = similarity.max(dim=-1)
        return self.classes[known][best.indices], best.values


def add_noise(pooled: Tensor, norm: float, generator: torch.Generator) -> Tensor:
    """Add isotropic Gaussian noise of this expected norm to each vector of pooled: (..., d)."""
    random = torch.randn(pooled.shape, generator=generator, device=generator.device)
    return pooled + random.to(pooled) * (norm / math.sqrt(pooled.shape[-1]))
