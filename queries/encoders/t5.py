"""Token states of a T5 encoder, as FlowSep reads its queries (FLAN-T5; Chung et al. 2022)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..interface import Query, QueryEmbedding, QueryEncoder, TextQuery, check_readable
from ..settings import configuration

if TYPE_CHECKING:
    from torch import Tensor

IDENTIFYING = ("config.json", "tokenizer.json", "spiece.model", "model.safetensors")
OTHER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@configuration
class Config:
    """model: a name on the hub, or a folder with the encoder's weights (safetensors) and tokenizer.
    dim: width of its states. max_tokens: longer texts are cut; FlowSep was trained with 50."""

    model: str = "google/flan-t5-large"
    dim: int = 1024
    max_tokens: int = 50


def build(config: Config) -> T5:
    """See `T5`."""
    return T5(config)


class T5(QueryEncoder):
    """The encoder's state of each token; pooled is their mean. Loaded at the first query."""

    modalities: frozenset[type[Query]] = frozenset({TextQuery})

    def __init__(self, config: Config) -> None:
        self.config = config
        self.dim = self.token_dim = config.dim
        folder = Path(config.model)
        name = f"folder-{fingerprint(folder)}" if folder.is_dir() else config.model
        self.fingerprint = f"t5-{name}-{config.max_tokens}"

    @cached_property
    def network(self) -> tuple[Any, Any]:
        """(tokenizer, encoder), float32."""
        import torch
        from transformers import AutoTokenizer, T5EncoderModel

        name = self.config.model
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            encoder = T5EncoderModel.from_pretrained(name, dtype=torch.float32)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"the text encoder {name} cannot be loaded ({reason}); fetch it once where the hub is "
                "reachable, or convert the model again with encoder.model=FOLDER"
            ) from error
        if encoder.config.d_model != self.dim:
            raise ValueError(
                f"{name} has states {encoder.config.d_model} wide, expected {self.dim}; set encoder.dim"
            )
        return tokenizer, encoder.eval().to(self.device)

    def carry(self, folder: Path) -> dict[str, Any]:
        """As `QueryEncoder.carry`: copies a local encoder; one on the hub stays there."""
        source = Path(self.config.model)
        if not source.is_dir():  # a name on the hub, which means the same anywhere
            return dataclasses.asdict(self.config)
        for name in (*IDENTIFYING, *OTHER_FILES):
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        return dataclasses.asdict(self.config) | {"model": str(folder)}

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """pooled (b, dim); tokens (b, k, dim), zeros where token_mask is False.

        One query at a time, so that states do not depend on the batch; they equal those of padded texts.
        """
        check_readable(self, queries)
        import torch
        from torch.nn.utils.rnn import pad_sequence

        tokenizer, encoder = self.network
        states: list[Tensor] = []
        with torch.inference_mode():
            for query in queries:
                assert isinstance(query, TextQuery)  # the only kind that is readable
                text = tokenizer(query.text, truncation=True, max_length=self.config.max_tokens)
                ids = torch.tensor([text["input_ids"]], device=self.device)
                states.append(encoder(input_ids=ids).last_hidden_state[0].cpu())
        tokens = pad_sequence(states, batch_first=True).clone()  # no inference tensor leaves
        lengths = torch.tensor([len(tokens_of_query) for tokens_of_query in states])
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        pooled = torch.stack([tokens_of_query.mean(dim=0) for tokens_of_query in states])
        return QueryEmbedding(pooled.clone(), tokens, mask)

    def nothing(self) -> Tensor:
        """States (max_tokens, dim) of an empty text with its padding: FlowSep's null query."""
        import torch

        tokenizer, encoder = self.network
        text = tokenizer(
            "", padding="max_length", max_length=self.config.max_tokens, return_tensors="pt"
        )
        with torch.inference_mode():
            states: Tensor = encoder(**text.to(self.device)).last_hidden_state[0].cpu()
        return states.clone()


def fingerprint(folder: Path) -> str:
    """The first 16 digits of a SHA-256 over the files that determine the states."""
    digest = hashlib.sha256()
    names = [name for name in IDENTIFYING if (folder / name).is_file()]
    if "model.safetensors" not in names:
        raise ValueError(f"{folder}: no model.safetensors here; give the folder of a T5 encoder")
    for name in names:
        with (folder / name).open("rb") as file:
            digest.update(
                json.dumps([name, hashlib.file_digest(file, "sha256").hexdigest()]).encode()
            )
    return digest.hexdigest()[:16]
