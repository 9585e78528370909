"""What a training run shows: a bar on a terminal, lines elsewhere, and the same numbers in ``metrics.jsonl``."""

import importlib.util
import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from hat.artifacts import RunFolder
from hat.errors import ConfigError
from hat.training.validation import ValidationResult

logger = logging.getLogger(__name__)


class TrainingProgress:
    """Shows and records the progress of one run; does nothing on processes that are not the main one.

    Args:
        max_updates: where the run ends.
        update: where it starts.
        run: the folder whose metrics are written.
        is_main: whether this process shows anything.
        tensorboard: whether to write TensorBoard event files too.
    """

    def __init__(self, max_updates: int, update: int, run: RunFolder, is_main: bool, tensorboard: bool) -> None:
        self.max_updates = max_updates
        self.run = run
        self.is_main = is_main
        self.on_terminal = sys.stderr.isatty()
        self.bar = tqdm(total=max_updates, initial=update, unit="update", disable=not (is_main and self.on_terminal))
        self.writer = _tensorboard_writer(run, update) if tensorboard and is_main else None
        self.first_update, self.started = update, time.monotonic()
        self.last_time = self.started

    def __enter__(self) -> "TrainingProgress":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
        if self.writer is not None:
            self.writer.close()

    def advance(self) -> None:
        """Count one update."""
        self.bar.update()

    def log(self, *, update: int, target_tokens: int, nll: float, note: str, **values: float) -> None:
        """Record mean values; ``target_tokens`` is how many were trained on since the last call or the start."""
        if not self.is_main:
            return
        now = time.monotonic()
        speed = tokens_per_second(target_tokens, now - self.last_time)
        self.last_time = now
        left = (now - self.started) / (update - self.first_update) * (self.max_updates - update)
        self.run.log(event="train", update=update, nll=nll, target_tokens_per_s=round(speed, 1), note=note, **values)
        self._to_tensorboard(update, "train", {"nll": nll, "target_tokens_per_s": speed, **values})
        line = (
            f"update {update} | loss {values['loss']:.3f} | ppl {_perplexity(nll)} | "
            f"lr {values['learning_rate']:.1e} | {speed / 1000:.1f}k tok/s | {_clock(left)} left"
            + (f" | {note}" if note else "")
        )
        if self.on_terminal:
            self.bar.set_postfix_str(line.split(" | ", 1)[1].replace(" | ", ", "))
        else:
            logger.info(line)

    def log_validation(self, update: int, results: Mapping[str, ValidationResult], seconds: float) -> None:
        """Record one validation, which took ``seconds`` that are no training time."""
        if not self.is_main:
            return
        for name, result in results.items():
            self.run.log(event="valid", update=update, name=name, loss=result.loss, nll=result.nll)
            self._to_tensorboard(update, f"valid/{name}", {"loss": result.loss, "nll": result.nll})
        parts = ", ".join(f"{name} loss {r.loss:.3f} ppl {_perplexity(r.nll)}" for name, r in results.items())
        line = f"update {update} | valid | {parts}"
        if self.on_terminal:
            self.bar.write(line, file=sys.stderr)
        else:
            logger.info(line)
        self.last_time += seconds

    def _to_tensorboard(self, update: int, prefix: str, values: Mapping[str, float]) -> None:
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{prefix}/{name}", value, update)


def tokens_per_second(tokens: int, seconds: float) -> float:
    """Rate over a duration (never a time of day); 0 when no time has passed."""
    return tokens / seconds if seconds > 0 else 0.0


def _perplexity(nll: float) -> str:
    return f"{math.exp(nll):.2f}" if nll < 20 else "inf"


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def check_tensorboard() -> None:
    """Raise ConfigError if TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "training.tensorboard: needs the package tensorboard, which is not installed; pip install tensorboard."
        )


def _tensorboard_writer(run: RunFolder, update: int) -> Any:
    """A writer that hides what an interrupted run wrote after ``update``: it is made again."""
    from torch.utils.tensorboard import SummaryWriter  # an extra, and slow to import

    return SummaryWriter(str(run.path / "tensorboard"), purge_step=update + 1)
