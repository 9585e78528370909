"""The training loop, the same for a SuperTransformer and for one SubTransformer."""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from hat.artifacts import RunFolder
from hat.config import Section, Threads
from hat.data.batch import Batch
from hat.data.batching import TrainingBatches
from hat.errors import DataError, TrainingError
from hat.nn import SuperTransformer, Transformer
from hat.nn.files import read_weights
from hat.special_ids import PAD_ID
from hat.training.checkpoint import CheckpointFolder, average_weights
from hat.training.loss import output_loss
from hat.training.optimizer import OptimizerConfig, ScheduleConfig, learning_rate, make_optimizer
from hat.training.progress import TrainingProgress
from hat.training.stopping import stop_signals
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
    threads: Threads | None = None
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


_STOP_CHECK_BATCHES = 8


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
        run: where metrics go; every process has it, the main one writes.
        checkpoints: where weights and states go.
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
        checkpoints: CheckpointFolder,
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
        self.checkpoints = checkpoints
        self.world = world
        self.describe = describe
        self.parameters = list(model.parameters())
        self.optimizer = make_optimizer(config.optimizer, self.parameters)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=config.precision == "float16")
        self.update = 0
        self.seconds = 0.0
        self.best_loss = math.inf
        self.gradient_norm = torch.zeros(())
        # Summed loss, summed nll and tokens since the last line of the log.
        self.totals = torch.zeros(3, dtype=torch.float64, device=world.device)
        self.tokens_before = 0  # of those, by the process that was stopped: not trained on in this one's time

    def train(self, state: dict[str, Any] | None) -> None:
        """Run to ``max_updates``: on from ``state``, what the checkpoints held on every process, or from the start.

        Raises:
            KeyboardInterrupt: on Ctrl-C or SIGTERM, after the state is saved.
            TrainingError: when the loss is no longer a number.
            DataError: if ``state`` is not one of this model and recipe.
        """
        config = self.config
        if state is None:
            self.world.broadcast(list(self.model.weights().values()))
        else:
            self._resume(state)
        self.model.train()
        progress = TrainingProgress(config.max_updates, self.update, self.run, self.world.is_main, config.tensorboard)
        with stop_signals() as stopped, progress:
            started = time.monotonic() - self.seconds
            while self.update < config.max_updates:
                rate = learning_rate(config.schedule, self.update, config.max_updates)
                self.totals += self._step(rate)
                self.update += 1
                self.seconds = time.monotonic() - started
                progress.advance()
                done = self.update == config.max_updates
                if self.update % config.log_every == 0 or done:
                    self._log(progress, rate)
                if self.update % config.validate_every == 0 or done:
                    self._validate(progress)
                stop = self._agree_to_stop(bool(stopped)) and not done
                checkpoint = self.update % config.checkpoint_every == 0 or done
                if checkpoint or stop:
                    self._save(checkpoint)
                if stop:
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
            with torch.autocast(world.device.type, dtype, enabled=config.precision != "float32"):
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

    def _log(self, progress: TrainingProgress, rate: float) -> None:
        self._check_finite()
        loss, nll, tokens = self.totals.tolist()
        progress.log(
            update=self.update, epoch=self.batches.epoch, loss=loss / tokens, nll=nll / tokens, learning_rate=rate,
            gradient_norm=float(self.gradient_norm), target_tokens=int(tokens) - self.tokens_before,
            note=self.describe(self.update - 1),
        )  # fmt: skip
        self.totals.zero_()
        self.tokens_before = 0

    def _check_finite(self) -> None:
        """Stop before weights that are no numbers are logged or replace a good checkpoint."""
        loss, norm = float(self.totals[0]), float(self.gradient_norm)
        # With a scaler, gradients that overflow are expected now and then: it leaves such an update out.
        if math.isfinite(loss) and (self.scaler.is_enabled() or math.isfinite(norm)):
            return
        raise TrainingError(
            f"update {self.update}: the training loss is {loss}, the norm of the gradient {norm}; lower "
            "training.schedule.peak, set training.optimizer.clip_norm or use another precision, then continue from "
            "the last checkpoint."
        )

    def _validate(self, progress: TrainingProgress) -> None:
        started = time.monotonic()
        results = self.validate()
        progress.log_validation(self.update, results, time.monotonic() - started)
        mean = sum(result.loss for result in results.values()) / len(results)
        if mean < self.best_loss:
            self.best_loss = mean
            if self.world.is_main:
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
        """Whether to stop now; processes on GPUs ask each other every few batches only, since asking waits for them.

        An interruption must end soon: torchrun kills what is still there after half a minute.
        """
        if self.world.size == 1:
            return stopped
        every = max(_STOP_CHECK_BATCHES // self.config.accumulate, 1) if self.world.device.type == "cuda" else 1
        return self.update % every == 0 and self.world.any(stopped)

    def _save(self, checkpoint: bool) -> None:
        """Save the state, and as a ``checkpoint`` the weights among the last ones too."""
        self._check_finite()
        if self.world.is_main:
            weights = self.model.weights()
            state = {
                "update": self.update,
                "seconds": self.seconds,
                "best_loss": self.best_loss,
                "totals": self.totals.tolist(),
                "weights": weights,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "batches": self.batches.state_dict(),
            }
            if checkpoint:
                self.checkpoints.save(self.update, weights, state)
            else:
                self.checkpoints.save_state(state)
        self.world.barrier()

    def _resume(self, state: dict[str, Any]) -> None:
        where = str(self.checkpoints.state_file)
        try:
            self.model.load_weights(state["weights"], where)
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.batches.load_state_dict(state["batches"])
            self.totals.copy_(torch.tensor(state["totals"], dtype=torch.float64))
            self.tokens_before = int(self.totals[2])
            self.update, self.seconds = int(state["update"]), float(state["seconds"])
            self.best_loss = float(state["best_loss"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{where}: must be the state of this training, is damaged ({error!r}); start again with --restart."
            ) from None
        if self.world.is_main:
            logger.info("continuing after update %d from %s", self.update, where)

    def _finish(self) -> None:
        """Put the final weights into the model of every process; only the main one reads files."""
        if self.config.final == "last":
            return
        if self.world.is_main:
            if self.config.final == "average":
                weights = average_weights(self._last_weights())
            else:
                weights = read_weights(self.checkpoints.path / "best.safetensors")
            self.model.load_weights(weights, str(self.checkpoints.path))
        self.world.broadcast(list(self.model.weights().values()))

    def _last_weights(self) -> list[Path]:
        """The files to average; tells when some of them are not there any more, or never were."""
        config = self.config
        files = self.checkpoints.last_weights(self.update)[-config.keep_last :]
        wanted = min(config.keep_last, math.ceil(self.update / config.checkpoint_every))
        if len(files) < wanted:
            told = "the model is the average of %d checkpoints, not of %d: %s has no more"
            logger.warning(told, len(files), wanted, self.checkpoints.path)
        return files


def _mixed_seed(seed: int, place: int) -> int:
    """A seed for one batch; neighbouring places give unrelated numbers."""
    digest = hashlib.blake2b(f"{seed} batch {place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
