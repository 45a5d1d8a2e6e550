"""The training loop, one for every separator.

Each step in this order: batch, encode, loss, backward, clip, step, average, log, validate, save.
All randomness is a function of (seed, step), so a resumed run repeats the uninterrupted one exactly.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from qsep.separation.checkpoint import describe, read_weights, save_checkpoint
from qsep.separation.interface import LossOutput, MixtureBatch

from .build import build_book, build_data, build_model, build_query_encoder
from .card import model_card
from .config import Recipe, TrainConfig
from .curves import plot_curves
from .data.mixtures import Mixtures
from .joint_objective import JointObjective
from .journal import Journal
from .query_batch import encode_batch
from .state import Ema, load_state, save_state
from .validation import validate


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
    """Linear rise or stairs, constant, linear fall to final_factor; step counts from 0."""
    rise = (step + 1) / max(1, config.warmup_steps)
    if config.warmup_stairs and step < config.warmup_steps:
        stairs = config.warmup_stairs
        rise = stairs[step * len(stairs) // config.warmup_steps]
    left = ((config.decay_end or config.steps) - step) / max(1, config.decay_steps)
    fall = config.final_factor + (1 - config.final_factor) * max(0.0, left)
    return min(1.0, rise, fall)


def restore(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load strictly, but for the phrase book: it is the recipe's, and may have grown since."""
    book = {key: value for key, value in model.state_dict().items() if key.startswith("reader.")}
    model.load_state_dict(weights | book)


def start_from(folder: Path, parts: tuple[str, ...], model: torch.nn.Module, ema: Ema) -> None:
    """Begin with the weights of a checkpoint folder, or with those of some of its parts, as "codec";
    ValueError where they are another model's."""
    weights = read_weights(folder / "model.safetensors")
    if parts:
        kept = {
            part: [key for key in weights if f"{key}.".startswith(f"{part}.")] for part in parts
        }
        if missing := [part for part in parts if not kept[part]]:
            raise ValueError(f"train.start_parts: {folder} has no part {missing[0]!r}")
        weights = model.state_dict() | {key: weights[key] for keys in kept.values() for key in keys}
    try:
        restore(model, weights)
        restore(ema.model, weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"train.start_from {folder}: another separator ({reason})") from error


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


class Run:
    """A recipe's parts on their devices, and how far they have come in folder `out`.

    content: the recipe as read, for the record.
    """

    def __init__(
        self, recipe: Recipe, content: dict[str, Any], out: Path, accelerator: str, devices: int
    ) -> None:
        from lightning_fabric import Fabric, seed_everything

        self.recipe, self.config, self.content, self.out = recipe, recipe.train, content, out
        self.fabric = Fabric(
            accelerator=accelerator, devices=devices, precision=self.config.precision
        )
        self.fabric.launch()
        seed_everything(self.config.seed, verbose=False)
        self.encoder_kind, self.encoder, self.cached = build_query_encoder(recipe)
        self.book = build_book(recipe)
        self.kind, self.separator = build_model(recipe, self.book, self.cached)
        adam = torch.optim.AdamW(
            self.separator.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            amsgrad=self.config.amsgrad,
            fused=True,
        )
        self.ema = Ema(self.separator, self.config.ema_decay)
        state = resume(out, self.config.seed, self.separator, self.ema)
        if state is None and self.config.start_from:
            folder = Path(self.config.start_from)
            start_from(folder, self.config.start_parts, self.separator, self.ema)
        self.step: int = state["step"] if state else 0
        self.saved_step = -1
        self.skipped = 0
        self.model, self.optimizer = self.fabric.setup(Objective(self.separator), adam)
        if state:  # now that the weights are on the device, for the moments follow them there
            adam.load_state_dict(state["optimizer"])
        self.ema.model.to(self.fabric.device)
        self.validation = self.data(validation=True)
        self.journal = Journal(out, content, self.step, self.fabric.is_global_zero)

    def data(self, validation: bool) -> Mixtures:
        return build_data(self.recipe, self.book, self.separator.sample_rate, validation)

    def batches(self) -> DataLoader[Any]:
        """This rank's share of the batches of all steps still to do."""
        config, data = self.config, self.data(validation=False)
        sampler = DrawSampler(
            self.step,
            config.steps,
            config.batch_size,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        return DataLoader(
            data,
            batch_sampler=sampler,
            collate_fn=data.collate,
            num_workers=config.num_workers,
            worker_init_fn=leave_signals_to_parent,
            prefetch_factor=4 if config.num_workers else None,
        )

    def learn(self, batch: MixtureBatch) -> None:
        """One step: encode, loss, backward, clip, step, average."""
        self.model.train()
        queries = encode_batch(self.cached, batch.queries).to(self.fabric.device)
        batch = batch.to(self.fabric.device)
        generator = step_generator(self.config.seed, self.step, self.fabric.global_rank)
        total, terms = self.model(lambda separator: separator.loss(batch, queries, generator))
        loss = total.mean()
        finite = bool(torch.isfinite(self.fabric.all_reduce(loss.detach())))
        if finite:
            self.optimizer.zero_grad()
            self.fabric.backward(loss)
            norm = self.fabric.clip_gradients(
                self.model,
                self.optimizer,
                max_norm=self.config.clip_norm,
                error_if_nonfinite=False,
            )
            finite = bool(torch.isfinite(norm))
        if finite:
            self.skipped = 0
            for group in self.optimizer.param_groups:
                factor = learning_rate_factor(self.step, self.config)
                group["lr"] = self.config.learning_rate * factor
            self.optimizer.step()
            self.ema.update(self.separator, self.step)
        else:
            self.skip()
        self.step += 1
        self.journal.collect({name: value.nanmean().item() for name, value in terms.items()})

    def skip(self) -> None:
        """Undo a step whose loss or gradient is not finite; give up after too many in a row."""
        self.skipped += 1
        self.ema.restore_buffers(self.separator)
        self.journal.say(self.step, f"loss is not finite; step skipped ({self.skipped} in a row)")
        if self.skipped >= self.config.skip_limit:
            raise ValueError(
                f"the loss was not finite {self.skipped} steps in a row, the last one step "
                f"{self.step}; lower train.learning_rate"
            )

    def due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def report(self) -> None:
        """Log and validate, when it is time."""
        if self.due(self.config.log_every):
            rate = self.optimizer.param_groups[0]["lr"]
            self.journal.write(self.step, self.config.steps, lr=rate)
        if self.due(self.config.validate_every):
            if self.fabric.is_global_zero:
                self.journal.note(self.step, self.score())
            self.fabric.barrier()

    def score(self) -> dict[str, float]:
        """What the averaged weights are worth on the validation mixtures."""
        num_items = self.recipe.data.num_validation
        if isinstance(self.ema.model, JointObjective):
            return self.ema.model.score(self.cached, self.validation, num_items)
        return validate(self.ema.model, self.cached, self.validation, num_items)

    def save(self) -> None:
        """The run's state and the checkpoint out/model, once a step: twice would push out the one before."""
        if not self.fabric.is_global_zero or self.saved_step == self.step:
            return
        self.saved_step = self.step
        state = {"step": self.step, "seed": self.config.seed, "model": self.separator.state_dict()}
        state |= {"ema": self.ema.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_state(self.out, state)
        content = {table: values for table, values in self.content.items() if table != "card"}
        provenance: dict[str, Any] = {"recipe": self.recipe.name, "content": content}
        provenance |= {"seed": self.config.seed, "step": self.step}
        joint = isinstance(self.ema.model, JointObjective)
        description = describe(
            self.kind,
            self.ema.model,
            self.encoder_kind,
            self.encoder,
            provenance,
            part="audio_encoder" if joint else "separator",
        )
        card = model_card(description, self.recipe)
        dtype = torch.float16 if self.config.half_kernels else torch.float32
        trained = self.ema.model.network if joint else self.ema.model
        save_checkpoint(self.out / "model", description, trained.state_dict(), card, dtype)
        plot_curves(self.journal.path, self.out / "loss.png")


def train(
    recipe: Recipe,
    content: dict[str, Any],
    out: Path,
    accelerator: str = "auto",
    devices: int = 1,
    stop_after: int | None = None,
) -> Path | None:
    """Run or continue the recipe in folder `out`; the checkpoint folder, None but on the first device.

    content: the recipe as read, for the record. stop_after: leave after this step as if interrupted.
    """
    run = Run(recipe, content, out, accelerator, devices)
    stop = Stop()
    for batch in run.batches():
        if stop.wanted or run.step == stop_after:
            break
        run.learn(batch)
        run.report()
        if run.step % recipe.train.save_every == 0:
            run.save()
    run.save()
    run.fabric.barrier()
    return out / "model" if run.fabric.is_global_zero else None
