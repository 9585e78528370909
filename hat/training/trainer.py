"""The training loop, the same for a SuperTransformer and for one SubTransformer."""

import hashlib
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from hat.artifacts import RunFolder
from hat.config import Section
from hat.data.batching import Batch, TrainingBatches
from hat.errors import ConfigError, TrainingError
from hat.nn.transformer import SuperTransformer, Transformer
from hat.special_ids import PAD_ID
from hat.training.checkpoint import CheckpointFolder, average_weights, read_weights
from hat.training.loss import output_loss
from hat.training.optimizer import OptimizerConfig, ScheduleConfig, learning_rate, make_optimizer
from hat.training.progress import TrainingProgress
from hat.training.validation import ValidationResult, validation_loss
from hat.training.world import World

logger = logging.getLogger(__name__)


class TrainingConfig(Section):
    """How long, on what batches and with which optimiser a model is trained."""

    max_updates: int = Field(gt=0)
    """Optimiser steps in total."""
    max_tokens: int = Field(default=4096, gt=0)
    """Tokens of a batch, padding included: sentences times the longest source or target."""
    max_sentences: int | None = Field(default=None, gt=0)
    """Most sentence pairs of a batch."""
    accumulate: int = Field(default=1, gt=0)
    """Batches per update and process, their gradients added up."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the matrix products (autocast); weights and moments stay float32."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    threads: int | None = Field(default=None, gt=0)
    """CPU threads; null leaves torch's choice."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig
    log_every: int = Field(default=100, gt=0)
    """Updates between two lines of progress."""
    validate_every: int = Field(default=1000, gt=0)
    """Updates between two validations."""
    checkpoint_every: int = Field(default=1000, gt=0)
    """Updates between two checkpoints."""
    keep_last: int = Field(default=10, gt=0)
    """How many of the last checkpoints' weights stay on disk."""
    final: Literal["average", "best", "last"] = "average"
    """What the result is: the mean of the last ``keep_last`` checkpoints, the best validated weights, or the last."""
    tensorboard: bool = False
    """Also write TensorBoard event files (needs the extra ``report``)."""


# What may differ between a run and its continuation: none of it changes an update already made.
_MAY_CHANGE = {"max_updates", "log_every", "validate_every", "checkpoint_every", "keep_last", "final", "tensorboard"}
_MAY_CHANGE |= {"device", "threads"}
_STOP_CHECK_EVERY = 10


class Trainer:
    """Trains ``model`` and leaves the final weights in it.

    Args:
        model: on the world's device.
        hidden_of: runs the model for a batch of the given update: the SuperTransformer's sampled SubTransformer, or
            the standalone model. Returns the decoder's output (B, T, D).
        batches: this process's share of the training data.
        validation: what is validated, by name, each as a function of a batch; their mean loss decides the best.
        validation_batches: the held-out data.
        config: the recipe.
        seed: seed of dropout.
        run: where metrics and checkpoints go; every process has it, the main one writes.
        world: the processes that train together.
        describe: a few words about the update for the log.
    """

    def __init__(
        self,
        model: SuperTransformer | Transformer,
        hidden_of: Callable[[Batch, int], Tensor],
        batches: TrainingBatches,
        validation: Mapping[str, Callable[[Batch], Tensor]],
        validation_batches: Sequence[Batch],
        config: TrainingConfig,
        seed: int,
        run: RunFolder,
        world: World,
        describe: Callable[[int], str] = lambda update: "",
    ) -> None:
        self.model = model
        self.hidden_of = hidden_of
        self.batches = batches
        self.validation = validation
        self.validation_batches = validation_batches
        self.config = config
        self.seed = seed
        self.run = run
        self.world = world
        self.describe = describe
        self.parameters = list(model.parameters())
        self.optimizer = make_optimizer(config.optimizer, self.parameters)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=config.precision == "float16")
        self.checkpoints = CheckpointFolder(run.path / "checkpoints", config.keep_last)
        self.update = 0
        self.seconds = 0.0
        self.best_loss = math.inf
        self.gradient_norm = torch.zeros(())

    def train(self) -> None:
        """Run to ``max_updates``, from the last checkpoint if there is one.

        Raises:
            KeyboardInterrupt: on Ctrl-C or SIGTERM, after the state is saved.
            TrainingError: when the loss is no longer a number.
        """
        config = self.config
        self._resume()
        self.model.train()
        progress = TrainingProgress(config.max_updates, self.update, self.run, self.world.is_main, config.tensorboard)
        totals = torch.zeros(3, device=self.world.device)
        with _stop_signals() as stopped, progress:
            started = time.monotonic() - self.seconds
            while self.update < config.max_updates:
                rate = learning_rate(config.schedule, self.update, config.max_updates)
                totals += self._step(rate)
                self.update += 1
                self.seconds = time.monotonic() - started
                progress.advance()
                done = self.update == config.max_updates
                if self.update % config.log_every == 0 or done:
                    self._log(progress, totals, rate)
                    totals.zero_()
                if self.update % config.validate_every == 0 or done:
                    self._validate(progress)
                stop = self._agree_to_stop(bool(stopped))
                if self.update % config.checkpoint_every == 0 or done or stop:
                    self._save()
                if stop and not done:
                    raise KeyboardInterrupt
        self._finish()

    def _step(self, rate: float) -> Tensor:
        """One optimiser step; returns the summed loss, the summed nll and the tokens of all processes."""
        world, config = self.world, self.config
        dtype = getattr(torch, config.precision)
        batches = self.batches.next_update()
        self.optimizer.zero_grad(set_to_none=True)
        totals = torch.zeros(3, device=world.device)
        for index, batch in enumerate(batches):
            # Dropout's numbers follow from the place of the batch in the whole stream: the same after a resume, and
            # for one process that accumulates as for several that share. Torch's dropout knows no other generator.
            place = (self.update * len(batches) + index) * world.size + world.rank
            torch.manual_seed(_mixed_seed(self.seed, place))
            batch = batch.to(world.device)
            with torch.autocast(
                world.device.type, getattr(torch, config.precision), enabled=config.precision != "float32"
            ):
                hidden = self.hidden_of(batch, self.update)
            weight = self.model.output_weight(hidden.size(-1))
            loss, nll = output_loss(hidden, weight, batch.target_out, config.label_smoothing, PAD_ID, dtype)
            self.scaler.scale(loss).backward()
            totals += torch.stack([loss.detach(), nll, torch.full_like(nll, batch.num_target_tokens)])
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        totals = world.sum_gradients(gradients, totals)
        self.scaler.unscale_(self.optimizer)
        torch._foreach_div_(gradients, totals[2])
        clip = math.inf if config.optimizer.clip_norm is None else config.optimizer.clip_norm
        self.gradient_norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return totals

    def _log(self, progress: "TrainingProgress", totals: Tensor, rate: float) -> None:
        loss, nll, tokens = totals.tolist()
        loss, nll = loss / tokens, nll / tokens
        if not math.isfinite(loss):
            raise TrainingError(
                f"update {self.update}: the training loss is {loss}; lower training.schedule.peak, set "
                "training.optimizer.clip_norm or use another precision, then continue from the last checkpoint."
            )
        progress.log(
            update=self.update, epoch=self.batches.epoch, loss=loss, nll=nll, learning_rate=rate,
            gradient_norm=float(self.gradient_norm), target_tokens=int(tokens), note=self.describe(self.update - 1),
        )  # fmt: skip

    def _validate(self, progress: "TrainingProgress") -> None:
        results = self.validate()
        progress.log_validation(self.update, results)
        mean = sum(result.loss for result in results.values()) / len(results)
        if mean < self.best_loss:
            self.best_loss = mean
            if self.world.is_main and self.config.final == "best":
                self.checkpoints.save_best(self.model.weights())

    def validate(self) -> dict[str, ValidationResult]:
        """Loss of everything in ``validation``, in evaluation mode; batches are shared among the processes."""
        self.model.eval()
        results = {
            name: validation_loss(
                self.model,
                hidden_of,
                self.validation_batches,
                self.config.label_smoothing,
                self.config.precision,
                self.world,
            )
            for name, hidden_of in self.validation.items()
        }
        self.model.train()
        return results

    def _agree_to_stop(self, stopped: bool) -> bool:
        """Whether to stop now; several processes ask each other every few updates only."""
        if self.world.size == 1:
            return stopped
        return self.update % _STOP_CHECK_EVERY == 0 and self.world.any(stopped)

    def _save(self) -> None:
        if self.world.is_main:
            state = {
                "update": self.update,
                "seconds": self.seconds,
                "best_loss": self.best_loss,
                "weights": self.model.weights(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "batches": self.batches.state_dict(),
                "config": self.config.model_dump(mode="json"),
            }
            self.checkpoints.save(self.update, self.model.weights(), state)
        self.world.barrier()

    def _resume(self) -> None:
        """Take up the last checkpoint; without one, every process starts from the main one's weights."""
        state = self.world.share(self.checkpoints.load_state() if self.world.is_main else None)
        if state is None:
            self.world.broadcast(list(self.model.weights().values()))
            return
        where = str(self.checkpoints.path / "resume.pt")
        _check_same_recipe(state["config"], self.config.model_dump(mode="json"), where)
        self.model.load_weights(state["weights"], where)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.batches.load_state_dict(state["batches"])
        self.update, self.seconds, self.best_loss = state["update"], state["seconds"], state["best_loss"]
        if self.world.is_main:
            logger.info("continuing after update %d from %s", self.update, where)
            self.run.forget_after(self.update)

    def _finish(self) -> None:
        """Put the final weights into the model."""
        self.world.barrier()
        if self.config.final == "average":
            weights = average_weights(self.checkpoints.last_weights(self.update)[-self.config.keep_last :])
        elif self.config.final == "best":
            weights = read_weights(self.checkpoints.path / "best.safetensors")
        else:
            return
        self.model.load_weights(weights, str(self.checkpoints.path))


def _mixed_seed(seed: int, place: int) -> int:
    """A seed for one batch; neighbouring places give unrelated numbers."""
    digest = hashlib.blake2b(f"{seed} batch {place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _check_same_recipe(saved: dict[str, Any], now: dict[str, Any], where: str) -> None:
    for name, value in now.items():
        if name not in _MAY_CHANGE and saved.get(name) != value:
            raise ConfigError(
                f"{where}: this run was started with training.{name} {saved.get(name)}, now it is {value}; go on with "
                "the same, choose another output folder, or start again with --restart."
            )


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that fills when Ctrl-C or SIGTERM comes; a second Ctrl-C stops at once."""
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        logger.info("stopping after this update; the state will be saved")

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
