"""From a sentence embedding to the kinds of sound that a separator knows.

A separator trained on few kinds of sound forgets how to read if it may bend the sentence embedding
to its own use: unseen wordings then name the wrong sound, more so the longer it trains. So reading is
not trained at all. It is attention over a phrase book: a query means what the phrases like it mean.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHARPNESS = 30.0  # inverse temperature of the attention; 20 to 60 read unseen wordings equally well


class ConceptReader(nn.Module):
    """Reads a query as a probability for each known kind of sound, and for "something else".

    phrases: (p, d), unit norm, in half precision to keep checkpoints small. concepts: (p,), each
    phrase's kind, num_concepts for "something else".
    Both are buffers, so the optimiser leaves them alone; the book may grow after training.
    """

    phrases: Tensor
    concepts: Tensor

    def __init__(self, query_dim: int, num_concepts: int, num_phrases: int) -> None:
        super().__init__()
        self.num_concepts = num_concepts
        self.register_buffer("phrases", torch.zeros(num_phrases, query_dim, dtype=torch.float16))
        self.register_buffer("concepts", torch.zeros(num_phrases, dtype=torch.long))

    def learn(self, phrases: Tensor, concepts: Tensor) -> None:
        """Take over a phrase book: embeddings (p, d) and kinds (p,)."""
        assert phrases.shape == self.phrases.shape  # copy_ would repeat a single phrase
        assert concepts.shape == self.concepts.shape
        self.phrases.copy_(F.normalize(phrases, dim=-1))
        self.concepts.copy_(concepts)

    def forward(self, pooled: Tensor) -> Tensor:
        """pooled: (..., d), any norm. Returns probabilities (..., num_concepts + 1).

        Kernel regression (Nadaraya 1964, Watson 1964) with weights exp(SHARPNESS * cosine).
        """
        similarity = F.normalize(pooled, dim=-1) @ self.phrases.to(pooled).T
        attention = (SHARPNESS * similarity).softmax(dim=-1)
        return attention @ F.one_hot(self.concepts, self.num_concepts + 1).to(attention)

    def nearest(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Kind and cosine of the most similar phrase that names a known kind: (b, d) to two (b,)."""
        known = self.concepts < self.num_concepts
        similarity = F.normalize(pooled, dim=-1) @ self.phrases[known].to(pooled).T
        best = similarity.max(dim=-1)
        return self.concepts[known][best.indices], best.values


def disturb(pooled: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Add isotropic Gaussian noise of expected norm `noise` to each vector of pooled: (..., d)."""
    random = torch.randn(pooled.shape, generator=generator, device=generator.device)
    return pooled + random.to(pooled) * (noise / math.sqrt(pooled.shape[-1]))
