"""Small checkpoints of query encoders in their real formats, made in milliseconds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from installed import import_open_clip
from numpy.typing import NDArray
from PIL import Image
from tiny import tiny_tagger

WORDS = ["a", "dog", "barks", "rain", "falls", "on", "tin"]
T5_DIM = 12
MERGES = ["d o", "do g", "Ġ b", "Ġb a", "r a"]
CLAP_WIDTH, CLIP_WIDTH = 20, 22
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": CLIP_WIDTH,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


def save_tokenizer(folder: Path) -> Path:
    """RoBERTa's, of single bytes and five merges: vocab.json, merges.txt, tokenizer_config.json."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable]
    letters += [chr(256 + index) for index in range(len(others))]
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters]
    words += [merge.replace(" ", "") for merge in MERGES]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: row for row, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]))
    settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def save_clap(folder: Path, fused: bool = False, seed: int = 0) -> Path:
    """As transformers saves laion/clap-htsat-unfused (or -fused), CLAP_WIDTH wide."""
    from transformers import (
        ClapAudioConfig,
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        ClapTextConfig,
    )

    text = ClapTextConfig(
        vocab_size=266,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=28,
        max_position_embeddings=40,
        projection_dim=CLAP_WIDTH,
    )
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8,
        depths=[1, 2, 1, 1],
        num_attention_heads=[1, 2, 2, 4],
        hidden_size=64,
        enable_fusion=fused,
        fusion_type="aff_2d" if fused else None,
        projection_dim=CLAP_WIDTH,
    )
    config = ClapConfig(
        text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=CLAP_WIDTH
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ClapModel(config)
        for (
            parameter
        ) in model.parameters():  # transformers starts so near zero that all sounds are alike
            if parameter.dim() > 1:
                parameter.data.normal_(std=parameter[0].numel() ** -0.5)
    model.save_pretrained(folder)
    truncation = "fusion" if fused else "rand_trunc"
    extractor = ClapFeatureExtractor(
        frequency_min=50, frequency_max=14000, truncation=truncation, padding="repeatpad"
    )
    extractor.save_pretrained(folder)
    return save_tokenizer(folder)


def save_clip_config(folder: Path, name: str = "tiny-clip") -> Path:
    """A network for open_clip, CLIP_WIDTH wide, of pictures 32 x 32."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(CLIP_CONFIG))
    return path


def clip_model(seed: int = 0) -> Any:
    """open_clip's network of this configuration, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return import_open_clip().CLIP(**CLIP_CONFIG).eval()


def pixels(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth picture, that scaling leaves like itself: (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def save_tiny_t5(folder: Path, seed: int = 0, dim: int = T5_DIM) -> Path:
    """A T5 encoder with gated GELU, as FLAN-T5 has it, and a tokenizer of ten words."""
    from transformers import T5Config, T5EncoderModel

    from qsep.recipes.benchmarks.costs.random_flowsep import save_word_tokenizer

    save_word_tokenizer(folder, WORDS)
    config = T5Config(
        vocab_size=3 + len(WORDS),
        d_model=dim,
        d_kv=4,
        d_ff=10,
        num_layers=2,
        num_heads=3,
        feed_forward_proj="gated-gelu",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = T5EncoderModel(config)
        for weight in encoder.parameters():
            if weight.dim() > 1:
                weight.data.normal_(std=0.5)
    encoder.save_pretrained(folder)
    return folder


def save_tiny_panns(folder: Path) -> Path:
    """Cnn14.pth as PANNs release it, and AudioSet's list of labels beside it."""
    state = tiny_tagger().state_dict() | {
        "spectrogram_extractor.stft.conv_real.weight": torch.ones(513, 1, 1024),
        "logmel_extractor.melW": tiny_tagger().mel,
    }
    torch.save({"iteration": 1, "sampler": {}, "model": state}, folder / "Cnn14.pth")
    rows = [f'{index},/m/{index},"Sound {index}, quiet"' for index in range(527)]
    text = "\n".join(["index,mid,display_name", *rows]) + "\n"
    (folder / "class_labels_indices.csv").write_text(text)
    return folder
