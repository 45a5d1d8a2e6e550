"""The checkpoint of FlowSep's authors: one Lightning file with everything, named as in latent
diffusion.

Used are the velocity network's averaged weights if there are any, the autoencoder, the vocoder and the
scale of latents. The text encoder in the file is FLAN-T5, which was frozen in training; it is run once
for the states of an empty text, which guidance needs. The rest was needed in training only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qsep.queries.encoders.t5 import T5
from qsep.queries.encoders.t5 import Config as T5Config
from qsep.queries.files.weights import read_state_dict

from ...components import from_settings
from ...models.flowsep import Config, FlowSep
from ...networks.mel.bigvgan import half_band
from ...networks.unets.velocity_unet import UNetConfig
from .converted import Converted, below, renamed_keys

UNET, AVERAGES = "model.diffusion_model.", "model_ema."
FIRST_STAGE, TEXT = "first_stage_model.", "cond_stage_models.0.model."
TRAINING_ONLY = re.compile(
    r"logvar|betas|alphas_cumprod(_prev)?|(sqrt|log)_.*alphas_cumprod|posterior_\w+|"
    r"model_ema\.(decay|num_updates)|first_stage_model\.loss\..*"
)
AUTOENCODER_FILE = "vae.ckpt"  # keys without FIRST_STAGE
HUB_NAMES = {1024: "google/flan-t5-large"}  # by width of the token states
END, PADDING = 1, 0  # of T5's tokens

# Names here and released names inside a block; others are the same.
RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "shortcut": "skip_connection",
}
TRANSFORMER = {
    "norm": "norm",
    "proj_in": "proj_in",
    "proj_out": "proj_out",
    "norm1": "transformer_blocks.0.norm1",
    "norm2": "transformer_blocks.0.norm2",
    "norm3": "transformer_blocks.0.norm3",
    "feed_forward.expand": "transformer_blocks.0.ff.net.0.proj",
    "feed_forward.reduce": "transformer_blocks.0.ff.net.2",
} | {
    f"attention{number}.{ours}": f"transformer_blocks.0.attn{number}.{theirs}"
    for number in (1, 2)
    for ours, theirs in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("out", "to_out.0"))
}
SITE = {"block": RESIDUAL, "own": TRANSFORMER, "query": TRANSFORMER}
ATTENTION = {"norm": "norm", "query": "q", "key": "k", "value": "v", "out": "proj_out"}


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """Whether these weights are of this system."""
    return f"{UNET}input_blocks.0.0.weight" in weights


def convert(weights: Mapping[str, Tensor], path: Path) -> Converted:
    """Separator, encoder and weights of a released checkpoint. ValueError with one line if anything
    does not fit; no weights are dropped silently.

    An autoencoder missing in the file is read from vae.ckpt beside it; for a missing text encoder the
    hub's T5 is used.
    """
    weights = with_autoencoder(weights, path)
    try:
        settings = settings_of(weights)
        config: Config = from_settings(Config, settings)
        ours = {"codec.scale": weights["scale_factor"].float()}
        if any(key.startswith(TEXT) for key in weights):
            ours["null"] = empty_text(weights, config.null_tokens)
    except KeyError as error:
        raise ValueError(f"{path}: weights {error.args[0]} of FlowSep are missing") from None
    with torch.device("meta"):
        expected = FlowSep(config).state_dict()
    averaged = any(key.startswith(f"{AVERAGES}diffusion_model") for key in weights)
    used = {"scale_factor"}
    released = {"codec.scale": "scale_factor"}
    for key in expected.keys() - ours.keys() - {"null"}:
        theirs = published_name(key, config)
        used.add(theirs)
        if averaged and theirs.startswith(UNET):
            theirs = AVERAGES + theirs.removeprefix("model.").replace(".", "")
            used.add(theirs)
        if theirs not in weights:
            raise ValueError(f"{path}: weights {theirs} of FlowSep are missing")
        ours[key], released[key] = weights[theirs], theirs
    for key in weights.keys() - used:
        if key.startswith(f"{FIRST_STAGE}vocoder.") and key.endswith(".filter"):
            check_filter(weights[key], key, path)
        elif not key.startswith(TEXT) and not TRAINING_ONLY.fullmatch(key):
            raise ValueError(f"{path}: weights {key} are not part of FlowSep")
    if config.query_dim not in HUB_NAMES:
        expected_dims = " or ".join(map(str, HUB_NAMES))
        raise ValueError(
            f"{path}: takes token states of width {config.query_dim}; expected {expected_dims}"
        )
    encoder: dict[str, Any] = {
        "model": HUB_NAMES[config.query_dim],
        "dim": config.query_dim,
        "max_tokens": config.null_tokens,
    }
    if "null" not in ours:
        ours["null"] = T5(T5Config(**encoder)).nothing()
    provenance = {"recipe": "FlowSep", "seed": None, "step": None}
    return Converted("flowsep", settings, "t5", encoder, ours, provenance, renamed_keys(released))


def with_autoencoder(weights: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """The weights with the autoencoder of vae.ckpt beside the file, if they have none."""
    beside = path.parent / AUTOENCODER_FILE
    if f"{FIRST_STAGE}post_quant_conv.weight" in weights or not beside.is_file():
        return weights
    return {
        **weights,
        **{FIRST_STAGE + key: value for key, value in read_state_dict(beside).items()},
    }


def settings_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The separator's settings, from the shapes of its weights. KeyError for missing weights.

    What does not follow from shapes (rates, dilations, widths of heads and groups) is as published.
    """
    channels = [weights[f"{UNET}input_blocks.0.0.weight"].shape[0]]
    attends, sites = [], 0
    for block in count(1):
        start = f"{UNET}input_blocks.{block}."
        if f"{start}0.op.weight" in weights:
            channels.append(channels[-1])
        elif f"{start}0.out_layers.3.weight" in weights:
            channels[-1] = weights[f"{start}0.out_layers.3.weight"].shape[0]
            attends.append(f"{start}2.norm.weight" in weights)
            sites += 1
        else:
            break
    num_blocks = sites // len(channels)
    keys = f"{UNET}middle_block.2.transformer_blocks.0.attn2.to_k.weight"
    latent_channels = weights[f"{FIRST_STAGE}post_quant_conv.weight"].shape[0]
    vae = f"{FIRST_STAGE}encoder.down."
    vae_levels = consecutive(weights, f"{vae}{{}}.block.0.conv1.weight")
    vocoder = f"{FIRST_STAGE}vocoder."
    ups = consecutive(weights, f"{vocoder}ups.{{}}.0.weight")
    blocks = consecutive(weights, f"{vocoder}resblocks.{{}}.convs1.0.weight")
    into = weights[f"{vocoder}conv_pre.weight"]
    return {
        "query_dim": weights[keys].shape[1],
        "null_tokens": 50,
        "mel": {"num_bands": into.shape[1]},
        "vae": {
            "channels": [level.shape[0] for level in vae_levels],
            "latent_channels": latent_channels,
            "num_blocks": len(consecutive(weights, f"{vae}0.block.{{}}.conv1.weight")),
        },
        "unet": {
            "channels": channels,
            "num_blocks": num_blocks,
            "attention_free": attends.index(True) // num_blocks,
            "spare_channels": weights[f"{UNET}out.2.weight"].shape[0] - latent_channels,
        },
        "vocoder": {
            "channels": into.shape[0],
            "kernels": [up.shape[2] for up in ups],
            "block_kernels": [block.shape[2] for block in blocks[: len(blocks) // len(ups)]],
        },
    }


def consecutive(weights: Mapping[str, Tensor], pattern: str) -> list[Tensor]:
    """Weights whose names fit the pattern with 0, 1, …; at least one. KeyError if there is none."""
    matching = [weights[pattern.format(0)]]
    for number in count(1):
        if pattern.format(number) not in weights:
            break
        matching.append(weights[pattern.format(number)])
    return matching


def published_name(key: str, config: Config) -> str:
    """The released name of a weight here."""
    module, _, kind = key.rpartition(".")
    if module.startswith("unet."):
        return f"{UNET}{unet_module(module.split('.')[1:], config.unet)}.{kind}"
    if module.startswith("codec.vae."):
        depth = len(config.vae.channels)
        return f"{FIRST_STAGE}{vae_module(module.split('.')[2:], depth)}.{kind}"
    blocks = len(config.vocoder.block_kernels)
    theirs = vocoder_module(module.split(".")[2:], blocks)
    return f"{FIRST_STAGE}vocoder.{theirs}.{kind.removeprefix('log_')}"


def unet_module(parts: list[str], config: UNetConfig) -> str:
    """The released name of a module of the velocity network, given as the parts of its name here."""
    first = parts[0]
    plain = {
        "conv_in": "input_blocks.0.0",
        "norm_out": "out.0",
        "conv_out": "out.2",
        "time": f"time_embed.{0 if parts[-1] == 'expand' else 2}",
    }
    if first in plain:
        return plain[first]
    if first == "middle_out":
        return f"middle_block.3.{RESIDUAL[parts[1]]}"
    if first == "middle":
        return f"middle_block.{in_site(parts[1:])}"
    index = int(parts[1])
    if first == "downs":
        block = f"input_blocks.{index + 1}."
        return f"{block}0.op" if len(parts) == 2 else block + in_site(parts[2:])
    level, index_in_level = divmod(index, config.num_blocks + 2)
    block = (
        f"output_blocks.{level * (config.num_blocks + 1) + min(index_in_level, config.num_blocks)}."
    )
    if parts[2] != "conv":
        return block + in_site(parts[2:])
    attends = len(config.channels) - 1 - level >= config.attention_free
    return f"{block}{3 if attends else 1}.conv"


def in_site(parts: list[str]) -> str:
    """The same for a module inside a site."""
    position = list(SITE).index(parts[0])
    return f"{position}.{SITE[parts[0]]['.'.join(parts[1:])]}"


def vae_module(parts: list[str], depth: int) -> str:
    """The released name of a module of the autoencoder with `depth` levels."""
    if parts[0] in ("to_moments", "from_latent"):
        return {"to_moments": "quant_conv", "from_latent": "post_quant_conv"}[parts[0]]
    side, part, *rest = parts
    if part == "middle":
        index, name = rest
        if index == "1":
            return f"{side}.mid.attn_1.{ATTENTION[name]}"
        return f"{side}.mid.block_{1 if index == '0' else 2}.{name}"
    if part not in ("levels", "downs", "ups"):
        return f"{side}.{part}"
    level, stage = int(rest[0]), "down"
    if side == "decoder":  # its levels are numbered the other way round
        level, stage = depth - 1 - level, "up"
    if part != "levels":
        return f"{side}.{stage}.{level}.{stage}sample.conv"
    name = "nin_shortcut" if rest[2] == "shortcut" else rest[2]
    return f"{side}.{stage}.{level}.block.{rest[1]}.{name}"


def vocoder_module(parts: list[str], num_blocks: int) -> str:
    """The released name of a module of the vocoder with num_blocks residual blocks a stage."""
    plain = {"conv_in": "conv_pre", "conv_out": "conv_post", "activation": "activation_post.act"}
    if parts[0] in plain:
        return plain[parts[0]]
    if parts[0] == "ups":
        return f"ups.{parts[1]}.0"
    stage, block, dilation, layer = (int(parts[index]) for index in (1, 3, 5, 6))
    start = f"resblocks.{num_blocks * stage + block}."
    if layer % 2:
        return f"{start}convs{1 + layer // 2}.{dilation}"
    return f"{start}activations.{2 * dilation + layer // 2}.act"


def check_filter(stored: Tensor, key: str, path: Path) -> None:
    """ValueError unless the stored filter is that of BigVGAN's activations."""
    if not torch.allclose(stored.flatten().float(), half_band(), atol=1e-4):
        raise ValueError(f"{path}: {key} is not the filter of BigVGAN's activations")


def empty_text(weights: Mapping[str, Tensor], num_tokens: int) -> Tensor:
    """States (num_tokens, d) of an empty text with padding, by the T5 in the file. KeyError for missing
    weights."""
    from transformers import T5Config as NetworkConfig
    from transformers import T5EncoderModel

    text = below(weights, TEXT)
    layer = "encoder.block.0.layer."
    bias = text[f"{layer}0.SelfAttention.relative_attention_bias.weight"]
    config = NetworkConfig(
        vocab_size=text["shared.weight"].shape[0],
        d_model=text["shared.weight"].shape[1],
        d_kv=text[f"{layer}0.SelfAttention.q.weight"].shape[0] // bias.shape[1],
        d_ff=text[f"{layer}1.DenseReluDense.wi_0.weight"].shape[0],
        num_layers=len(consecutive(text, "encoder.block.{}.layer.0.SelfAttention.q.weight")),
        num_heads=bias.shape[1],
        relative_attention_num_buckets=bias.shape[0],
        feed_forward_proj="gated-gelu",
    )
    with torch.device("meta"):
        encoder = T5EncoderModel(config).eval()
    # The same weights under another name.
    text.setdefault("encoder.embed_tokens.weight", text["shared.weight"])
    encoder.load_state_dict({key: text[key] for key in encoder.state_dict()}, assign=True)
    tokens = torch.tensor([[END] + [PADDING] * (num_tokens - 1)])
    with torch.inference_mode():
        states = encoder(input_ids=tokens, attention_mask=(tokens == END).long())
    return states.last_hidden_state[0].clone()
