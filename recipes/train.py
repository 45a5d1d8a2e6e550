"""The training loop, one for every separator.

Each step in this order: batch, encode, loss, backward, clip, step, average, log, validate, save.
All randomness is a function of (seed, step), so a resumed run repeats the uninterrupted one exactly.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from qsep.evaluation.sdr import si_sdr
from qsep.queries.interface import Query, QueryEmbedding, QueryEncoder
from qsep.separation.checkpoint import describe, save_checkpoint, write_atomically
from qsep.separation.interface import LossOutput, MixtureBatch

from .build import build_book, build_data, build_model, build_query_encoder
from .card import model_card
from .config import Recipe, TrainConfig
from .curves import plot_curves
from .data.mix_and_separate import MixAndSeparate
from .state import Ema, load_state, save_state


class DrawSampler(Sampler[list[int]]):
    """Draw numbers of this rank's share of each step's batch: the same data for any world size."""

    def __init__(
        self, first_step: int, last_step: int, batch_size: int, rank: int, world: int
    ) -> None:
        if batch_size % world:
            raise ValueError(f"train.batch_size {batch_size} cannot be shared by {world} devices")
        self.first_step, self.last_step, self.batch_size = first_step, last_step, batch_size
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.last_step):
            draws = range(step * self.batch_size, (step + 1) * self.batch_size)
            yield list(draws[self.rank :: self.world])

    def __len__(self) -> int:
        return self.last_step - self.first_step


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Linear rise, constant, linear fall to final_factor; step counts from 0."""
    rise = (step + 1) / max(1, config.warmup_steps)
    left = ((config.decay_end or config.steps) - step) / max(1, config.decay_steps)
    fall = config.final_factor + (1 - config.final_factor) * max(0.0, left)
    return min(1.0, rise, fall)


def encode_batch(encoder: QueryEncoder, queries: list[list[Query | None]]) -> QueryEmbedding:
    """pooled (b, s, d); rows of zeros where nothing is asked."""
    asked = [query for row in queries for query in row if query is not None]
    chosen = torch.tensor([[query is not None for query in row] for row in queries])
    pooled = torch.zeros(*chosen.shape, encoder.dim)
    pooled[chosen] = encoder.encode(asked).pooled
    return QueryEmbedding(pooled)


def restore(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load strictly, but for the phrase book: it is the recipe's, and may have grown since."""
    book = {key: value for key, value in model.state_dict().items() if key.startswith("reader.")}
    model.load_state_dict(weights | book)


def resume(out: Path, seed: int, model: torch.nn.Module, ema: Ema) -> dict[str, Any] | None:
    """Put the weights of the run in `out` in place; its state, or None where no run has begun."""
    state = load_state(out)
    if state is None:
        return None
    if state["seed"] != seed:
        raise ValueError(f"{out} holds a run with seed {state['seed']}; choose another folder")
    try:
        restore(model, state["model"])
        restore(ema.model, state["ema"])
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{out} holds a run of another separator ({reason}); choose another folder"
        ) from error
    return state


def step_generator(seed: int, step: int, rank: int) -> torch.Generator:
    """Randomness inside the model at one step."""
    entropy = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(entropy))


def leave_signals_to_parent(worker: int) -> None:
    """Schedulers signal every process of a job; a worker that died would spoil the orderly end."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)


class Objective(torch.nn.Module):
    """A separator's loss as a forward pass: only this do Fabric's precision and DDP wrap.

    The argument is a function, for Fabric would take batches apart and refuses frozen dataclasses.
    """

    def __init__(self, separator: Any) -> None:
        super().__init__()
        self.separator = separator

    def forward(
        self, loss: Callable[[Any], LossOutput]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        output = loss(self.separator)
        return output.total, dict(output.terms)


class Stop:
    """Set by the first SIGINT or SIGTERM: finish the step, save, leave. A second one interrupts."""

    def __init__(self) -> None:
        self.wanted = False
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        signal.signal(number, signal.default_int_handler)


def train(
    recipe: Recipe,
    content: dict[str, Any],
    out: Path,
    accelerator: str = "auto",
    devices: int = 1,
    stop_after: int | None = None,
) -> Path:
    """Run or continue the recipe in folder `out`; returns the checkpoint folder out/model.

    content: the recipe as read, for the record. stop_after: leave after this step as if interrupted.
    """
    from lightning_fabric import Fabric, seed_everything

    config = recipe.train
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=config.precision)
    fabric.launch()
    seed_everything(config.seed, verbose=False)
    encoder_kind, encoder, cached = build_query_encoder(recipe)
    book = build_book(recipe)
    kind, plain_model = build_model(recipe, book, cached)
    adam = torch.optim.AdamW(
        plain_model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    ema = Ema(plain_model, config.ema_decay)
    state = resume(out, config.seed, plain_model, ema)
    step: int = state["step"] if state else 0
    model, optimizer = fabric.setup(Objective(plain_model), adam)
    if state:  # now that the weights are on the device, for the moments follow them there
        adam.load_state_dict(state["optimizer"])
    ema.model.to(fabric.device)
    data = build_data(recipe, book, plain_model.sample_rate, validation=False)
    sampler = DrawSampler(
        step, config.steps, config.batch_size, fabric.global_rank, fabric.world_size
    )
    loader: DataLoader[Any] = DataLoader(
        data,
        batch_sampler=sampler,
        collate_fn=data.collate,
        num_workers=config.num_workers,
        worker_init_fn=leave_signals_to_parent,
        prefetch_factor=4 if config.num_workers else None,
    )
    validation = build_data(recipe, book, plain_model.sample_rate, validation=True)
    journal = Journal(out, content, step, fabric.is_global_zero)
    stop = Stop()

    saved_step = -1

    def save() -> None:
        nonlocal saved_step
        if not fabric.is_global_zero or saved_step == step:  # twice would push out the one before
            return
        saved_step = step
        state = {"step": step, "seed": config.seed, "model": plain_model.state_dict()}
        state |= {"ema": ema.model.state_dict(), "optimizer": optimizer.state_dict()}
        save_state(out, state)
        provenance = {"recipe": recipe.name, "content": content, "seed": config.seed, "step": step}
        description = describe(kind, ema.model, encoder_kind, encoder, provenance)
        card = model_card(description, recipe)
        save_checkpoint(out / "model", description, ema.model.state_dict(), card)
        plot_curves(journal.path, out / "loss.png")

    skipped = 0
    for batch in loader:
        if stop.wanted or step == stop_after:
            break
        model.train()
        batch = batch.to(fabric.device)
        queries = encode_batch(cached, batch.queries)
        queries = QueryEmbedding(queries.pooled.to(fabric.device))
        generator = step_generator(config.seed, step, fabric.global_rank)
        total, terms = model(lambda separator: separator.loss(batch, queries, generator))  # noqa: B023
        loss = total.mean()
        finite = bool(torch.isfinite(fabric.all_reduce(loss.detach())))
        if finite:
            optimizer.zero_grad()
            fabric.backward(loss)
            norm = fabric.clip_gradients(
                model, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False
            )
            finite = bool(torch.isfinite(norm))
        if not finite:
            skipped += 1
            ema.restore_buffers(plain_model)
            journal.say(step, f"loss is not finite; step skipped ({skipped} in a row)")
            if skipped >= config.skip_limit:
                raise ValueError(
                    f"the loss was not finite {skipped} steps in a row, the last one step {step}; "
                    "lower train.learning_rate"
                )
        else:
            skipped = 0
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * learning_rate_factor(step, config)
            optimizer.step()
            ema.update(plain_model, step)
        step += 1
        journal.collect({name: value.nanmean().item() for name, value in terms.items()})
        if step % config.log_every == 0 or step == config.steps:
            journal.write(step, config.steps, lr=optimizer.param_groups[0]["lr"])
        if step % config.validate_every == 0 or step == config.steps:
            if fabric.is_global_zero:
                journal.note(
                    step, validate(ema.model, cached, validation, recipe.data.num_validation)
                )
            fabric.barrier()
        if step % config.save_every == 0:
            save()
    save()
    fabric.barrier()
    return out / "model"


@torch.no_grad()  # validation measures, it does not learn
def validate(
    separator: Any, encoder: QueryEncoder, data: MixAndSeparate, num_items: int
) -> dict[str, float]:
    """Mean SI-SDR improvement of present sounds; median level of absent ones under the mixture, dB."""
    device = next(separator.parameters()).device
    improvements: list[float] = []
    leaks: list[float] = []
    for draw in range(num_items):
        batch: MixtureBatch = data.collate([data[draw]]).to(device)
        queries = QueryEmbedding(encode_batch(encoder, batch.queries).pooled.to(device))
        target = separator.separate(batch.mixture, queries).target
        for index, query in enumerate(batch.queries[0]):
            if query is None:
                continue
            source, mixture = batch.sources[0, index, 0], batch.mixture[0, 0]
            estimate = target[0, index, 0]
            if source.any():
                gain = si_sdr(estimate, source) - si_sdr(mixture, source)
                improvements.append(float(gain))
            else:
                ratio = estimate.square().sum() / mixture.square().sum() + 1e-10
                leaks.append(10 * math.log10(float(ratio)))
    result = {"si_sdr_i": sum(improvements) / max(1, len(improvements))}
    if leaks:
        result["absent_db"] = sorted(leaks)[len(leaks) // 2]
    return result


class Journal:
    """log.jsonl, one line an entry; lines after the resumed step are dropped, they will come again."""

    def __init__(self, folder: Path, content: dict[str, Any], step: int, active: bool) -> None:
        self.path = folder / "log.jsonl"
        self.active = active
        self.pending: dict[str, list[float]] = {}
        self.since = time.monotonic()
        self.num_steps = 0
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.json").write_text(json.dumps(content, indent=1) + "\n")
        lines = self.path.read_text().splitlines(True) if self.path.is_file() else []
        # A killed run may leave half a line.
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_atomically(self.path, lambda temporary: temporary.write_text("".join(kept)))

    def collect(self, terms: dict[str, float]) -> None:
        self.num_steps += 1
        for name, value in terms.items():
            if math.isfinite(value):
                self.pending.setdefault(name, []).append(value)

    def write(self, step: int, steps: int, lr: float) -> None:
        """Means since the last entry, and the pace."""
        seconds = (time.monotonic() - self.since) / max(1, self.num_steps)
        means = {name: sum(values) / len(values) for name, values in self.pending.items()}
        self.pending, self.since, self.num_steps = {}, time.monotonic(), 0
        self.note(step, {**means, "lr": lr, "seconds_per_step": seconds})
        if self.active and sys.stderr.isatty():
            left = (steps - step) * seconds / 60
            print(f"  {step}/{steps} steps, {left:.0f} min left", file=sys.stderr)

    def note(self, step: int, values: dict[str, float]) -> None:
        if not self.active:
            return
        rounded = {name: round(value, 6) for name, value in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **rounded}) + "\n")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"step {step}: {shown}", flush=True)

    def say(self, step: int, text: str) -> None:
        if self.active:
            print(f"step {step}: {text}", file=sys.stderr, flush=True)
