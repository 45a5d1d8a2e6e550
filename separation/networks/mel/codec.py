"""FlowSep's way from waveforms to latents and back.

    waveform (..., t) -> log-mel (..., n, k) -> VAE -> latent (..., d, n / 4, k / 4)
    latent -> VAE -> log-mel -> vocoder -> waveform, whose phase is new

Yuan et al., "FlowSep" (2025).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...signal.mel import MelConfig, log_mel
from .bigvgan import PIECE_FRAMES, BigVGAN, VocoderConfig
from .vae import MelVAE, VAEConfig


class MelCodec(nn.Module):
    """Log-mel front end, autoencoder and vocoder. All methods take any leading dimensions.

    scale: of latents, 1 / standard deviation; 0 until it is known. ValueError if the vocoder's hop is
    not that of the log-mel spectrogram.
    """

    scale: Tensor

    def __init__(self, mel: MelConfig, vae: VAEConfig, vocoder: VocoderConfig) -> None:
        super().__init__()
        self.mel = mel
        self.vae = MelVAE(vae)
        self.vocoder = BigVGAN(vocoder, mel.num_bands)
        self.register_buffer("scale", torch.zeros(()))
        if self.vocoder.hop_samples != mel.hop_samples:
            raise ValueError(
                f"the product of vocoder.rates is {self.vocoder.hop_samples}; expected mel.hop_samples, "
                f"{mel.hop_samples}"
            )

    def log_mel(self, waveform: Tensor) -> Tensor:
        """(..., t), clipped to [-1, 1], to natural logarithms (..., t // hop_samples, k)."""
        return clipped_log_mel(waveform, self.mel)

    def encode(self, log_mel: Tensor, noise: Tensor | None = None) -> Tensor:
        """(..., n, k) to scaled latents (..., d, n / 4, k / 4): the posterior's mean, or with noise of
        that shape a sample of it."""
        posterior = self.vae.encode(log_mel.reshape(-1, 1, *log_mel.shape[-2:]))
        latent = posterior.mean if noise is None else posterior.sample(noise)
        return (latent * self.known_scale()).reshape(*log_mel.shape[:-2], *latent.shape[1:])

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (..., d, n / 4, k / 4) to (..., n, k)."""
        log_mel = self.vae.decode((latent / self.known_scale()).flatten(0, -4))
        return log_mel.reshape(*latent.shape[:-3], *log_mel.shape[-2:])

    def vocode(self, log_mel: Tensor, num_samples: int) -> Tensor:
        """(..., n, k) to (..., t), t = num_samples <= n * hop_samples."""
        context = self.vocoder.context_frames
        needed = max(-(-num_samples // self.mel.hop_samples), PIECE_FRAMES) + context
        frames = log_mel[..., :needed, :].transpose(-1, -2)
        pieces = self.vocoder.pieces(frames.reshape(-1, *frames.shape[-2:]))
        waveform = torch.cat(list(pieces), dim=-1)
        return waveform[:, 0, :num_samples].reshape(*log_mel.shape[:-2], num_samples)

    def known_scale(self) -> Tensor:
        """`scale`, or 1 until it is known."""
        return torch.where(self.scale > 0, self.scale, 1)


def clipped_log_mel(waveform: Tensor, config: MelConfig) -> Tensor:
    """(..., t), clipped to [-1, 1], to (..., t // hop_samples, k): `log_mel` without its last frame."""
    return log_mel(waveform.clamp(-1, 1), config)[..., :-1, :]
