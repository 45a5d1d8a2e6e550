"""CLAP (Wu et al. 2023, arXiv 2211.06687): text and sound in one space, through transformers.

It stands in CLIP's place in any separator: [encoder] kind = "clap".
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
RECIPE = 1  # raised with every change here that changes answers
DESCRIPTION = "config.json"
ROBERTA = "roberta-base"  # whose tokenizer LAION's networks read by


@configuration
class Config:
    """model: a name on the hub, or a folder as transformers saves one. checkpoint: instead of it a file
    that holds CLAP in LAION's layout (630k-audioset-best.pt, AudioSep's checkpoints).
    tokenizer: name or folder of the tokenizer, if it does not lie with the model; a checkpoint
    has none, and means roberta-base."""

    model: str = "laion/clap-htsat-unfused"
    checkpoint: str = ""
    tokenizer: str = ""


def build(config: Config) -> Clap:
    return Clap(config)


class Clap(QueryEncoder):
    """Projections of unit norm; of several recordings the mean, brought to unit norm again.

    A recording is read at 48 kHz, one channel, ten seconds: the first of longer ones; a shorter one
    is repeated as often as it fits, then padded by silence. Nothing is drawn at random.
    Loads its network at the first call of encode.
    """

    modalities: frozenset[type] = frozenset({TextQuery, AudioQuery})
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
        """From the content of what lies here, and the names of what does not."""
        digest = hashlib.sha256(f"{RECIPE}".encode())
        for place in (self.config.checkpoint or self.config.model, self.config.tokenizer):
            files = [Path(place)] if Path(place).is_file() else []
            if place and Path(place).is_dir():
                files = sorted(path for path in Path(place).iterdir() if path.is_file())
            digest.update(b"files" if files else place.encode())
            for path in files:
                if path.suffix != ".md":
                    with path.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
        here = "checkpoint" if self.config.checkpoint else "folder" if self.folder else None
        return f"clap-{here or self.config.model.replace('/', '-')}-{digest.hexdigest()[:16]}"

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
        model = ROBERTA if self.config.checkpoint else self.config.model
        return pretrained(load_tokenizer, self.config.tokenizer or model)

    def carry(self, folder: Path) -> dict[str, Any]:
        """Write what lies in files here into `folder`; the settings of one that takes it from there."""
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
        except ValueError:  # not to be had now, but perhaps when it is needed
            if self.config.tokenizer or self.folder:
                raise
            return {"model": str(folder), "tokenizer": ROBERTA}
        return {"model": str(folder)}

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """One query at a time, unpadded: the answer cannot depend on what else is asked."""
        check_readable(self, queries)
        import torch

        with torch.inference_mode():
            rows = torch.cat([self.row(query) for query in queries])
        return QueryEmbedding(rows.clone())

    def row(self, query: Query) -> Tensor:
        """(1, d), of unit norm."""
        import torch
        import torch.nn.functional as F

        from ..media import read_recording

        if isinstance(query, TextQuery):
            return self.text(query.text)
        if isinstance(query, AudioQuery):
            rate = self.network[1].sampling_rate
            heard = [read_recording(item, rate, MAX_SECONDS) for item in query.examples]
            mean = torch.cat([self.audio(samples) for samples in heard]).mean(dim=0, keepdim=True)
            return F.normalize(mean, dim=-1)
        raise unreadable(self, query)

    def text(self, text: str) -> Tensor:
        model, _ = self.network
        positions = model.config.text_config.max_position_embeddings
        # RoBERTa counts positions from one past its padding token's number.
        most = positions - model.config.text_config.pad_token_id - 1
        tokens = self.tokenizer(text, truncation=True, max_length=most, return_tensors="pt")
        found: Tensor = model.get_text_features(tokens["input_ids"].to(self.device)).pooler_output
        return found.cpu()

    def audio(self, samples: NDArray[Any]) -> Tensor:
        """samples: (t,) at 48 kHz, t from 1 to ten seconds' worth."""
        import torch

        model, extractor = self.network
        features = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        # Not the extractor's is_longer: fused models see a mark on clips that are not, drawn at random.
        longer = torch.zeros(1, 1, dtype=torch.bool, device=self.device)
        spectrogram = features["input_features"].float().to(self.device)
        found: Tensor = model.get_audio_features(spectrogram, is_longer=longer).pooler_output
        return found.cpu()


def projection_width(folder: Path) -> int:
    path = folder / DESCRIPTION
    try:
        return int(json.loads(path.read_text("utf-8"))["projection_dim"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder}: not the folder of a CLAP model as transformers saves one ({error!r})"
        ) from error


def pretrained(load: Callable[..., Any], name: str, **options: Any) -> Any:
    """From a folder, from the hub's cache, or fetched; one line where it cannot be had."""
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
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(name, **options)
    # Without its files transformers makes an empty one, in silence.
    if len(found) <= len(found.all_special_ids):
        raise OSError("its tokenizer's files are missing")
    return found


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """transformers shows one for the instant that reading a file takes."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    with warnings.catch_warnings(action="ignore"):  # of settings in the environment
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
