"""Conv-TasNet (Luo and Mesgarani 2019, sec. II) with queries: masks over learned filters instead of
spectra.

    mixture (b, c, t) -> encoder, a learned filterbank -> rectified features (b, c, k, n)
    mean over channels, relative to its level, scaled and shifted by the query (b, s, k, n) -> masker -> masks
    masks times features (b, s, c, k, n) -> decoder, a learned filterbank -> targets (b, s, c, t)

k counts filters; encoder, masker (dilated convolutions) and decoder are asteroid's. Scale and shift
(FiLM: Perez et al. 2018) come before the masker's bottleneck, so the masker runs once for each query.
Two things differ from the paper, so that the output scales with the input and long recordings can be
processed in chunks with identical results: features are divided by their level around each frame, and
the masker uses batch norm where the paper prefers norms over all frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import LossOutput, MixtureBatch, Separated, Separator
from ..networks.masks.query_masks import only_queried
from ..objectives.means import mean_where, weighted_mean
from ..objectives.snr import thresholded_waveform_loss

LEVEL_FLOOR = 1e-16  # mean square of features; full scale is around 1


@configuration
class Config:
    """sample_rate in Hz; kernel_samples: length of the filters, twice their hop. Letters of the paper:
    num_filters N, bottleneck_channels B, hidden_channels H, num_blocks X, num_repeats R; its kernels P
    have 3 taps. level_frames: frames on each side over which the level is taken.

    absent_weight: weight in the loss of queries for absent sounds. snr_limit_db: beyond this SNR an
    item's gradient vanishes.
    """

    query_dim: int = 384
    sample_rate: int = 32000
    kernel_samples: int = 128
    num_filters: int = 256
    bottleneck_channels: int = 96
    hidden_channels: int = 192
    num_blocks: int = 7
    num_repeats: int = 2
    level_frames: int = 500
    absent_weight: float = 0.1
    snr_limit_db: float = 30.0

    def __post_init__(self) -> None:
        if self.kernel_samples < 2 or self.kernel_samples % 2:
            raise ValueError(f"kernel_samples is {self.kernel_samples}; expected an even number")


def build(config: Config) -> ConvTasNet:
    """The separator with these settings and random weights. ValueError if asteroid is not installed."""
    return ConvTasNet(config)


class ConvTasNet(nn.Module, Separator):
    """See the module's docstring. Any number of channels: they share the mask, which is computed from
    the mean of their rectified features, in which sounds of opposite phase do not cancel."""

    def __init__(self, config: Config) -> None:
        try:
            from asteroid.masknn import TDConvNet
            from asteroid_filterbanks import make_enc_dec
        except ImportError as error:
            raise ValueError(
                f"Conv-TasNet needs asteroid ({error}): pip install 'qsep[asteroid]'"
            ) from error
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.num_channels = None
        self.query_dim = config.query_dim
        self.stride_samples = config.kernel_samples // 2
        reach_frames = config.num_repeats * (2**config.num_blocks - 1) + config.level_frames
        self.context_samples = reach_frames * self.stride_samples + config.kernel_samples
        self.encoder, self.decoder = make_enc_dec(
            "free", config.num_filters, config.kernel_samples, self.stride_samples
        )
        self.modulation = nn.Linear(config.query_dim, 2 * config.num_filters, bias=False)
        self.masker = TDConvNet(
            config.num_filters,
            n_src=1,
            n_blocks=config.num_blocks,
            n_repeats=config.num_repeats,
            bn_chan=config.bottleneck_channels,
            hid_chan=config.hidden_channels,
            skip_chan=0,
            norm_type="bN",
            mask_act="sigmoid",
        )
        self.masker.varying_axes = (2,)  # see networks/exportable.py; frames

    def encode(self, mixture: Tensor) -> Tensor:
        """mixture (b, c, t) to features (b, c, k, n), non-negative; every sample is covered by two
        frames."""
        hop = self.stride_samples
        padded = F.pad(mixture, (hop, hop + -mixture.shape[-1] % hop))
        return F.relu(self.encoder(padded[:, :, None])[:, :, 0])

    def decode(self, features: Tensor, num_samples: int) -> Tensor:
        """features (..., k, n) to waveforms (..., t), t = num_samples."""
        waveform = self.decoder(features.flatten(0, -3))
        hop = self.stride_samples
        return waveform[:, 0, hop : hop + num_samples].unflatten(0, features.shape[:-2])

    def masks(self, features: Tensor, pooled: Tensor) -> Tensor:
        """features (b, k, n), pooled (b, s, q) to masks (b, s, k, n) in [0, 1]."""
        scale, shift = self.modulation(pooled)[..., None].chunk(2, dim=-2)
        queried = (
            relative_to_level(features, self.config.level_frames)[:, None] * (1 + scale) + shift
        )
        return self.masker(queried.flatten(0, 1))[:, 0].unflatten(0, queried.shape[:2])

    def target(self, mixture: Tensor, pooled: Tensor) -> Tensor:
        """mixture (b, c, t), pooled (b, s, q) to targets (b, s, c, t)."""
        # bfloat16 has only 8 bits of precision.
        with torch.autocast(mixture.device.type, enabled=False):
            features = self.encode(mixture)
        masks = self.masks(features.mean(dim=1), pooled)
        with torch.autocast(mixture.device.type, enabled=False):
            masked = masks.float()[:, :, None] * features[:, None]
            return self.decode(masked, mixture.shape[-1])

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), any scale; queries.pooled (b, s, q). target + residual = mixture."""
        target = self.target(mixture, queries.pooled)
        return Separated(target, mixture[:, None] - target)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Thresholded SNR loss of the waveform, mean over the queries of each mixture."""
        queried = batch.queried()
        present = queried & (batch.sources.abs().amax(dim=(-2, -1)) > 0)
        absent = queried & ~present
        target = self.target(batch.mixture, only_queried(queries, queried).pooled)
        snr_loss = thresholded_waveform_loss(
            target, batch.sources, batch.mixture[:, None], self.config.snr_limit_db
        )
        weight = present + self.config.absent_weight * absent
        return LossOutput(
            total=weighted_mean(snr_loss, weight),
            terms={
                name: mean_where(snr_loss.detach(), chosen)
                for name, chosen in (("present", present), ("absent", absent))
            },
        )


def relative_to_level(features: Tensor, level_frames: int) -> Tensor:
    """Features divided by the root mean square of all features in the surrounding frames: (b, k, n) to
    (b, k, n)."""
    power = features.square().mean(dim=1, keepdim=True)
    size = 2 * level_frames + 1
    level = F.avg_pool1d(power, size, 1, level_frames, count_include_pad=False)
    return features / (level + LEVEL_FLOOR).sqrt()
