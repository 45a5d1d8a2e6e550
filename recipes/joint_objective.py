"""What the training loop needs to learn a joint encoder: a loss, and a score on unheard recordings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding, QueryEncoder
from qsep.queries.joint import JointNetwork, NetworkConfig
from qsep.separation.concepts import ConceptReader, disturb
from qsep.separation.interface import LossOutput, MixtureBatch
from qsep.separation.objectives.contrastive import soft_contrastive_loss

from .data.mixtures import Mixtures
from .query_batch import encode_batch

TEXT_NOISE = 0.3  # norm of the noise on unit-norm sentence embeddings in training


class JointObjective(nn.Module):
    """Pulls the sources of all mixtures of a batch to their wordings and away from others'.

    The reader of a phrase book says which wordings mean the same, so that two dogs are not told apart.
    """

    def __init__(self, config: NetworkConfig, num_concepts: int, num_phrases: int) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.network = JointNetwork(config)
        self.reader = ConceptReader(config.text_dim, num_concepts, num_phrases)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """queries.pooled: (b, s, text_dim); slots whose source is silent are left out."""
        heard = batch.sources.abs().amax(dim=(-2, -1)) > 0
        pooled = queries.pooled[heard]
        audio = self.network.audio(batch.sources[heard].mean(dim=1))
        text = self.network.text(disturb(pooled, TEXT_NOISE, generator))
        concepts = self.reader(pooled)
        loss = soft_contrastive_loss(audio, text, concepts @ concepts.T, self.network.scale())
        return LossOutput(loss, {"contrastive": loss.detach()})

    @torch.no_grad()  # measures, does not learn
    def score(self, encoder: QueryEncoder, data: Mixtures, num_items: int) -> dict[str, float]:
        """Zero-shot accuracy: how many sources lie nearest to the centre of their own kind's phrases."""
        device = self.reader.phrases.device
        kinds = self.kinds()
        right: list[Tensor] = []
        for draw in range(num_items):
            batch = data.collate([data[draw]])
            heard = batch.sources.abs().amax(dim=(-2, -1)) > 0
            pooled = encode_batch(encoder, batch.queries).pooled[heard].to(device)
            truth = self.reader(pooled)[:, :-1].argmax(dim=-1)
            audio = self.network.audio(batch.sources[heard].mean(dim=1).to(device))
            right.append((audio @ kinds.T).argmax(dim=-1) == truth)
        return {"accuracy": torch.cat(right).float().mean().item()}

    def kinds(self) -> Tensor:
        """(num_concepts, dim): the mean of each kind's phrases in the common space."""
        vectors = self.network.text(self.reader.phrases.float())
        means = [
            vectors[self.reader.concepts == concept].mean(dim=0)
            for concept in range(self.reader.num_concepts)
        ]
        return torch.nn.functional.normalize(torch.stack(means), dim=-1)
