"""FlowSep at its published size with random weights.

    python -m qsep.recipes.benchmarks.costs.random_flowsep -o FOLDER

For measuring time and memory without the released file; it separates nothing. The text encoder has the size
of FLAN-T5-large and a tokenizer without words. KEY=VALUE changes a setting, as sampling.num_steps=1.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qsep.queries.encoders.t5 import T5, Config
from qsep.separation.components import build_separator
from qsep.separation.storage.checkpoint import describe, save_checkpoint
from qsep.separation.storage.config import ENCODER_FOLDER

from ...errors import run_script
from ...training.config import override_value

T5_LARGE = {"d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24, "num_heads": 16}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="the checkpoint folder to write"
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    settings: dict[str, Any] = {}
    for setting in arguments.settings:
        override_value(settings, setting)
    make(arguments.out, settings)


def make(folder: Path, settings: dict[str, Any]) -> None:
    """Write the checkpoint folder. settings: other settings of FlowSep than the published ones."""
    separator = random_separator("flowsep", settings)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        encoder_files = Path(scratch) / ENCODER_FOLDER
        save_random_t5(encoder_files)
        provenance = {"recipe": "random weights", "seed": 0, "step": 0}
        encoder = T5(Config(str(encoder_files), dim=T5_LARGE["d_model"]))
        config = describe("flowsep", separator, "t5", encoder, provenance)
        config["encoder"]["config"]["model"] = f"./{ENCODER_FOLDER}"
        card = "# FlowSep's networks with random weights\n\nFor measuring time and memory alone.\n"
        save_checkpoint(folder, config, separator.state_dict(), card, encoder_files=encoder_files)


def random_separator(kind: str, settings: dict[str, Any]) -> Any:
    """A separator with random weights that keep the signal's level. settings: changes to its defaults."""
    torch.manual_seed(0)
    separator = build_separator(kind, settings)
    for module in separator.modules():
        if isinstance(module, nn.Conv2d) and module.weight.std() < 0.01:  # initialised near zero
            nn.init.kaiming_normal_(module.weight)
    return separator.eval()


def save_random_t5(folder: Path) -> None:
    """Save a T5 encoder of FLAN-T5-large's size with random weights, and its tokenizer."""
    from transformers import T5Config, T5EncoderModel

    save_word_tokenizer(folder, [])
    torch.manual_seed(0)
    config = T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **T5_LARGE)
    T5EncoderModel(config).save_pretrained(folder)


def save_word_tokenizer(folder: Path, words: Sequence[str]) -> None:
    """Save a tokenizer of whole words, numbered after T5's tokens: padding 0, end 1, unknown 2."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    numbers = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(numbers, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


if __name__ == "__main__":
    run_script(main)
