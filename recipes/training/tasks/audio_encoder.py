"""Training of an encoder of text and sound in one space, queries/encoders/joint.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from qsep.queries.encoders.joint import JointNetwork, NetworkConfig
from qsep.queries.interface import QueryEmbedding, QueryEncoder
from qsep.separation.interface import LossOutput, MixtureBatch
from qsep.separation.networks.phrase_classifier import PhraseClassifier, add_noise
from qsep.separation.objectives.contrastive import soft_contrastive_loss

from ...data.mixtures.interface import Mixtures
from ...data.wording import PhraseBook
from ..config import Recipe, model_settings
from ..query_batch import encode_batch
from .interface import Discriminator, Task, Validation
from .phrase_book import store_phrases

KIND = "joint"
TEXT_NOISE = 0.3  # norm of the noise on unit-norm sentence embeddings in training


def build(recipe: Recipe, book: PhraseBook, encoder: QueryEncoder) -> JointTask:
    """The task of a recipe; the encoder's embeddings of text are the network's input."""
    config = model_settings(recipe, KIND, NetworkConfig, text_dim=encoder.dim)
    torch.manual_seed(recipe.train.seed)
    model = JointModel(config, len(book.names), len(book.indexed_phrases()[0]))
    store_phrases(model.reader, book, encoder)
    return JointTask(model)


class JointModel(nn.Module):
    """The network, and a classifier of phrases, which tells which wordings mean the same sound."""

    def __init__(self, config: NetworkConfig, num_classes: int, num_phrases: int) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.network = JointNetwork(config)
        self.reader = PhraseClassifier(config.text_dim, num_classes, num_phrases)

    def class_vectors(self) -> Tensor:
        """Unit vectors (num_classes, dim): the mean of each class's phrases in the joint space."""
        vectors = self.network.text(self.reader.phrases.float())
        means = [
            vectors[self.reader.classes == number].mean(dim=0)
            for number in range(self.reader.num_classes)
        ]
        return nn.functional.normalize(torch.stack(means), dim=-1)


class JointTask(Task):
    """Contrastive training: sources near their wordings, away from wordings of other sounds in the batch.

    Wordings of the same sound are no negatives of each other.
    """

    part, kind = "audio_encoder", KIND
    discriminator: Discriminator | None = None

    def __init__(self, model: JointModel) -> None:
        self.model = model

    def loss(
        self,
        model: JointModel,
        batch: MixtureBatch,
        queries: QueryEmbedding,
        generator: torch.Generator,
        discriminator: Any,
    ) -> LossOutput:
        """Contrastive loss, see Task.loss. queries.pooled: (b, s, text_dim); silent sources are left out."""
        audible = batch.sources.abs().amax(dim=(-2, -1)) > 0
        pooled = queries.pooled[audible]
        audio = model.network.audio(batch.sources[audible].mean(dim=1))
        text = model.network.text(add_noise(pooled, TEXT_NOISE, generator))
        classes = model.reader(pooled)
        loss = soft_contrastive_loss(audio, text, classes @ classes.T, model.network.scale())
        return LossOutput(loss, {"contrastive": loss.detach()})

    @torch.no_grad()  # measures, does not learn
    def score(
        self, model: JointModel, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> Validation:
        """Zero-shot accuracy in [0, 1]: the share of sources nearest to the mean of their class's phrases."""
        device = model.reader.phrases.device
        class_vectors = model.class_vectors()
        correct: list[Tensor] = []
        for draw in range(num_items):
            batch = data.collate([data[draw]])
            audible = batch.sources.abs().amax(dim=(-2, -1)) > 0
            pooled = encode_batch(encoder, batch.queries).pooled[audible].to(device)
            truth = model.reader(pooled)[:, :-1].argmax(dim=-1)
            audio = model.network.audio(batch.sources[audible].mean(dim=1).to(device))
            correct.append((audio @ class_vectors.T).argmax(dim=-1) == truth)
        merits = torch.cat(correct).float()
        return Validation({"accuracy": merits.mean().item()}, merits.tolist())

    def weights(self, model: JointModel) -> dict[str, Tensor]:
        """The network's weights, without the phrase book."""
        return model.network.state_dict()

    def phrase_book(self, model: JointModel) -> nn.Module | None:
        """The model's phrase classifier."""
        return model.reader

    def load(self, model: JointModel, weights: dict[str, Tensor]) -> None:
        """Load the network's weights."""
        model.network.load_state_dict(weights)
