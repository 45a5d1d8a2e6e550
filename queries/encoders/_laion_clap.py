"""CLAP as LAION released it (Wu et al. 2023, arXiv 2211.06687), under the names that transformers uses.

Such weights are 630k-audioset-best.pt, music_speech_audioset_epoch_15_esc_89.98.pt and others, and a
part of AudioSep's checkpoints. The networks are the same; only names, and one matrix in three, differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

PREFIXES = (
    "module.",  # LAION's training
    "query_encoder.model.",  # AudioSep
    "module.net_clap.model.model.",  # bi-modal weakly supervised separation
    "clap_model.model.",  # CLAPSep
    "",
)
MARK = "text_branch.embeddings.word_embeddings.weight"
UNUSED = (  # the spectrogram is computed elsewhere, the others serve training alone
    r"audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\.",
    r"(audio|text)_transform\.",
    r".*\.attn_mask$",
)
NAMES = (
    (r"^text_branch\.", "text_model."),
    (r"^audio_branch\.bn0\.", "audio_model.audio_encoder.batch_norm."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"^(audio|text)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(audio|text)_projection\.2\.", r"\1_projection.linear2."),
    (r"(blocks\.\d+\.)norm1\.", r"\1layernorm_before."),
    (r"(blocks\.\d+\.)norm2\.", r"\1layernorm_after."),
    (r"(blocks\.\d+\.)attn\.proj\.", r"\1attention.output.dense."),
    (r"(blocks\.\d+\.)attn\.", r"\1attention.self."),
    (r"(blocks\.\d+\.)mlp\.fc1\.", r"\1intermediate.dense."),
    (r"(blocks\.\d+\.)mlp\.fc2\.", r"\1output.dense."),
)
HEAD_WIDTH = 64  # of RoBERTa, in every size
FEATURES = {  # of LAION's training; transformers' own defaults begin at 0 Hz
    "frequency_min": 50,
    "frequency_max": 14000,
    "padding": "repeatpad",
}


def convert(weights: Mapping[str, Tensor], source: str | Path) -> Any:
    """A transformers.ClapModel with these weights, loaded strictly, in evaluation mode.

    Weights without CLAP's prefix, of other parts of the checkpoint, are ignored. source: for messages.
    Raises ValueError if the weights are not CLAP or do not fit.
    """
    from transformers import ClapModel
    from transformers.utils import logging

    from ..files.weights import load_weights

    prefix = next((prefix for prefix in PREFIXES if prefix + MARK in weights), None)
    if prefix is None:
        raise ValueError(f"{source}: holds no CLAP in LAION's layout (no {MARK})")
    theirs = {
        key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)
    }
    try:
        config = configuration(theirs)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{source}: not LAION's CLAP with HTS-AT and RoBERTa ({error})") from error
    ours = renamed(theirs)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    model = ClapModel(config)
    logging.set_verbosity(verbosity)
    for key, value in model.state_dict().items():
        if key.endswith(("position_ids", "token_type_ids")):  # counts, stored by some versions only
            ours[key] = value
    load_weights(model, ours, str(source))
    return model.eval()


def renamed(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under transformers' names, with joint matrices of query, key and value split."""
    ours = {}
    for key, value in theirs.items():
        if any(re.match(pattern, key) for pattern in UNUSED):
            continue
        for pattern, name in NAMES:
            key = re.sub(pattern, name, key)
        if ".self.qkv." in key:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                ours[key.replace("qkv", part)] = third
        else:
            ours[key] = value
    return ours


def configuration(theirs: Mapping[str, Tensor]) -> Any:
    """transformers' ClapConfig, from the weights' shapes."""
    from transformers import ClapAudioConfig, ClapConfig, ClapTextConfig

    layers = count(theirs, r"text_branch\.encoder\.layer\.(\d+)\.")
    vocabulary, width = theirs["text_branch.embeddings.word_embeddings.weight"].shape
    text = ClapTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // HEAD_WIDTH),
        intermediate_size=len(theirs["text_branch.encoder.layer.0.intermediate.dense.weight"]),
        max_position_embeddings=len(theirs["text_branch.embeddings.position_embeddings.weight"]),
        type_vocab_size=len(theirs["text_branch.embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=1e-5,  # RoBERTa's; transformers' default for CLAP is another
        projection_dim=len(theirs["text_projection.2.weight"]),
    )
    audio_branch = "audio_branch.layers"
    stages = range(count(theirs, r"audio_branch\.layers\.(\d+)\."))
    depths = [count(theirs, rf"audio_branch\.layers\.{stage}\.blocks\.(\d+)\.") for stage in stages]
    tables = [
        theirs[f"{audio_branch}.{stage}.blocks.0.attn.relative_position_bias_table"]
        for stage in stages
    ]
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=len(theirs["audio_branch.patch_embed.proj.weight"]),
        depths=depths,
        num_attention_heads=[table.shape[1] for table in tables],
        window_size=(round(len(tables[0]) ** 0.5) + 1) // 2,
        num_hidden_layers=len(depths),
        hidden_size=theirs["audio_projection.0.weight"].shape[1],
        num_mel_bins=len(theirs["audio_branch.bn0.weight"]),
        enable_fusion="audio_branch.patch_embed.mel_conv2d.weight" in theirs,
        fusion_type="aff_2d" if "audio_branch.patch_embed.mel_conv2d.weight" in theirs else None,
        projection_dim=len(theirs["audio_projection.2.weight"]),
    )
    return ClapConfig(
        text_config=text.to_dict(),
        audio_config=audio.to_dict(),
        projection_dim=text.projection_dim,
    )


def count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers the pattern's group matches in the names."""
    return len({int(match[1]) for key in weights if (match := re.match(pattern, key))})


def feature_extractor(model: Any) -> Any:
    """The feature extractor (log mel spectrograms) of the model's training."""
    from transformers import ClapFeatureExtractor

    fused = model.config.audio_config.enable_fusion
    return ClapFeatureExtractor(truncation="fusion" if fused else "rand_trunc", **FEATURES)
