"""CLIP with a vector for each patch of a picture besides the one of the whole picture.

A vision transformer's last layer has a state for each patch. The norm and the projection that CLIP applies to
the state of the whole picture bring them into the same space: the tokens of a picture. The default has
14 x 14 patches, that of `clip` 7 x 7.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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
from ..media import read_picture
from ..settings import configuration
from .clip import Clip, architecture_path
from .clip import Config as ClipConfig

if TYPE_CHECKING:
    from torch import Tensor


@configuration
class Config:
    """model, weights, prompts: as of `clip`; the model's pictures must go through a vision transformer."""

    model: str = "ViT-B-16-quickgelu"
    weights: str = "openai"
    prompts: str | tuple[str, ...] = "a photo of {}"


def build(config: Config) -> ClipPatches:
    """See `ClipPatches`."""
    return ClipPatches(config)


class ClipPatches(QueryEncoder):
    """Reads text and pictures: pooled as by `clip`, not normalised.

    tokens: of a picture the vectors of its patches, row by row, those of several frames one after the other;
    of a text its pooled vector. Raises ValueError for models whose pictures have no patches.
    """

    modalities: frozenset[type[Query]] = frozenset({TextQuery, ImageQuery})

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clip = Clip(ClipConfig(config.model, config.weights, config.prompts))
        self.dim = self.token_dim = self.clip.dim
        self.grid = patch_grid(architecture_path(config.model))
        self.belongs_to_model = self.clip.belongs_to_model
        self.fingerprint = f"{self.clip.fingerprint}-patches"

    @cached_property
    def network(self) -> tuple[Any, Any, Callable[[Any], Tensor]]:
        """As `Clip.network`, on the device."""
        self.clip.device = self.device
        return self.clip.network

    def carry(self, folder: Path) -> dict[str, Any]:
        """As `QueryEncoder.carry`."""
        settings = self.clip.carry(folder)
        return {name: settings[name] for name in ("model", "weights", "prompts")}

    def release(self) -> None:
        """As `QueryEncoder.release`."""
        super().release()
        self.clip.release()

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`, with tokens (len(queries), k, dim) and their mask."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        check_readable(self, queries)
        with torch.inference_mode():
            rows = [self.row(query) for query in queries]
        lengths = torch.tensor([len(tokens) for _, tokens in rows])
        tokens = pad_sequence([tokens for _, tokens in rows], batch_first=True)
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        return QueryEmbedding(torch.stack([pooled for pooled, _ in rows]), tokens.clone(), mask)

    def row(self, query: Query) -> tuple[Tensor, Tensor]:
        """A query's pooled vector (dim,), the mean over prompts or frames, and its tokens (k, dim)."""
        import torch

        model, _, transform = self.network
        if isinstance(query, TextQuery):
            pooled = self.clip.row(query)
            return pooled, pooled[None]
        if not isinstance(query, ImageQuery):
            raise unreadable(self, query)
        pictures = torch.stack([transform(read_picture(frame)) for frame in query.frames])
        pooled, tokens = picture_and_patches(model.visual, pictures.to(self.device))
        return pooled.float().mean(dim=0).cpu(), tokens.float().flatten(0, 1).cpu()


def picture_and_patches(visual: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Prepared pictures (b, 3, h, w) to vectors of the pictures (b, d) and of their k patches (b, k, d).

    visual: a vision transformer of open_clip.
    """
    returned = visual.output_tokens
    visual.output_tokens = True
    try:
        pooled, states = visual(pictures)
    finally:
        visual.output_tokens = returned
    if visual.final_ln_after_pool:  # else the states have passed the norm
        states = visual.ln_post(states)
    return pooled, states if visual.proj is None else states @ visual.proj


def patch_grid(architecture: Path) -> tuple[int, int]:
    """Rows and columns of a vision transformer's patches, by open_clip's JSON.

    Raises ValueError for networks of other kinds, whose pictures are not cut into patches, or pooled by
    attention, after which patches are in no common space with them.
    """
    vision = json.loads(architecture.read_bytes()).get("vision_cfg", {})
    sizes = vision.get("image_size"), vision.get("patch_size")
    is_transformer = isinstance(vision.get("layers"), int) and not vision.get("timm_model_name")
    if not is_transformer or vision.get("attentional_pool") or not all(sizes):
        raise ValueError(
            f"{architecture.stem}: its pictures have no patches in the space of its embeddings; choose a "
            "vision transformer, as ViT-B-16-quickgelu"
        )
    height, width = (
        size if isinstance(size, list) else [size, size]
        for size in sizes  # of picture and patch
    )
    return height[0] // width[0], height[1] // width[1]
