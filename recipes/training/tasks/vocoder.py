"""Training of FlowSep's vocoder, BigVGAN (separation/networks/mel/bigvgan.py).

Lee et al., "BigVGAN" (2023), sec. 2 and appendix A, after Kong et al., "HiFi-GAN" (2020), eqs. 5 to 8.
"""

from __future__ import annotations

from dataclasses import field
from typing import cast

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding, QueryEncoder
from qsep.queries.settings import configuration
from qsep.separation.interface import LossOutput, MixtureBatch
from qsep.separation.networks.blocks.weight_norm import load_plain, plain_state, weight_normed
from qsep.separation.networks.mel.bigvgan import BigVGAN, VocoderConfig
from qsep.separation.networks.mel.codec import clipped_log_mel
from qsep.separation.networks.mel.discriminators import (
    WaveDiscriminatorConfig,
    WaveDiscriminators,
)
from qsep.separation.objectives.adversarial import (
    feature_distance,
    least_squares_discriminator,
    least_squares_generator,
)
from qsep.separation.signal.mel import MelConfig

from ...data.mixtures.interface import Mixtures
from ...data.wording import PhraseBook
from ..config import Recipe, model_settings
from .interface import Discriminator, Task, Validation
from .waveforms import draw_waveforms

KIND = "bigvgan"
PREFIX = "codec.vocoder."  # names of its weights in FlowSep


@configuration
class Config:
    """mel, vocoder: as FlowSep's. mel_weight, feature_weight: weights of the log-mels' mean absolute error
    and of feature matching, relative to the adversarial loss. mixture_probability: as the autoencoder's.
    """

    mel: MelConfig = field(default_factory=MelConfig)
    vocoder: VocoderConfig = field(default_factory=VocoderConfig)
    discriminator: WaveDiscriminatorConfig = field(default_factory=WaveDiscriminatorConfig)
    mel_weight: float = 45.0
    feature_weight: float = 2.0
    discriminator_start: int = 0
    mixture_probability: float = 0.0


def build(recipe: Recipe, book: PhraseBook, encoder: QueryEncoder) -> VocoderTask:
    """The task of a recipe."""
    config = model_settings(recipe, KIND, Config)
    torch.manual_seed(recipe.train.seed)
    return VocoderTask(VocoderModel(config), WaveDiscriminators(config.discriminator))


class VocoderModel(nn.Module):
    """FlowSep's vocoder with its front end: waveforms to log-mel spectrograms and back.

    Raises ValueError if the product of the vocoder's rates is not the hop of the log-mels.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.sample_rate = config, config.mel.sample_rate
        self.vocoder = cast(BigVGAN, weight_normed(BigVGAN(config.vocoder, config.mel.num_bands)))
        if self.vocoder.hop_samples != config.mel.hop_samples:
            raise ValueError(
                f"the product of vocoder.rates is {self.vocoder.hop_samples}; expected mel.hop_samples, "
                f"{config.mel.hop_samples}"
            )

    def forward(self, batch: MixtureBatch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Waveforms cut to whole frames, and the vocoder's output for their log-mels, each (b, t)."""
        waveforms = draw_waveforms(batch, self.config.mixture_probability, generator)
        log_mel = clipped_log_mel(waveforms, self.config.mel)
        num_samples = log_mel.shape[1] * self.config.mel.hop_samples
        generated = self.vocoder(log_mel.transpose(1, 2))[:, 0, :num_samples]
        return waveforms[:, :num_samples], generated

    def mel_error(self, real: Tensor, generated: Tensor) -> Tensor:
        """Mean absolute difference of the log-mels of two waveforms (b, t): (b,)."""
        mels = [
            clipped_log_mel(waveform.float(), self.config.mel) for waveform in (real, generated)
        ]
        return (mels[0] - mels[1]).abs().mean(dim=(1, 2))


class VocoderTask(Task):
    """Trains the vocoder with discriminators of waveforms."""

    part, kind = "vocoder", KIND

    def __init__(self, model: VocoderModel, discriminators: WaveDiscriminators) -> None:
        self.model = model
        self.discriminator: Discriminator | None = Discriminator(
            discriminators, model.config.discriminator_start, self.discriminator_loss
        )

    def loss(
        self,
        model: VocoderModel,
        batch: MixtureBatch,
        queries: QueryEmbedding,
        generator: torch.Generator,
        discriminator: WaveDiscriminators | None,
    ) -> LossOutput:
        """The loss of the vocoder, see Task.loss. Queries are not used."""
        config = model.config
        real, generated = model(batch, generator)
        error = model.mel_error(real, generated)
        total, terms = config.mel_weight * error, {"mel_l1": error}
        if discriminator is not None:
            with torch.no_grad():  # features of the real waveforms are constants here
                real_output = discriminator(real[:, None])
            output_for_generated = discriminator(generated[:, None])
            adversarial = sum_of(
                [least_squares_generator(scores) for scores in output_for_generated.scores]
            )
            features = feature_distance(real_output.features, output_for_generated.features)
            total = total + adversarial + config.feature_weight * features
            terms |= {"adversarial": adversarial, "features": features}
        return LossOutput(total, {name: term.detach() for name, term in terms.items()})

    def discriminator_loss(
        self, discriminator: WaveDiscriminators, batch: MixtureBatch, generator: torch.Generator
    ) -> LossOutput:
        """The discriminators' least-squares loss on real and generated waveforms, (b,)."""
        with torch.no_grad():  # no gradient for the vocoder
            real, generated = self.model(batch, generator)
        pairs = zip(
            discriminator(real[:, None]).scores,
            discriminator(generated[:, None]).scores,
            strict=True,
        )
        loss = sum_of([least_squares_discriminator(*scores) for scores in pairs])
        return LossOutput(loss, {"discriminator": loss.detach()})

    @torch.no_grad()  # measures, does not learn
    def score(
        self, model: VocoderModel, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> Validation:
        """Mean absolute error of the generated waveforms' log-mels (natural logarithm)."""
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(0)
        errors = []
        for draw in range(num_items):
            real, generated = model(data.collate([data[draw]]).to(device), generator)
            errors.append(model.mel_error(real, generated).mean())
        merits = -torch.stack(errors)
        return Validation({"validation_mel_l1": -merits.mean().item()}, merits.tolist())

    def weights(self, model: VocoderModel) -> dict[str, Tensor]:
        """Weights by FlowSep's names, with weight norm removed."""
        return {PREFIX + key: value for key, value in plain_state(model.vocoder).items()}

    def load(self, model: VocoderModel, weights: dict[str, Tensor]) -> None:
        """Load weights by FlowSep's names."""
        named = {key.removeprefix(PREFIX): value for key, value in weights.items()}
        load_plain(model.vocoder, named)


def sum_of(losses: list[Tensor]) -> Tensor:
    """The sum of the losses (b,) of several discriminators: (b,)."""
    return torch.stack(losses).sum(dim=0)
