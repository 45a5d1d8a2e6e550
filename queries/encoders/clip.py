"""CLIP (Radford et al. 2021): text and pictures in one space, through open_clip.

The defaults are those of CLIPSep (Dong et al. 2023, arXiv 2212.07065): OpenAI's ViT-B/32, embeddings
as the network gives them, "a photo of {}", pictures brought to 224 on their short side (bicubic) and
cropped to their centre.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..interface import (
    ImageQuery,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
    check_readable,
    unreadable,
)
from ..settings import configuration

if TYPE_CHECKING:
    from torch import Tensor

# Averaged in the paper's evaluation, where one occurs twice.
ENSEMBLE = (
    "a photo of {}.",
    "a photo of the small {}.",
    "a photo of the small {}.",
    "a low resolution photo of a {}.",
    "a photo of many {}.",
)
OPENAI_FILE = "ViT-B-32.pt"  # as OpenAI's own package leaves it in ~/.cache/clip
OPENAI_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
OPENAI_MODELS = ("ViT-B-32-quickgelu", "ViT-B-32")
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
PREPARATION = ("mean", "std", "interpolation", "resize_mode")  # of pictures, by what a tag says
INSTALL = "CLIP needs open_clip: pip install 'qsep[clip]'"
ARCHITECTURES = Path(__file__).parents[1] / "architectures"  # ours, beside open_clip's
RANDOM, RANDOM_SEED = "random", 0


@configuration
class Config:
    """model: a name in open_clip's list, qsep-small, or the path of such a configuration (.json); the
    quickgelu in the default's name is OpenAI's activation, without which their weights mean little.
    weights: a tag in open_clip's list, a file (OpenAI's ViT-B-32.pt, a state dict, safetensors), or
    "random": untrained, always the same, which tells simple pictures apart; checkpoints then contain them.
    prompts: templates whose embeddings are averaged, {} for the query's text; one template, or
    "ensemble" for the five of CLIPSep's evaluation. normalise: whether to bring to unit norm."""

    model: str = OPENAI_MODELS[0]
    weights: str = "openai"
    prompts: str | tuple[str, ...] = "a photo of {}"
    normalise: bool = False


def build(config: Config) -> Clip:
    """See `Clip`."""
    return Clip(config)


class Clip(QueryEncoder):
    """CLIP's embeddings of texts and pictures; for several frames or templates their mean.

    Embeddings do not depend on the batch. The network is loaded at the first call of encode.
    Raises ValueError for unknown models and missing weights.
    """

    modalities: frozenset[type[Query]] = frozenset({TextQuery, ImageQuery})

    def __init__(self, config: Config) -> None:
        self.config = config
        self.unit_norm = config.normalise
        self.belongs_to_model = config.weights == RANDOM
        self.prompts = templates(config.prompts)
        architecture = architecture_path(config.model).read_bytes()
        self.dim = embedding_width(architecture, config.model)
        is_path = any(letter in config.weights for letter in "./\\")  # no tag holds one
        self.weights_path = Path(config.weights) if is_path else None
        self.fingerprint = self.identify(architecture)

    def identify(self, architecture: bytes) -> str:
        """A fingerprint of architecture, weights and prompts. architecture: open_clip's JSON."""
        weights = self.config.weights
        if self.weights_path:
            weights = file_sha256(self.weights_path)
            weights = "openai" if weights == OPENAI_SHA256 else weights[:16]
        parts = [hashlib.sha256(architecture).hexdigest(), self.prompts, self.config.normalise]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
        return f"clip-{Path(self.config.model).stem}-{weights}-{digest}"

    @cached_property
    def network(self) -> tuple[Any, Any, Callable[[Any], Tensor]]:
        """(model, tokenizer, image transform), float32."""
        try:
            import open_clip
        except ImportError as error:
            raise ValueError(INSTALL) from error

        architecture = architecture_path(self.config.model)
        name = architecture.stem
        if architecture.parent != Path(open_clip.__file__).parent / "model_configs":
            open_clip.add_model_config(architecture)
        with quiet():
            has_tag = not (self.weights_path or self.config.weights == RANDOM)
            tag = known_tag(name, self.config.weights) if has_tag else {}
            path = self.tagged_file(name, tag) if has_tag else self.weights_path
            with random_weights():
                model = open_clip.create_model(
                    name,
                    load_weights=False,
                    pretrained_text=False,
                    force_quick_gelu=tag.get("quick_gelu", False),  # open_clip would only warn
                )
            if path:
                load_file(model, path)
            tokenizer = open_clip.get_tokenizer(name)
        preparation = {key: tag[key] for key in PREPARATION if key in tag}
        transform = open_clip.image_transform(
            model.visual.image_size, is_train=False, **preparation
        )
        return model.eval().to(self.device), tokenizer, transform

    def tagged_file(self, name: str, tag: dict[str, Any]) -> Path:
        """The weights of a tag: OpenAI's file if it is in their package's cache, else the hub's."""
        from ..files.hub import hub_file

        if self.config.weights == "openai" and name in OPENAI_MODELS:
            cached = Path.home() / ".cache" / "clip" / OPENAI_FILE
            if cached.is_file() and file_sha256(cached) == OPENAI_SHA256:
                return cached
        repository, file = os.path.split(tag["hf_hub"])
        try:
            return hub_file(repository, *([file] if file else HUB_FILES))
        except ValueError as error:
            raise ValueError(
                f"CLIP's weights {name} {self.config.weights!r} are not here: {error}; run 'hf download "
                f"{repository}' with a network, or name a file of them as the encoder's setting weights"
            ) from error

    def carry(self, folder: Path) -> dict[str, Any]:
        """As `QueryEncoder.carry`; only random weights are written."""
        settings = super().carry(folder)
        if self.config.weights != RANDOM:
            return settings
        from safetensors.torch import save_file

        model = folder / f"{Path(self.config.model).stem}.json"
        model.write_bytes(architecture_path(self.config.model).read_bytes())
        weights = folder / "clip.safetensors"
        state = self.network[0].state_dict()
        save_file({key: value.contiguous().cpu() for key, value in state.items()}, weights)
        return settings | {"model": str(model), "weights": str(weights)}

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`."""
        check_readable(self, queries)
        import torch

        with torch.inference_mode():
            rows = torch.stack([self.row(query) for query in queries])
            if self.config.normalise:
                rows = torch.nn.functional.normalize(rows, dim=-1)
        return QueryEmbedding(rows.clone())

    def row(self, query: Query) -> Tensor:
        """The embedding (d,) of one query, the mean over prompts or frames."""
        import torch

        from ..media import read_picture

        if isinstance(query, TextQuery):
            model, tokenizer, _ = self.network
            texts = [prompt.replace("{}", query.text) for prompt in self.prompts]
            rows = model.encode_text(tokenizer(texts).to(self.device))
        elif isinstance(query, ImageQuery):
            pictures = [read_picture(frame) for frame in query.frames]
            model, _, transform = self.network
            images = torch.stack([transform(picture) for picture in pictures])
            rows = model.encode_image(images.to(self.device))
        else:
            raise unreadable(self, query)
        mean: Tensor = rows.float().mean(dim=0).cpu()
        return mean


def templates(prompts: str | tuple[str, ...]) -> tuple[str, ...]:
    """The templates of the setting `prompts`; ValueError for one without {}."""
    if prompts == "ensemble":
        return ENSEMBLE
    chosen = (prompts,) if isinstance(prompts, str) else prompts
    for prompt in chosen or ("",):
        if "{}" not in prompt:
            raise ValueError(
                f"prompts: {prompt!r} has no place for the query's text; write {{}} there, "
                "or 'ensemble' for CLIPSep's five templates"
            )
    return chosen


def architecture_path(model: str) -> Path:
    """The JSON file of a model in open_clip, found without importing it, which takes seconds."""
    if model.endswith(".json"):
        path = Path(model)
        if not path.is_file():
            raise ValueError(f"{path}: no such file; expected a model configuration of open_clip")
        return path
    shipped = ARCHITECTURES / f"{model}.json"
    if shipped.is_file():
        return shipped
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ValueError(INSTALL)
    path = Path(spec.origin).parent / "model_configs" / f"{model}.json"
    if not path.is_file():
        raise ValueError(f"CLIP model {model!r} is not in open_clip's list (open_clip.list_models)")
    return path


def embedding_width(architecture: bytes, model: str) -> int:
    """Width of the embeddings by open_clip's JSON; ValueError if it is malformed. model: for the message."""
    try:
        return int(json.loads(architecture)["embed_dim"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{model}: not a model configuration of open_clip ({error!r})") from error


def known_tag(name: str, weights: str) -> dict[str, Any]:
    """open_clip's entry for a tag of weights; ValueError for an unknown tag."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights not in tags:
        raise ValueError(
            f"CLIP weights {weights!r} are neither a file nor open_clip's for {name}; "
            f"it lists {', '.join(tags) or 'none'}"
        )
    return dict(open_clip.get_pretrained_cfg(name, weights))


def load_file(model: Any, path: Path) -> None:
    """Load weights strictly from PyTorch's format, safetensors, or OpenAI's archive of ViT-B/32.

    Raises ValueError for other TorchScript files, whose code would have to be run, and for damaged ones.
    """
    import torch

    from ..files.weights import load_weights, read_state_dict

    if is_archive(path):
        if file_sha256(path) != OPENAI_SHA256:
            raise ValueError(
                f"{path}: a TorchScript program, and not OpenAI's ViT-B/32 by its SHA-256; "
                "programs are not run: give the weights alone"
            )
        weights = dict(torch.jit.load(path, map_location="cpu").state_dict())
        for fact in ("input_resolution", "context_length", "vocab_size"):
            weights.pop(fact, None)
    else:
        weights = read_state_dict(path)
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    load_weights(model, weights, str(path))


def is_archive(path: Path) -> bool:
    """Whether the file contains TorchScript code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


@contextmanager
def random_weights() -> Iterator[None]:
    """A context in which networks on the CPU start from the same weights; the global seed stays."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        yield


def file_sha256(path: Path) -> str:
    """A file's SHA-256; ValueError if it does not exist."""
    if not path.is_file():
        raise ValueError(f"CLIP weights {path}: no such file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """A context that suppresses open_clip's log messages, such as that it loads no weights."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
