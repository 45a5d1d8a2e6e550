"""Training of an encoder of text and sound in one space, queries/encoders/joint.py."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.encoders.joint import JointNetwork, NetworkConfig
from qsep.queries.interface import QueryEmbedding, QueryEncoder
from qsep.queries.networks.yamnet import load_yamnet
from qsep.separation.interface import LossOutput, MixtureBatch

from ...data.mixtures.interface import Mixtures
from ...data.wording import PhraseBook
from ..config import Recipe, model_settings
from ..query_batch import encode_batch
from .interface import Discriminator, Task, Validation
from .phrase_book import store_phrases

KIND = "joint"
SMOOTHING = 0.05  # part of each target that is spread over all classes


def build(recipe: Recipe, book: PhraseBook, encoder: QueryEncoder) -> JointTask:
    """The task of a recipe; the encoder's embeddings of text are the network's input.

    The audio tower starts from YAMNet; ValueError without the extra that has its weights.
    """
    num_classes, num_phrases = len(book.labels), len(book.indexed_phrases()[0])
    config = model_settings(
        recipe,
        KIND,
        NetworkConfig,
        text_dim=encoder.dim,
        num_classes=num_classes,
        num_phrases=num_phrases,
    )
    torch.manual_seed(recipe.train.seed)
    model = JointModel(config)
    published = load_yamnet().state_dict()
    patches = model.network.audio.patches
    patches.load_state_dict({key: published[key] for key in patches.state_dict()})
    store_phrases(model.network.reader, book, encoder)
    return JointTask(model)


class JointModel(nn.Module):
    """The network with the rate of its recordings."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.network = JointNetwork(config)
        self.sample_rate = self.network.audio.sample_rate


class JointTask(Task):
    """Classification of sources by the similarity to the vectors of all classes, at a learned temperature.

    It is the contrastive loss of CLIP (Radford et al. 2021, fig. 3) from sound to text, where the texts are
    all classes: those of one class have one vector.
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
        """Cross-entropy, see Task.loss. queries.pooled: (b, s, text_dim); silent sources are left out."""
        audible = batch.sources.abs().amax(dim=(-2, -1)) > 0
        network = model.network
        audio = network.audio(batch.sources[audible].mean(dim=1))
        truth = network.degrees(queries.pooled[audible]).argmax(dim=-1)
        logits = network.scale() * audio @ network.class_vectors().T
        loss = F.cross_entropy(logits, truth, label_smoothing=SMOOTHING, reduction="none")
        return LossOutput(loss, {"contrastive": loss.detach()})

    @torch.no_grad()  # measures, does not learn
    def score(
        self, model: JointModel, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> Validation:
        """Accuracy in [0, 1]: the share of sources nearest to the vector of their class."""
        network = model.network
        device = network.reader.phrases.device
        correct: list[Tensor] = []
        for draw in range(num_items):
            batch = data.collate([data[draw]])
            audible = batch.sources.abs().amax(dim=(-2, -1)) > 0
            pooled = encode_batch(encoder, batch.queries).pooled[audible].to(device)
            truth = network.degrees(pooled).argmax(dim=-1)
            audio = network.audio(batch.sources[audible].mean(dim=1).to(device))
            correct.append((audio @ network.class_vectors().T).argmax(dim=-1) == truth)
        merits = torch.cat(correct).float()
        return Validation({"accuracy": merits.mean().item()}, merits.tolist())

    def weights(self, model: JointModel) -> dict[str, Tensor]:
        """The network's weights, phrase book included."""
        return model.network.state_dict()

    def phrase_book(self, model: JointModel) -> nn.Module | None:
        """The model's phrase classifier."""
        return model.network.reader

    def load(self, model: JointModel, weights: dict[str, Tensor]) -> None:
        """Load the network's weights."""
        model.network.load_state_dict(weights)
