"""Checkpoints of AudioSep, USS and the baseline of DCASE 2024 task 9, as saved by Lightning or weights
alone.

All three have the same separator under `ss_model.`, and their frozen query encoder beside it:
AudioSep's CLAP under `query_encoder.model.`, USS's tagger under `query_net.base.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .converted import Converted, released_names
from .fourier import check_fourier

PREFIX = "ss_model."
NUM_LEVELS = 6
FRONT_ENDS = {  # by number of frequency bins; the hop does not follow from the weights
    1025: {"sample_rate": 32000, "window_samples": 2048, "hop_samples": 320},
    513: {"sample_rate": 16000, "window_samples": 1024, "hop_samples": 160},
}
ENCODERS: dict[int, tuple[str, dict[str, Any]]] = {  # by width of the queries
    512: ("clap", {}),
    527: ("panns", {"output": "probabilities"}),
    2048: ("panns", {"output": "embedding"}),
}
# Prefix of the encoder's weights in the checkpoint, and the file beside it that is used without them.
RELEASED_ENCODERS = {
    "clap": ("query_encoder.model.", "music_speech_audioset_epoch_15_esc_89.98.pt"),
    "panns": ("query_net.base.", "Cnn14_mAP=0.431.pth"),
}
TOKENIZER = "roberta-base"
OTHERS = ("query_encoder.model.", "query_net.base.", "anchor_segment_detector.")
TRANSFORMS = {"base.stft.conv_real", "base.stft.conv_imag", "base.istft.conv_real"}
TRANSFORMS |= {"base.istft.conv_imag"}


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """Whether these weights are of this system."""
    return f"{PREFIX}base.pre_conv.weight" in weights


def convert(weights: Mapping[str, Tensor], path: Path) -> Converted:
    """Separator, encoder and weights of a released checkpoint. ValueError with one line if anything
    does not fit; no weights are dropped silently."""
    modules = published_modules()
    ours = {}
    for key, value in weights.items():
        if key.startswith(OTHERS):
            continue
        module, _, name = key.removeprefix(PREFIX).rpartition(".")
        if not key.startswith(PREFIX) or module not in modules:
            raise ValueError(f"{path}: weights {key} are not part of AudioSep, USS or the baseline")
        if target := modules[module]:
            ours[f"{target}.{name}"] = value
    settings = settings_of(weights, path)
    check_fourier(
        weights.get(f"{PREFIX}base.stft.conv_real.weight"), settings["window_samples"], path
    )
    encoder_kind, encoder_settings = query_encoder(weights, settings["query_dim"], path)
    recipe = "ResUNet30 of AudioSep" if encoder_kind == "clap" else "ResUNet30 of USS"
    provenance = {"recipe": recipe, "seed": None, "step": None}
    released = released_names(modules, PREFIX)
    return Converted(
        "resunet30", settings, encoder_kind, encoder_settings, ours, provenance, released
    )


def settings_of(weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The separator's settings, from the shapes of its weights. ValueError for missing weights and
    unknown sizes."""
    widths = [
        f"base.encoder_block{level}.conv_block1.conv2.weight" for level in range(1, NUM_LEVELS + 1)
    ]
    film = "film.encoder_block1->conv_block1->beta1.weight"
    shapes = {}
    for name in (film, "base.bn0.weight", *widths):
        if PREFIX + name not in weights:
            raise ValueError(f"{path}: weights {PREFIX}{name} are missing")
        shapes[name] = weights[PREFIX + name].shape
    query_dim, num_bins = shapes[film][-1], shapes["base.bn0.weight"][0]
    if num_bins not in FRONT_ENDS:
        raise ValueError(
            f"{path}: made for {num_bins} frequency bins; expected 1025 (32 kHz) or 513 (16 kHz)"
        )
    if query_dim not in ENCODERS:
        expected = "512 (CLAP), 527 or 2048 (PANNs)"
        raise ValueError(f"{path}: made for queries of width {query_dim}; expected {expected}")
    channels = [shapes[name][0] for name in widths]
    return {"query_dim": query_dim, "channels": channels} | FRONT_ENDS[num_bins]


def query_encoder(
    weights: Mapping[str, Tensor], query_dim: int, path: Path
) -> tuple[str, dict[str, Any]]:
    """Kind and settings of the encoder in this file, or in its own release beside it. ValueError if
    there is neither."""
    kind, settings = ENCODERS[query_dim]
    prefix, release = RELEASED_ENCODERS[kind]
    if kind == "clap" and (path.parent / TOKENIZER).is_dir():  # else from the hub or its cache
        settings = {"tokenizer": str(path.parent / TOKENIZER)}
    if any(key.startswith(prefix) for key in weights):
        return kind, {"checkpoint": str(path), **settings}
    beside = path.parent / release
    if beside.is_file():
        return kind, {"checkpoint": str(beside), **settings}
    raise ValueError(f"{path}: has no query encoder; put {release} beside it")


def published_modules() -> dict[str, str | None]:
    """Released names of modules (without "ss_model.") and their names here; None for modules that are
    computed here or unused."""
    modules: dict[str, str | None] = dict.fromkeys([*TRANSFORMS, "base.istft"])
    modules |= {"base.bn0": "norm", "base.pre_conv": "unet.stem", "base.after_conv": "unet.head"}

    def norm(theirs: str, number: int, ours: str) -> None:
        """A batch norm, and its offset from FiLM."""
        modules[f"base.{theirs}.bn{number}"] = f"{ours}.norm"
        modules[f"film.{theirs.replace('.', '->')}->beta{number}"] = f"{ours}.offset"

    def block(theirs: str, ours: str) -> None:
        for number in (1, 2):
            norm(theirs, number, f"{ours}.norm{number}")
            modules[f"base.{theirs}.conv{number}"] = f"{ours}.conv{number}"
        modules[f"base.{theirs}.shortcut"] = f"{ours}.shortcut"

    for level in range(NUM_LEVELS):
        block(f"encoder_block{level + 1}.conv_block1", f"unet.encoders.{level}")
        theirs, ours = f"decoder_block{NUM_LEVELS - level}", f"unet.decoders.{level}"
        norm(theirs, 1, f"{ours}.norm")
        modules[f"base.{theirs}.conv1"] = f"{ours}.raising"
        block(f"{theirs}.conv_block2", f"{ours}.block")
        modules[f"base.{theirs}.bn2"] = modules[f"film.{theirs}->beta2"] = None  # never used
    block("conv_block7a.conv_block1", "unet.bottom")
    return modules
