"""Training of FlowSep's variational autoencoder of log-mel spectrograms (separation/networks/mel/vae.py).

Laplace reconstruction loss, KL divergence from the standard normal distribution, and a patch discriminator
whose weight follows the ratio of gradients: Rombach et al. (2022), appendix G; Liu et al., "AudioLDM" (2023).
Their perceptual loss, by a network trained on photographs, is left out.
"""

from __future__ import annotations

from dataclasses import field

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding, QueryEncoder
from qsep.queries.settings import configuration
from qsep.separation.interface import LossOutput, MixtureBatch
from qsep.separation.networks.mel.codec import clipped_log_mel
from qsep.separation.networks.mel.discriminators import PatchConfig, PatchDiscriminator
from qsep.separation.networks.mel.vae import MelVAE, VAEConfig
from qsep.separation.objectives.adversarial import (
    adaptive_weight,
    hinge_discriminator,
    hinge_generator,
)
from qsep.separation.objectives.laplace import laplace_loss
from qsep.separation.signal.mel import MelConfig

from ...data.mixtures.interface import Mixtures
from ...data.wording import PhraseBook
from ..config import Recipe, model_settings
from .interface import Discriminator, Task, Validation
from .waveforms import draw_waveforms

KIND = "mel_vae"
PREFIX, SCALE = "codec.vae.", "codec.scale"  # names of its weights in FlowSep


@configuration
class Config:
    """mel, vae: as FlowSep's. kl_weight: weight of the divergence. discriminator_weight: weight of the
    adversarial loss, times the ratio of gradients at the last layer, from step discriminator_start on.
    learn_scale: learn the scale of the Laplace distribution, else it stays 1. mixture_probability: how
    often the input is a whole mixture instead of one of its sources.
    """

    mel: MelConfig = field(default_factory=MelConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    discriminator: PatchConfig = field(default_factory=PatchConfig)
    kl_weight: float = 1.0
    discriminator_weight: float = 0.5
    discriminator_start: int = 50_001
    learn_scale: bool = True
    mixture_probability: float = 0.0


def build(recipe: Recipe, book: PhraseBook, encoder: QueryEncoder) -> AutoencoderTask:
    """The task of a recipe."""
    config = model_settings(recipe, KIND, Config)
    torch.manual_seed(recipe.train.seed)
    return AutoencoderTask(AutoencoderModel(config), PatchDiscriminator(config.discriminator))


class AutoencoderModel(nn.Module):
    """FlowSep's autoencoder with its front end, from waveforms to log-mel spectrograms.

    Raises ValueError for a number of mel bands that the network cannot halve.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.sample_rate = config, config.mel.sample_rate
        self.vae = MelVAE(config.vae)
        self.log_scale = nn.Parameter(torch.zeros(()), requires_grad=config.learn_scale)
        if config.mel.num_bands % self.vae.stride:
            raise ValueError(
                f"mel.num_bands is {config.mel.num_bands}; expected a multiple of {self.vae.stride}"
            )

    def log_mel(self, batch: MixtureBatch, generator: torch.Generator) -> Tensor:
        """Log-mel spectrograms (b, 1, n, k), n rounded down to a multiple of the network's stride."""
        waveforms = draw_waveforms(batch, self.config.mixture_probability, generator)
        frames = clipped_log_mel(waveforms, self.config.mel)[:, None]
        return frames[:, :, : frames.shape[2] // self.vae.stride * self.vae.stride]


class AutoencoderTask(Task):
    """Trains the autoencoder with a patch discriminator."""

    part, kind = "autoencoder", KIND

    def __init__(self, model: AutoencoderModel, discriminator: PatchDiscriminator) -> None:
        self.model = model
        self.discriminator: Discriminator | None = Discriminator(
            discriminator, model.config.discriminator_start, self.discriminator_loss
        )

    def loss(
        self,
        model: AutoencoderModel,
        batch: MixtureBatch,
        queries: QueryEmbedding,
        generator: torch.Generator,
        discriminator: PatchDiscriminator | None,
    ) -> LossOutput:
        """The loss of the autoencoder, see Task.loss. Queries are not used."""
        config = model.config
        log_mel, reconstructed, divergence = reconstruct(model, batch, generator)
        error = laplace_loss(log_mel, reconstructed, model.log_scale)
        total = error + config.kl_weight * divergence
        terms = {"mel_l1": (log_mel - reconstructed).abs().mean(dim=(1, 2, 3)), "kl": divergence}
        if discriminator is not None:
            adversarial = hinge_generator(discriminator(reconstructed))
            last_layer = model.vae.decoder.conv_out.weight
            weight = adaptive_weight(error.mean(), adversarial.mean(), last_layer)
            total = total + config.discriminator_weight * weight * adversarial
            terms |= {"adversarial": adversarial, "discriminator_weight": weight.expand(len(total))}
        return LossOutput(total, {name: term.detach() for name, term in terms.items()})

    def discriminator_loss(
        self, discriminator: PatchDiscriminator, batch: MixtureBatch, generator: torch.Generator
    ) -> LossOutput:
        """The discriminator's hinge loss on real and reconstructed log-mels, (b,)."""
        with torch.no_grad():  # no gradient for the autoencoder
            log_mel, reconstructed, _ = reconstruct(self.model, batch, generator)
        loss = hinge_discriminator(discriminator(log_mel), discriminator(reconstructed))
        return LossOutput(loss, {"discriminator": loss.detach()})

    @torch.no_grad()  # measures, does not learn
    def score(
        self, model: AutoencoderModel, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> Validation:
        """Mean absolute error of log-mels (natural logarithm) decoded from the posterior's mean."""
        device, generator = model.log_scale.device, torch.Generator().manual_seed(0)
        errors = []
        for draw in range(num_items):
            log_mel = model.log_mel(data.collate([data[draw]]).to(device), generator)
            reconstructed = model.vae.decode(model.vae.encode(log_mel).mean)
            errors.append((log_mel - reconstructed).abs().mean())
        merits = -torch.stack(errors)
        return Validation({"validation_mel_l1": -merits.mean().item()}, merits.tolist())

    def weights(self, model: AutoencoderModel) -> dict[str, Tensor]:
        """Weights by FlowSep's names; a latent scale of 0 makes FlowSep measure it."""
        named = {PREFIX + key: value for key, value in model.vae.state_dict().items()}
        return named | {SCALE: torch.zeros(())}

    def load(self, model: AutoencoderModel, weights: dict[str, Tensor]) -> None:
        """Load weights by FlowSep's names."""
        named = {key.removeprefix(PREFIX): weights[key] for key in weights if key != SCALE}
        model.vae.load_state_dict(named)


def reconstruct(
    model: AutoencoderModel, batch: MixtureBatch, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-mels (b, 1, n, k), their reconstruction from a sampled latent, and the KL divergence (b,)."""
    log_mel = model.log_mel(batch, generator)
    posterior = model.vae.encode(log_mel)
    noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
    return log_mel, model.vae.decode(posterior.sample(noise)), posterior.divergence()
