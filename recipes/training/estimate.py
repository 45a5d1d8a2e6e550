"""An estimate of a run's time and memory from one item of noise, without embedding or reading anything."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from qsep.queries.interface import Query, QueryEmbedding, QueryEncoder, TextQuery
from qsep.separation.interface import MixtureBatch

from .build import build_book, build_query_encoder, build_task, mix_config
from .config import Recipe
from .output.log import duration
from .precision import precision_on
from .tasks.interface import Task

STATES = 5  # weights, their average, gradients, two moments of AdamW
NUM_TOKENS = 8  # of a short query
LONG_SECONDS = 1.0  # a first pass that takes longer is not repeated


class BlankEncoder(QueryEncoder):
    """Has an encoder's width and settings, and embeds everything as zeros, without its network."""

    modalities: frozenset[type[Query]] = frozenset({TextQuery})

    def __init__(self, encoder: QueryEncoder) -> None:
        self.config, self.dim, self.fingerprint = encoder.config, encoder.dim, "blank"
        self.token_dim, self.unit_norm = encoder.token_dim, encoder.unit_norm
        self.classes, self.class_names = encoder.classes, encoder.class_names

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """Embeddings with pooled (len(queries), dim)."""
        return QueryEmbedding(torch.zeros(len(queries), self.dim))


def estimate(recipe: Recipe, accelerator: str, devices: int) -> str:
    """The estimated time of the recipe's steps, without validation, and minimum memory, as text.

    devices: all together. Also reports if one item's loss cannot be computed without the query encoder.
    """
    cuda = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    try:
        _, _, encoder = build_query_encoder(recipe)
        task = build_task(recipe, build_book(recipe), BlankEncoder(encoder))
        seconds, saved_bytes = trial(task, recipe, encoder, "cuda" if cuda else "cpu")
    except Exception as error:  # a failed estimate must not stop the run
        return f"no estimate of time and memory ({type(error).__name__})"
    items = recipe.train.batch_size / devices
    weights = sum(weight.numel() * weight.element_size() for weight in task.model.parameters())
    shares = devices if recipe.train.shard else 1
    memory = STATES * weights / shares + saved_bytes * items / recipe.train.accumulate
    step_seconds = seconds * items
    step = f"{step_seconds:.2g} s" if step_seconds < 10 else duration(step_seconds)
    return (
        f"estimate: {duration(recipe.train.steps * step_seconds)} for {recipe.train.steps} steps of "
        f"{step}, without validation; {memory / 1e9:.2g} GB of memory at least"
    )


def trial(task: Task, recipe: Recipe, encoder: QueryEncoder, device: str) -> tuple[float, int]:
    """Seconds and bytes of stored activations of one item's loss and gradients.

    On a GPU, which needs more items to be busy, the seconds are an upper bound.
    """
    task.model.to(device).train()
    batch, queries = noise_batch(task, recipe, encoder, device)
    precision = precision_on(device, recipe.train.precision)
    seconds, saved_bytes = 0.0, 0
    for _ in range(2):
        stored: dict[int, int] = {}

        def note(tensor: torch.Tensor, stored: dict[int, int] = stored) -> torch.Tensor:
            storage = tensor.untyped_storage()
            stored[storage.data_ptr()] = storage.nbytes()
            return tensor

        began = time.perf_counter()
        with (
            torch.autocast(device, torch.bfloat16, enabled="bf16" in precision),
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            generator = torch.Generator().manual_seed(0)
            loss = task.loss(task.model, batch, queries, generator, None).total.mean()
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds, saved_bytes = time.perf_counter() - began, sum(stored.values())
        if seconds > LONG_SECONDS:
            break
    return seconds, saved_bytes


def noise_batch(
    task: Task, recipe: Recipe, encoder: QueryEncoder, device: str, num_items: int = 1
) -> tuple[MixtureBatch, QueryEmbedding]:
    """Mixtures of noise in the shape of the recipe's, with as many queries of zeros as sources."""
    mix = mix_config(recipe)
    names = ("num_slots", "num_queries", "num_sources")
    num_sources = next(getattr(mix, name) for name in names if hasattr(mix, name))
    num_channels = task.model.num_channels if recipe.part == "separator" else 1
    shape = (num_items, num_sources, num_channels or 1, mix.segment_samples)
    sources = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    labels: list[list[Query | None]] = [[TextQuery("noise")] * num_sources] * num_items
    ids = [f"noise {item}" for item in range(num_items)]
    batch = MixtureBatch(sources.sum(dim=1), sources, labels, task.model.sample_rate, ids)
    pooled = torch.zeros(num_items, num_sources, encoder.dim, device=device)
    if not encoder.token_dim:
        return batch, QueryEmbedding(pooled)
    tokens = torch.zeros(num_items, num_sources, NUM_TOKENS, encoder.token_dim, device=device)
    return batch, QueryEmbedding(pooled, tokens, torch.ones_like(tokens[..., 0], dtype=torch.bool))
