"""The training loop, the same for every task.

Order of each step: batch, encode, loss, backward, clip, step, average, log, validate, save. A discriminator
takes its own step before the model's. All random numbers are a function of (seed, step), so a resumed run
repeats the uninterrupted one exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from qsep.separation.interface import LossOutput, MixtureBatch
from qsep.separation.storage.results import Results

from ..data.effects.queries import dropped
from ..data.mixtures.interface import Mixtures
from .acceleration import checkpoint_activations, compile_networks
from .build import (
    build_book,
    build_data,
    build_query_encoder,
    build_task,
    check_data,
    for_workers,
)
from .config import Recipe
from .initial_weights.class_rows import starting_classes, train_new_rows_alone
from .initial_weights.start import resume, start
from .learner import Learner
from .output.checkpoints import stored_if_whole, write_checkpoint
from .output.curves import plot_curves, series_of
from .output.examples import Example
from .output.log import RunLog
from .output.record import record_session
from .output.state import Best, Ema, save_state
from .precision import precision_on
from .query_batch import encode_batch
from .sampler import StepSampler, part_number, step_generator
from .sharding import sharding_strategy, whole
from .stopping import DivergedError, Stop
from .tasks.interface import Validation
from .workers import SharedCollate, leave_signals_to_parent, passed_on


class Run:
    """A recipe's parts on their devices, and the state of the run in folder `out`.

    content: the recipe's tables, for provenance.
    """

    def __init__(
        self,
        recipe: Recipe,
        content: dict[str, Any],
        out: Path,
        accelerator: str,
        devices: int,
        nodes: int,
    ) -> None:
        from lightning_fabric import Fabric, seed_everything

        self.recipe, self.config, self.content, self.out = recipe, recipe.train, content, out
        self.results = Results(out, "train")
        self.is_sharded = self.config.shard and devices * nodes > 1
        self.fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=precision_on(accelerator, self.config.precision),
            strategy=sharding_strategy(devices * nodes) if self.is_sharded else "auto",
        )
        # Before other processes are launched, which would all print the same, and before embedding the
        # phrases, which may take minutes.
        check_data(recipe)
        self.fabric.launch()
        seed_everything(self.config.seed, verbose=False)
        with self.fabric.rank_zero_first():  # which fills the cache and sets damaged states aside
            self.encoder_kind, self.encoder, self.cached = build_query_encoder(recipe)
            if self.encoder is not None:
                self.encoder.device = self.fabric.device
            self.book = build_book(recipe)
            self.task = build_task(recipe, self.book, self.cached)
            self.ema = Ema(self.task.model, self.config.ema_decay)
            state = resume(self.results, self.config.seed, self.task, self.ema)
        if state is None and self.config.start_from:
            for line in start(self.config, self.task, self.ema):
                self.fabric.print(line)
        self.step: int = state["step"] if state else 0
        self.best = Best.of(state)
        self.saved_step = self.step if state else -1
        self.skipped = 0
        if self.config.new_classes_only:
            classes = self.task.class_rows(self.task.model)
            train_new_rows_alone(self.task.model, classes, starting_classes(self.config))
        if self.config.checkpoint_activations:
            checkpoint_activations(self.task.model)
        if self.config.compile:
            compile_networks(self.task.model, self.config.compile)
        self.model = Learner(self.task.model, self.config, self.fabric)
        self.discriminator: Learner | None = None
        if self.task.discriminator:
            self.discriminator = Learner(self.task.discriminator.network, self.config, self.fabric)
        if state:  # after the weights are on the device: the optimiser's moments follow them
            self.model.load(state["optimizer"])
            if self.discriminator:
                self.discriminator.load(state["discriminator_optimizer"])
        self.ema.divide(self.task.model)
        self.ema.model.to(self.fabric.device)
        self.validation = self.data(validation=True)
        self.log = RunLog(self.results, content, self.step, self.fabric, self.config.loggers)
        if self.fabric.is_global_zero:
            record_session(self.results, recipe, self.step, self.fabric)
        if state:  # the run may have been killed after its state was written and before these were
            with self.ema.gathered(self.fabric.is_global_zero):
                self.write_checkpoints()
            self.mend_best()

    def data(self, validation: bool) -> Mixtures:
        """The training or the validation mixtures at the model's sample rate."""
        return build_data(self.recipe, self.book, self.task.model.sample_rate, validation)

    def batches(self) -> DataLoader[Any]:
        """This rank's parts of the batches of the remaining steps."""
        config = self.config
        data = for_workers(self.data(validation=False), self.recipe)
        sampler = StepSampler(
            self.step,
            config.steps,
            config.batch_size,
            self.fabric.global_rank,
            self.fabric.world_size,
            config.accumulate,
        )
        return DataLoader(
            data,
            batch_sampler=sampler,
            collate_fn=SharedCollate(data.collate),
            num_workers=config.num_workers,
            worker_init_fn=leave_signals_to_parent,
            prefetch_factor=4 if config.num_workers else None,
        )

    def learn(self, parts: list[MixtureBatch]) -> None:
        """One step on this rank's parts of a batch: encode, loss, backward, clip, step, average."""
        finite, terms, discriminator = self.discriminate(parts)
        if finite:
            losses = self.losses(parts, discriminator)
            finite, model_terms = self.model.improve(losses, len(parts), self.step)
            terms |= model_terms
        if finite:
            self.skipped = 0
            self.ema.update(self.task.model, self.step)
        else:
            self.skip()
        if discriminator is not None:
            discriminator.requires_grad_(True)
        self.step += 1
        self.log.collect(terms)

    def losses(
        self, parts: list[MixtureBatch], discriminator: torch.nn.Module | None
    ) -> Iterator[Callable[[Any], LossOutput]]:
        """The task's loss on each part, as a function of the model."""
        for number, batch in enumerate(parts):
            queries = encode_batch(self.cached, batch.queries).to(self.fabric.device)
            if drop := self.recipe.effects.queries.drop_probability:
                queries = dropped(queries, batch.ids, drop)
            yield partial(
                self.task.loss,
                batch=batch.to(self.fabric.device),
                queries=queries,
                generator=self.generator(number),
                discriminator=discriminator,
            )

    def discriminate(
        self, parts: list[MixtureBatch]
    ) -> tuple[bool, dict[str, Tensor], torch.nn.Module | None]:
        """The discriminator's step, if the task has one and it has started.

        Returns whether its loss was finite, the terms of that loss, and its network, frozen for the model's
        step; None if there is no discriminator or it has not started.
        """
        task = self.task.discriminator
        if task is None or self.discriminator is None or self.step < task.start:
            return True, {}, None

        def loss_of(number: int, batch: MixtureBatch) -> Callable[[Any], LossOutput]:
            moved, generator = batch.to(self.fabric.device), self.generator(number)
            return lambda network: task.loss(network, moved, generator)

        losses = (loss_of(number, batch) for number, batch in enumerate(parts))
        finite, terms = self.discriminator.improve(losses, len(parts), self.step)
        return finite, terms, task.network.requires_grad_(False)

    def generator(self, number: int) -> torch.Generator:
        """A new generator for part `number` of this step: discriminator and model get the same numbers."""
        part = part_number(number, self.fabric.global_rank, self.fabric.world_size)
        return step_generator(self.config.seed, self.step, part)

    def skip(self) -> None:
        """Skip a step whose loss or gradient is not finite; DivergedError after skip_limit in a row."""
        self.skipped += 1
        self.ema.restore_buffers(self.task.model)
        self.log.say(self.step, f"loss is not finite; step skipped ({self.skipped} in a row)")
        if self.skipped >= self.config.skip_limit:
            raise DivergedError(
                f"the loss was not finite {self.skipped} steps in a row, the last one step "
                f"{self.step}; lower train.learning_rate"
            )

    def due(self, every: int) -> bool:
        """Whether something done every `every` steps, and at the last one, is due."""
        return self.step % every == 0 or self.step == self.config.steps

    def report(self) -> None:
        """Log and validate, if they are due."""
        if self.due(self.config.log_every):
            self.log.write(self.step, self.config, self.model.rate)
        if self.recipe.data.num_validation and self.due(self.config.validate_every):
            with self.log.pause(), self.ema.gathered(self.fabric.is_global_zero):
                if self.fabric.is_global_zero:
                    validation = self.validate()
                    self.log.note(self.step, validation.scores, validation.merits)
                    self.best = self.best.or_better(self.step, validation.merit)
                    if self.log.trackers:
                        self.log.show(self.step, self.examples())
                self.best = self.fabric.broadcast(self.best)  # so that all save at the same steps

    def validate(self) -> Validation:
        """Validation of the averaged weights."""
        num_items = self.recipe.data.num_validation
        return self.task.score(self.ema.model, self.cached, self.validation, num_items)

    def examples(self) -> list[Example]:
        """Examples of what the averaged weights do."""
        num_items = min(self.config.num_examples, self.recipe.data.num_validation)
        return self.task.examples(self.ema.model, self.cached, self.validation, num_items)

    def save(self) -> None:
        """Write the run's state, the checkpoints and the curves, once at most for each step.

        Writing the same step again would replace the previous state, which is kept as a fallback.
        """
        if self.saved_step == self.step:
            return
        self.saved_step = self.step
        first = self.fabric.is_global_zero
        with self.log.pause(), self.ema.gathered(first):
            state = whole(self.state(), first)
            if first:
                save_state(self.results, state)
            self.write_checkpoints()

    def state(self) -> dict[str, Any]:
        """What the run needs to continue from this step."""
        state = {"step": self.step, "seed": self.config.seed, "model": self.task.model.state_dict()}
        state |= {"ema": self.ema.model.state_dict()}
        state |= {"optimizer": self.model.optimizer.state_dict()}
        state |= {"best": {"step": self.best.step, "merit": self.best.merit}}
        if self.discriminator:
            state |= {"discriminator": self.discriminator.network.state_dict()}
            state |= {"discriminator_optimizer": self.discriminator.optimizer.state_dict()}
        return state

    def write_checkpoints(self) -> None:
        """Write the averaged weights to out/model, and to out/best if they score best, and plot the log."""
        if not self.fabric.is_global_zero:
            return
        for name in ("model", "best") if self.best.step == self.step else ("model",):
            self.write_checkpoint(name, self.step)
        if series_of(self.log.path):
            self.results.write("loss.png", lambda picture: plot_curves(self.log.path, picture))

    def write_checkpoint(
        self, name: str, step: int, weights: dict[str, Tensor] | None = None
    ) -> None:
        """Write the checkpoint out/NAME of this step. weights: by default the averaged ones."""
        provenance: dict[str, Any] = {"seed": self.config.seed, "step": step}
        if changes := [change for change in self.log.changes if change["step"] <= step]:
            provenance["changes"] = changes
        write_checkpoint(
            self.out / name,
            self.recipe,
            self.content,
            self.task,
            self.ema.model,
            (self.encoder_kind, self.encoder),
            provenance,
            weights,
        )

    def mend_best(self) -> None:
        """Write out/best again if it was damaged since its step; without weights, the next is best."""
        if self.best.step in (-1, self.step):
            return
        if self.fabric.is_global_zero:
            if weights := stored_if_whole(self.out / "best"):
                self.write_checkpoint("best", self.best.step, weights)
            elif not (self.out / "best").is_dir():
                self.log.say(self.step, "best is lost; the next validated weights are kept in it")
                self.best = Best()


def grouped(batches: Iterator[MixtureBatch], number: int) -> Iterator[list[MixtureBatch]]:
    """The batches, `number` at a time; the last ones are left out if they are fewer."""
    return map(list, zip(*[batches] * number, strict=False))


def train(
    recipe: Recipe,
    content: dict[str, Any],
    out: Path,
    accelerator: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    stop_after: int | None = None,
    stop: Stop | None = None,
) -> Path | None:
    """Run the recipe in folder `out`, or resume the run there.

    content: the recipe's tables, for provenance. devices: on each of the nodes. stop_after: end after this
    step as if interrupted. stop: tells when to end before the last step, and afterwards whether it did; by
    default at a signal. Returns the checkpoint's folder on the first device, None on others. Raises
    ValueError for a recipe or folder that cannot be used, and its kind DivergedError for skip_limit steps in
    a row whose loss is not finite.
    """
    run = Run(recipe, content, out, accelerator, devices, nodes)
    with (
        passed_on(run.batches(), recipe.train.num_workers) as batches,
        stop or Stop() as stop,
    ):
        steps = grouped(batches, recipe.train.accumulate)
        for parts in stop.waiting_for(steps, recipe.train.steps - run.step, run.fabric):
            if stop.due(run.fabric) or run.step == stop_after:
                break
            run.learn(parts)
            run.report()
            if run.step % recipe.train.save_every == 0 or run.best.step == run.step:
                run.save()
        run.save()
        run.log.close()
        run.fabric.barrier()
        if run.step >= recipe.train.steps:
            stop.finished()
    return out / "model" if run.fabric.is_global_zero else None
