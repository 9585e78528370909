"""The losses that a search asks for: computed by one process or several, and kept in a file."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from hat.artifacts import file_digest
from hat.data.batch import Batch, collate
from hat.data.batching import batch_cost_on, validation_rows
from hat.data.corpus import ParallelCorpus
from hat.data.parts import nested_parts
from hat.errors import HatError, SearchError
from hat.nn import SuperTransformer
from hat.nn.packed import lower_linears
from hat.nn.transformer import by_encoder
from hat.recipes.search_config import SearchConfig
from hat.search.scores import ScoreFile
from hat.space import Architecture
from hat.training.validation import losses_by_sentence
from hat.training.world import World

TOGETHER = 8  # candidates that a process computes between two times of writing down
_DIGITS = 5  # of a sentence's loss, whether it comes from the file or not: more would be rounding errors


class Evaluator:
    """A SuperTransformer, and the validation data in parts.

    Args:
        config: the settings of the search.
        device: where to compute.

    Raises:
        ConfigError, DataError: if a file is missing or damaged, or a sentence longer than ``max_tokens``.
    """

    def __init__(self, config: SearchConfig, device: torch.device) -> None:
        corpus = ParallelCorpus.load(config.data, config.split)
        self._parts: list[list[Batch]] = []
        self.tokens: list[list[int]] = []
        """Target tokens of each sentence of each part."""
        self._places: list[list[int]] = []  # of each sentence of a part, where its batches have it
        cost = batch_cost_on(device.type)
        for rows in nested_parts(corpus, config.scoring.parts, config.scoring.seed):
            planned = validation_rows(corpus, config.max_tokens, rows=rows, batch_cost=cost)
            place = {row: index for index, row in enumerate(np.concatenate(planned).tolist())}
            self._parts.append([collate(corpus, batch) for batch in planned])
            self._places.append([place[row] for row in rows.tolist()])
            self.tokens.append(corpus.target_lengths(0, len(corpus))[rows].tolist())
        self.model = SuperTransformer.from_pretrained(config.supertransformer).to(device)
        lower, precision = config.precision != "float32", getattr(torch, config.precision)
        self._scored_model = lower_linears(self.model, precision) if lower else self.model
        self._config = config
        self._device = device

    def losses(self, architectures: Sequence[Architecture], part: int) -> list[list[float]]:
        """Each one's label-smoothed loss, with inherited weights, of each sentence of a part: token sums in nats."""
        smoothing, precision = self._config.label_smoothing, self._config.precision
        model, batches = self._scored_model, self._parts[part]
        losses = losses_by_sentence(model, architectures, batches, smoothing, precision, self._device)
        return [[round(own[place], _DIGITS) for place in self._places[part]] for own in losses]

    def basis(self) -> str:
        """What decides a loss besides the architecture."""
        config = self._config
        files = config.supertransformer / "model.safetensors", config.data / "meta.json"
        settings = config.split, config.max_tokens, config.label_smoothing, config.precision, self._device.type
        parts = len(self._parts), config.scoring.seed
        return " ".join(map(str, (*map(file_digest, files), *settings, *parts, torch.__version__)))


class SharedLosses:
    """The losses of architectures on a part, known or computed by all processes of a world; for the main process.

    Each process computes whole candidates, so the result is the same with any number of them. It takes some whose
    encoders are alike together, since they share the layers that are the same; these are written down at once.

    Args:
        evaluator: of this process.
        world: the processes.
        kept: what is known.
    """

    def __init__(self, evaluator: Evaluator, world: World, kept: ScoreFile) -> None:
        self._evaluator = evaluator
        self._world = world
        self._kept = kept

    def __call__(self, architectures: Sequence[Architecture], part: int) -> list[list[float]]:
        """The losses of each architecture on the part with this number. Raises SearchError if a process is lost."""
        new = [item for item in dict.fromkeys(architectures) if (item, part) not in self._kept.losses]
        new.sort(key=by_encoder)
        computed = {}
        at_once = TOGETHER * self._world.size
        for start in range(0, len(new), at_once):
            group = new[start : start + at_once]
            for architecture, losses in zip(group, self._compute(group, part), strict=True):
                computed[architecture] = losses
                self._kept.add(architecture, part, losses)
        return [computed[item] if item in computed else self._kept.losses[item, part] for item in architectures]

    def _compute(self, group: list[Architecture], part: int) -> list[list[float]]:
        """The losses of a few architectures for each process."""
        try:
            self._world.share((group, part))
            answers = self._world.gather(_answer(lambda: self._evaluator, group, part, self._world))
        except RuntimeError as error:  # torch's, when the connection is gone
            raise SearchError(f"a process of this search was lost ({str(error).splitlines()[0]}).") from None
        losses: list[list[float]] = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            losses += answer
        return losses


def serve(load: Callable[[], Evaluator], world: World) -> None:
    """Compute what the main process asks for until it is done: the part of all other processes."""
    evaluators: list[Evaluator] = []

    def evaluator() -> Evaluator:
        if not evaluators:
            evaluators.append(load())
        return evaluators[0]

    while True:
        task: tuple[list[Architecture], int] | None = world.share(None)
        if task is None:
            return
        world.gather(_answer(evaluator, *task, world))


@contextlib.contextmanager
def served(world: World) -> Iterator[None]:
    """Tell the other processes at the end of the block, also when it fails, that nothing more is asked for."""
    try:
        yield
    except Exception:
        with contextlib.suppress(RuntimeError):  # they may be gone, and what failed is what matters
            world.share(None)
        raise
    world.share(None)


def _answer(
    evaluator: Callable[[], Evaluator], group: Sequence[Architecture], part: int, world: World
) -> list[list[float]] | Exception:
    """The losses of the candidates that are this process's, or what went wrong, for the main process to raise."""
    start, stop = (rank * len(group) // world.size for rank in (world.rank, world.rank + 1))
    if start == stop:
        return []
    try:
        return evaluator().losses(group[start:stop], part)
    except (HatError, OSError, MemoryError, RuntimeError) as error:
        return error
