"""CLAP with token states and a differentiable audio encoder, for bi-modal weak supervision.

Mahmud et al. (2024) query by the text's vector and the states of RoBERTa's 77 positions; in training they
use the similarity of separated sounds and texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..interface import (
    Query,
    QueryEmbedding,
    QueryEncoder,
    SoundEncoder,
    TextQuery,
    check_readable,
)
from ..settings import configuration
from .clap import Clap
from .clap import Config as ClapConfig

if TYPE_CHECKING:
    from torch import Tensor

WINDOW_SAMPLES, HOP_SAMPLES = 1024, 480
FLOOR = 1e-10  # of powers, under the logarithm


@configuration
class Config:
    """model, checkpoint, tokenizer: as of `clap`. token_dim: width of the text network's states. num_tokens:
    length to which texts are padded; the states of padding are attended to as well."""

    model: str = "laion/clap-htsat-unfused"
    checkpoint: str = ""
    tokenizer: str = ""
    token_dim: int = 768
    num_tokens: int = 77


def build(config: Config) -> ClapTokens:
    """See `ClapTokens`."""
    return ClapTokens(config)


class ClapTokens(QueryEncoder):
    """Reads text: pooled as by `clap`, and tokens (b, num_tokens, token_dim), none of them masked."""

    modalities: frozenset[type[Query]] = frozenset({TextQuery})
    unit_norm = True
    sample_rate = 48000

    def __init__(self, config: Config) -> None:
        self.config, self.token_dim = config, config.token_dim
        self.clap = Clap(ClapConfig(config.model, config.checkpoint, config.tokenizer))
        self.dim = self.clap.dim
        self.fingerprint = f"{self.clap.fingerprint}-tokens-{config.num_tokens}"

    @cached_property
    def network(self) -> Any:
        """A transformers.ClapModel, float32, on the device, frozen."""
        self.clap.device = self.device
        model, _ = self.clap.network
        if (width := model.config.text_config.hidden_size) != self.token_dim:
            raise ValueError(
                f"{self.config.checkpoint or self.config.model}: its states are {width} wide, expected "
                f"{self.token_dim}; set encoder.token_dim"
            )
        return model.requires_grad_(False)

    def carry(self, folder: Path) -> dict[str, Any]:
        """As `QueryEncoder.carry`."""
        settings = {"token_dim": self.token_dim, "num_tokens": self.config.num_tokens}
        return self.clap.carry(folder) | settings

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """pooled (len(queries), dim), of unit norm; tokens (len(queries), num_tokens, token_dim)."""
        import torch

        check_readable(self, queries)
        model = self.network  # not in inference mode: gradients may pass through it later
        pooled, tokens = [], []
        for query in queries:
            assert isinstance(query, TextQuery)
            text = self.clap.tokenizer(
                query.text,
                padding="max_length",
                truncation=True,
                max_length=self.config.num_tokens,
                return_tensors="pt",
            ).to(self.device)
            with torch.no_grad():
                output = model.text_model(text["input_ids"], text["attention_mask"])
                vector = model.text_projection(output.pooler_output)
            pooled.append(torch.nn.functional.normalize(vector, dim=-1).cpu())
            tokens.append(output.last_hidden_state.cpu())
        states = torch.cat(tokens)
        return QueryEmbedding(
            torch.cat(pooled), states, torch.ones(states.shape[:2], dtype=torch.bool)
        )

    def release(self) -> None:
        """As `QueryEncoder.release`."""
        super().release()
        self.clap.release()

    @property
    def sound_encoder(self) -> SoundEncoder:
        """The encoder itself."""
        return self

    def similarity_scale(self) -> float:
        """As `SoundEncoder.similarity_scale`."""
        return float(self.network.logit_scale_a.exp())

    def embed_sound(self, waveform: Tensor) -> Tensor:
        """Audio (n, t) at 48 kHz to unit vectors (n, dim), as by `clap`: at most ten seconds, shorter
        audio is repeated as often as it fits and padded with silence."""
        import torch

        features = self.log_mel(padded(waveform, 10 * self.sample_rate))
        longer = torch.zeros(len(waveform), 1, dtype=torch.bool, device=waveform.device)
        sound = self.network.get_audio_features(features[:, None], is_longer=longer).pooler_output
        return torch.nn.functional.normalize(sound, dim=-1)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Audio (n, t) to log mel energies in dB (n, frames, 64), as by CLAP's feature extractor."""
        import torch

        spec = torch.stft(
            waveform,
            WINDOW_SAMPLES,
            HOP_SAMPLES,
            window=torch.hann_window(WINDOW_SAMPLES, device=waveform.device),
            pad_mode="reflect",
            return_complex=True,
        )
        power = torch.view_as_real(spec).square().sum(dim=-1)
        return 10 * (power.transpose(1, 2) @ self.filters).clamp_min(FLOOR).log10()

    @cached_property
    def filters(self) -> Tensor:
        """The feature extractor's mel filters, (bins, 64)."""
        import torch

        slaney = torch.from_numpy(self.clap.network[1].mel_filters_slaney).float()
        return slaney.to(self.device)


def padded(waveform: Tensor, num_samples: int) -> Tensor:
    """Audio (n, t) to (n, num_samples): cut, or repeated as often as it fits and padded with zeros."""
    import torch.nn.functional as F

    repeated = waveform.repeat(1, max(1, num_samples // waveform.shape[-1]))[:, :num_samples]
    return F.pad(repeated, (0, num_samples - repeated.shape[-1]))
