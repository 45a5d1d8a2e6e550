"""BERT's encoder built from torch's layers, read from a Hugging Face folder; equal to BertModel.

It spares importing transformers, which takes several seconds, longer than separating a short recording.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..files.json_files import json_content
from ..files.weights import read_tensors

QKV = ("query", "key", "value")
LAYER_NAMES = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}


class Bert(nn.Module):
    """Devlin et al. (2019), post-norm, without pooler: token ids (b, k) to states (b, k, d)."""

    def __init__(
        self,
        vocabulary: int,
        max_tokens: int,
        width: int,
        num_layers: int,
        num_heads: int,
        feed_forward: int,
        norm_epsilon: float,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(max_tokens, width)
        self.segment = nn.Parameter(torch.zeros(width))  # of the first, and here only, segment
        self.norm = nn.LayerNorm(width, norm_epsilon)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                num_heads,
                feed_forward,
                dropout=0.0,
                activation="gelu",
                layer_norm_eps=norm_epsilon,
                batch_first=True,
            )
            for _ in range(num_layers)
        )

    def forward(self, token_ids: Tensor) -> Tensor:
        """Token ids (b, k), without padding, to states (b, k, d)."""
        positions = self.positions.weight[: token_ids.shape[1]]
        states: Tensor = self.norm(self.words(token_ids) + positions + self.segment)
        for layer in self.layers:
            states = layer(states)
        return states


def load_bert(folder: Path) -> Bert:
    """config.json and model.safetensors of a BertModel, in evaluation mode, float32."""
    config = json_content(folder / "config.json")
    if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
        raise ValueError(f"{folder}: not a BERT with GELU ({config['model_type']})")
    bert = Bert(
        config["vocab_size"],
        config["max_position_embeddings"],
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["intermediate_size"],
        config["layer_norm_eps"],
    )
    stored = read_tensors(folder / "model.safetensors")
    weights = {
        "words.weight": stored["embeddings.word_embeddings.weight"],
        "positions.weight": stored["embeddings.position_embeddings.weight"],
        "segment": stored["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": stored["embeddings.LayerNorm.weight"],
        "norm.bias": stored["embeddings.LayerNorm.bias"],
    }
    for index in range(config["num_hidden_layers"]):
        theirs, ours = f"encoder.layer.{index}.", f"layers.{index}."
        for kind in ("weight", "bias"):
            projections = [stored[f"{theirs}attention.self.{name}.{kind}"] for name in QKV]
            weights[f"{ours}self_attn.in_proj_{kind}"] = torch.cat(projections)
            for our_name, their_name in LAYER_NAMES.items():
                weights[f"{ours}{our_name}.{kind}"] = stored[f"{theirs}{their_name}.{kind}"]
    bert.load_state_dict(weights, strict=True)
    return bert.eval()
