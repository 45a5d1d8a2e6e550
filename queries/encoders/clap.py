"""CLAP (Wu et al. 2023, arXiv 2211.06687): text and audio in one space, through transformers.

Usable in place of CLIP with any separator: [encoder] kind = "clap".
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.json_files import json_content
from ..interface import (
    AudioQuery,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
    check_readable,
    unreadable,
)
from ..settings import configuration

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

WIDTH = 512  # of every released CLAP
MAX_SECONDS = 10.0
RECIPE = 1  # to be raised with every change that changes embeddings
DESCRIPTION = "config.json"
ROBERTA = "roberta-base"  # the tokenizer of LAION's networks


@configuration
class Config:
    """model: a name on the hub, or a folder in transformers' format. checkpoint: instead of a model, a file
    with CLAP in LAION's layout (630k-audioset-best.pt, AudioSep's checkpoints). tokenizer: its name or
    folder, by default the model's, or roberta-base for a checkpoint."""

    model: str = "laion/clap-htsat-unfused"
    checkpoint: str = ""
    tokenizer: str = ""


def build(config: Config) -> Clap:
    """See `Clap`."""
    return Clap(config)


class Clap(QueryEncoder):
    """Projections of unit norm; for several recordings their mean, normalised again.

    A recording is used at 48 kHz, mono, ten seconds long: longer ones are cut, shorter ones repeated as often
    as they fit and padded with silence. Deterministic. The network is loaded at the first call of encode.
    Raises ValueError if the model's files are missing or of another kind.
    """

    modalities: frozenset[type[Query]] = frozenset({TextQuery, AudioQuery})
    unit_norm = True

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = Path(config.model) if Path(config.model).is_dir() else None
        self.dim = WIDTH
        if config.checkpoint:
            if not Path(config.checkpoint).is_file():
                raise ValueError(
                    f"{config.checkpoint}: no such file; give a checkpoint with CLAP in it"
                )
        elif self.folder:
            self.dim = projection_width(self.folder)
        elif not re.fullmatch(r"[\w.-]+/[\w.-]+", config.model):
            raise ValueError(
                f"CLAP model {config.model!r} is neither a folder nor a name on the hub, "
                "as laion/clap-htsat-unfused"
            )
        self.fingerprint = self.identify()

    def identify(self) -> str:
        """A fingerprint of the content of local files and the names of models on the hub."""
        digest = hashlib.sha256(f"{RECIPE}".encode())
        for name in (self.config.checkpoint or self.config.model, self.config.tokenizer):
            files = [Path(name)] if Path(name).is_file() else []
            if name and Path(name).is_dir():
                files = sorted(path for path in Path(name).iterdir() if path.is_file())
            digest.update(b"files" if files else name.encode())
            for path in files:
                if path.suffix != ".md":
                    with path.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
        local = "checkpoint" if self.config.checkpoint else "folder" if self.folder else None
        return f"clap-{local or self.config.model.replace('/', '-')}-{digest.hexdigest()[:16]}"

    @cached_property
    def network(self) -> tuple[Any, Any]:
        """(model, feature extractor), float32."""
        if self.config.checkpoint:
            from ..files.weights import read_state_dict
            from ._laion_clap import convert, feature_extractor

            path = Path(self.config.checkpoint)
            model = convert(read_state_dict(path), path)
            extractor = feature_extractor(model)
        else:
            from transformers import ClapFeatureExtractor, ClapModel

            extractor = pretrained(ClapFeatureExtractor.from_pretrained, self.config.model)
            model, notes = pretrained(
                ClapModel.from_pretrained, self.config.model, output_loading_info=True
            )
            if lacking := sorted(notes["missing_keys"]):
                raise ValueError(f"{self.config.model}: weights {lacking[0]} are missing")
            model = model.float().eval()
        if model.config.projection_dim != self.dim:
            raise ValueError(
                f"{self.config.checkpoint or self.config.model}: its embeddings are "
                f"{model.config.projection_dim} wide, not {self.dim}; give it as a folder"
            )
        return model.to(self.device), extractor

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of transformers."""
        model = ROBERTA if self.config.checkpoint else self.config.model
        return pretrained(load_tokenizer, self.config.tokenizer or model)

    def carry(self, folder: Path) -> dict[str, Any]:
        """As `QueryEncoder.carry`: copies local models; models on the hub stay there."""
        if not self.config.checkpoint and not self.folder:
            if self.config.tokenizer and Path(self.config.tokenizer).is_dir():
                self.tokenizer.save_pretrained(folder)
                return asdict(self.config) | {"tokenizer": str(folder)}
            return asdict(self.config)
        model, extractor = self.network
        model.save_pretrained(folder)
        extractor.save_pretrained(folder)
        try:
            self.tokenizer.save_pretrained(folder)
        except ValueError:  # cannot be fetched now, but perhaps when it is needed
            if self.config.tokenizer or self.folder:
                raise
            return {"model": str(folder), "tokenizer": ROBERTA}
        return {"model": str(folder)}

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`; one query at a time, so that embeddings do not depend on the batch."""
        check_readable(self, queries)
        import torch

        with torch.inference_mode():
            rows = torch.cat([self.row(query) for query in queries])
        return QueryEmbedding(rows.clone())

    def row(self, query: Query) -> Tensor:
        """The embedding (1, d) of one query, of unit norm."""
        import torch
        import torch.nn.functional as F

        from ..media import read_recording

        if isinstance(query, TextQuery):
            return self.text(query.text)
        if isinstance(query, AudioQuery):
            rate = self.network[1].sampling_rate
            recordings = [read_recording(item, rate, MAX_SECONDS) for item in query.examples]
            rows = [self.audio(samples) for samples in recordings]
            mean = torch.cat(rows).mean(dim=0, keepdim=True)
            return F.normalize(mean, dim=-1)
        raise unreadable(self, query)

    def text(self, text: str) -> Tensor:
        """The embedding (1, d) of a text, cut to the network's number of positions."""
        model, _ = self.network
        positions = model.config.text_config.max_position_embeddings
        # RoBERTa counts positions from one past its padding token's id.
        max_tokens = positions - model.config.text_config.pad_token_id - 1
        tokens = self.tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        pooled: Tensor = model.get_text_features(tokens["input_ids"].to(self.device)).pooler_output
        return pooled.cpu()

    def audio(self, samples: NDArray[Any]) -> Tensor:
        """The embedding (1, d) of a recording: samples (t,) at 48 kHz, 1 <= t <= ten seconds."""
        import torch

        model, extractor = self.network
        features = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        # Not the extractor's is_longer, which fused models set at random on clips that are not longer.
        longer = torch.zeros(1, 1, dtype=torch.bool, device=self.device)
        spectrogram = features["input_features"].float().to(self.device)
        pooled: Tensor = model.get_audio_features(spectrogram, is_longer=longer).pooler_output
        return pooled.cpu()


def projection_width(folder: Path) -> int:
    """Width of the embeddings by a folder's config.json; ValueError if it is not a CLAP model."""
    path = folder / DESCRIPTION
    try:
        return int(json_content(path)["projection_dim"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder}: not the folder of a CLAP model as transformers saves one ({error!r})"
        ) from error


def pretrained(load: Callable[..., Any], name: str, **options: Any) -> Any:
    """`load` from a folder, the hub's cache or the hub; ValueError if it cannot be loaded."""
    from ..files.hub import check_reachable

    try:
        with no_progress_bar():
            return load(name, local_files_only=True, **options)
    except Exception as error:  # whatever the libraries that read the files raise
        if Path(name).is_dir():
            raise ValueError(f"{name}: damaged, or not a CLAP ({first_line(error)})") from error
    try:
        check_reachable(name, DESCRIPTION)
        return load(name, **options)
    except Exception as error:
        raise ValueError(
            f"{name} is not here: {first_line(error)}; run 'hf download {name}' with a network, "
            "or name a folder of it in the encoder's settings"
        ) from error


def load_tokenizer(name: str, **options: Any) -> Any:
    """A tokenizer of transformers; OSError if its files are missing."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name, **options)
    # Without its files transformers silently creates an empty one.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise OSError("its tokenizer's files are missing")
    return tokenizer


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """A context without transformers' progress bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    with warnings.catch_warnings(action="ignore"):  # about settings in the environment
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type if that is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)
