"""Hybrid Transformer Demucs: U-Nets on the waveform and on the spectrum, joined by a cross-domain
transformer.

Rouard, Massa and Défossez, "Hybrid transformers for music source separation", ICASSP 2023
(arXiv 2211.08553), sec. 3; the outer layers are those of Défossez, "Hybrid spectrogram and waveform
source separation" (arXiv 2111.03600), sec. 3. Goes with `analyses/waveform.py` and `heads/waveform.py`.
Weights have the released models' names, so that these load without conversion.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import LAYERS, Range, configuration

from ..composition import Inject
from ..demucs.initial_scale import scale_initial_weights
from ..demucs.levels import Decoder, Encoder
from ..demucs.transformer import CrossTransformer


@configuration
class Config:
    """channels: of the first of `depth` levels; each level has `growth` times those of the one before.
    dconv_depth, dconv_compress: layers of the residual branches, and how many times fewer channels
    these have; decoder_branches: whether decoders have them too. window_samples: of the spectrum, whose
    hop is a quarter of it. bottom_channels: of the transformer with num_layers layers; 0 for those of
    the lowest level. frequency_weight: factor of the frequency embedding."""

    channels: int = 48
    depth: Annotated[int, Range(1, 16)] = 4
    growth: int = 2
    window_samples: int = 4096
    kernel: Annotated[int, Range(4, 64)] = 8
    stride: Annotated[int, Range(2, 64)] = 4
    dconv_depth: Annotated[int, LAYERS] = 2
    dconv_compress: Annotated[int, Range(1, 1024)] = 8
    decoder_branches: bool = True
    bottom_channels: Annotated[int, Range(0, 16384)] = 512
    num_layers: int = 5
    num_heads: int = 8
    feed_forward_factor: int = 4
    frequency_weight: float = 0.2

    def __post_init__(self) -> None:
        bins = self.window_samples // 2
        if self.window_samples % 4 or bins % self.stride**self.depth:
            raise ValueError(
                f"window_samples is {self.window_samples}; half of it must divide by "
                f"{self.stride}^{self.depth}"
            )


def build(config: Config, channels: int, num_bands: int, num_maps: int, causal: bool) -> HTDemucs:
    """The network for `channels` input channels. ValueError if causal, or if the analysis is not
    `waveform`."""
    if causal:
        raise ValueError("Hybrid Transformer Demucs is not causal: its attention sees all frames")
    if num_bands != 1:
        raise ValueError(
            "Hybrid Transformer Demucs works on waveforms: its analysis must be 'waveform'"
        )
    return HTDemucs(config, channels, num_maps)


class HTDemucs(nn.Module):
    """The query conditions the transformer's inputs: site 0 on the spectral branch and site 1 on the
    waveform's (sec. 3, "cross-domain transformer encoder")."""

    complete = True

    def __init__(self, config: Config, inputs: int, num_maps: int) -> None:
        super().__init__()
        self.config, self.width = config, num_maps
        sizes = [config.channels * config.growth**level for level in range(config.depth)]
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.tencoder, self.tdecoder = nn.ModuleList(), nn.ModuleList()
        shape = (config.kernel, config.stride)
        branches = (config.dconv_depth, config.dconv_compress)
        back = branches if config.decoder_branches else None
        for level, size in enumerate(sizes):
            outer, first = (sizes[level - 1], False) if level else (inputs, True)
            # Real and imaginary part are two channels.
            self.encoder.append(Encoder(outer * (1 + first), size, *shape, branches, True))
            self.tencoder.append(Encoder(outer, size, *shape, branches, False))
            out = num_maps if first else outer
            self.decoder.insert(0, Decoder(size, out * (1 + first), *shape, back, True, first))
            self.tdecoder.insert(0, Decoder(size, out, *shape, back, False, first))
        self.freq_emb = FrequencyEmbedding(
            config.window_samples // 2 // config.stride, config.channels
        )
        scale_initial_weights(self)
        inner, bottom = sizes[-1], config.bottom_channels or sizes[-1]
        if config.bottom_channels:
            self.channel_upsampler = nn.Conv1d(inner, bottom, 1)
            self.channel_downsampler = nn.Conv1d(bottom, inner, 1)
            self.channel_upsampler_t = nn.Conv1d(inner, bottom, 1)
            self.channel_downsampler_t = nn.Conv1d(bottom, inner, 1)
        self.sites = (bottom, bottom)
        self.crosstransformer = CrossTransformer(
            bottom, config.num_layers, config.num_heads, config.feed_forward_factor
        )

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, c, 1, t) to maps (b, num_maps, 1, t)."""
        waveform = features[:, :, 0]
        num_samples = waveform.shape[-1]
        spectrum = as_channels(self.spectrum(waveform))
        bins, bins_mean, bins_scale = standardised(spectrum)
        samples, samples_mean, samples_scale = standardised(waveform)
        saved, saved_t, lengths = [], [], []
        for level, (encode, encode_t) in enumerate(zip(self.encoder, self.tencoder, strict=True)):
            lengths.append(samples.shape[-1])
            samples, bins = encode_t(samples), encode(bins)
            if level == 0:
                bins = bins + self.config.frequency_weight * self.freq_emb()
            saved.append(bins)
            saved_t.append(samples)
        bins, samples = self.inside(bins, samples, inject)
        for decode, decode_t in zip(self.decoder, self.tdecoder, strict=True):
            bins = decode(bins, saved.pop(), None)
            samples = decode_t(samples, saved_t.pop(), lengths.pop())
        from_spectrum = self.inverse(as_complex(bins * bins_scale + bins_mean), num_samples)
        return (from_spectrum + samples * samples_scale + samples_mean)[:, :, None]

    def inside(self, bins: Tensor, samples: Tensor, inject: Inject) -> tuple[Tensor, Tensor]:
        """Features of the lowest level, (b, d, f, n) and (b, d, m), through the transformer; same
        shapes."""
        grid = bins.shape[2:]
        widened = bool(self.config.bottom_channels)
        if widened:
            bins = self.channel_upsampler(bins.flatten(2)).unflatten(2, grid)
            samples = self.channel_upsampler_t(samples)
        bins, samples = self.crosstransformer(inject(0, bins), inject(1, samples))
        if widened:
            bins = self.channel_downsampler(bins.flatten(2)).unflatten(2, grid)
            samples = self.channel_downsampler_t(samples)
        return bins, samples

    def spectrum(self, waveform: Tensor) -> Tensor:
        """(b, c, t) to (b, c, f, n) without the Nyquist bin; n = ceil(t / hop)."""
        window, hop = self.config.window_samples, self.config.window_samples // 4
        num_frames = -(-waveform.shape[-1] // hop)
        around = hop // 2 * 3
        padded = mirrored(waveform, around, around + num_frames * hop - waveform.shape[-1])
        spec = torch.stft(
            padded.flatten(0, 1),
            window,
            hop,
            window=torch.hann_window(window).to(waveform),
            normalized=True,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        return spec[:, :-1, 2 : 2 + num_frames].unflatten(0, waveform.shape[:2])

    def inverse(self, spec: Tensor, num_samples: int) -> Tensor:
        """(b, m, f, n) to (b, m, t), t = num_samples."""
        window, hop = self.config.window_samples, self.config.window_samples // 4
        padded = F.pad(spec, (2, 2, 0, 1))
        around = hop // 2 * 3
        waveform = torch.istft(
            padded.flatten(0, 1),
            window,
            hop,
            window=torch.hann_window(window).to(spec.real),
            normalized=True,
            center=True,
            length=-(-num_samples // hop) * hop + 2 * around,
        )
        return waveform[:, around : around + num_samples].unflatten(0, spec.shape[:2])


class FrequencyEmbedding(nn.Module):
    """A learned vector for each bin after the first level, scaled up so that it learns faster."""

    scale = 10.0

    def __init__(self, num_bins: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_bins, channels)
        # Smooth over frequency at first: a random walk over bins, divided by the root of its length.
        walk = torch.cumsum(self.embedding.weight.data, dim=0)
        steps = torch.arange(1, num_bins + 1, device=walk.device).sqrt()[:, None]
        self.embedding.weight.data = walk / steps / self.scale

    def forward(self) -> Tensor:
        """The vectors, (d, f, 1)."""
        return (self.embedding.weight * self.scale).T[:, :, None]


def standardised(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each item of (b, ...) to mean 0 and standard deviation 1; also returns that mean and deviation,
    (b, 1, ...)."""
    over = tuple(range(1, values.dim()))
    mean = values.mean(dim=over, keepdim=True)
    # Unbiased, as in the released code; of a single value that would be nan.
    deviation = values.std(dim=over, keepdim=True, correction=min(1, values[0].numel() - 1))
    return (values - mean) / (1e-5 + deviation), mean, deviation


def as_channels(spec: Tensor) -> Tensor:
    """Complex (b, c, f, n) to real (b, 2 c, f, n): real and imaginary part of each channel."""
    return torch.view_as_real(spec).permute(0, 1, 4, 2, 3).flatten(1, 2)


def as_complex(maps: Tensor) -> Tensor:
    """Inverse of `as_channels`."""
    parts = maps.unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2)
    return torch.view_as_complex(parts.contiguous())


def mirrored(waveform: Tensor, left: int, right: int) -> Tensor:
    """(..., t) with `left` and `right` samples of its mirror image at the ends. A waveform too short to
    be mirrored that far gets zeros first."""
    missing = max(left, right) + 1 - waveform.shape[-1]
    if missing > 0:
        # Zeros added here count towards left and right.
        added = min(missing, right)
        waveform = F.pad(waveform, (missing - added, added))
        left, right = left - (missing - added), right - added
    return F.pad(waveform, (left, right), mode="reflect")
