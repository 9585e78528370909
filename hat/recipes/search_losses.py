"""The losses that a search asks for: computed by one process or several, and kept in a file."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from hat.artifacts import file_digest
from hat.data.batch import Batch
from hat.data.batching import validation_batches
from hat.data.corpus import ParallelCorpus
from hat.data.parts import nested_parts
from hat.errors import HatError, SearchError
from hat.nn import SuperTransformer
from hat.recipes.search_config import SearchConfig
from hat.search.scores import ScoreFile
from hat.space import Architecture
from hat.training.validation import losses_by_sentence
from hat.training.world import World

_BATCHES = 4  # of a part, at least: one alone would pad its short sentences to the longest
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
        for rows in nested_parts(corpus, config.scoring.parts, config.scoring.seed):
            self._parts.append(validation_batches(corpus, config.max_tokens, -(-len(rows) // _BATCHES), rows))
            self.tokens.append(corpus.target_lengths(0, len(corpus))[rows].tolist())
        self.model = SuperTransformer.from_pretrained(config.supertransformer).to(device)
        self._config = config
        self._device = device

    def losses(self, architecture: Architecture, part: int) -> list[float]:
        """Label-smoothed loss, with inherited weights, of each sentence of a part: sums over its tokens in nats."""

        def hidden_of(batch: Batch) -> Tensor:
            return self.model.hidden(batch.source, batch.target_in, architecture)

        smoothing, precision = self._config.label_smoothing, self._config.precision
        losses = losses_by_sentence(self.model, hidden_of, self._parts[part], smoothing, precision, self._device)
        return [round(loss, _DIGITS) for loss in losses]

    def basis(self) -> str:
        """What decides a loss besides the architecture."""
        config = self._config
        files = config.supertransformer / "model.safetensors", config.data / "meta.json"
        settings = config.split, config.max_tokens, config.label_smoothing, config.precision, self._device.type
        parts = len(self._parts), config.scoring.seed
        return " ".join(map(str, (*map(file_digest, files), *settings, *parts, torch.__version__)))


class SharedLosses:
    """The losses of architectures on a part, known or computed by all processes of a world; for the main process.

    Each process computes whole candidates, so the result is the same with any number of them. What is computed is
    written down at once.

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
        computed = {}
        for start in range(0, len(new), self._world.size):
            group = new[start : start + self._world.size]
            for architecture, losses in zip(group, self._compute(group, part), strict=True):
                computed[architecture] = losses
                self._kept.add(architecture, part, losses)
        return [computed[item] if item in computed else self._kept.losses[item, part] for item in architectures]

    def _compute(self, group: list[Architecture], part: int) -> list[list[float]]:
        """The losses of at most as many architectures as there are processes."""
        try:
            self._world.share((group, part))
            answers = self._world.gather(_answer(lambda: self._evaluator, group, part, self._world.rank))
        except RuntimeError as error:  # torch's, when the connection is gone
            raise SearchError(f"a process of this search was lost ({str(error).splitlines()[0]}).") from None
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer for answer in answers[: len(group)] if isinstance(answer, list)]


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
        world.gather(_answer(evaluator, *task, world.rank))


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
    evaluator: Callable[[], Evaluator], group: Sequence[Architecture], part: int, rank: int
) -> list[float] | Exception | None:
    """The losses of the candidate that is this process's, or what went wrong, for the main process to raise."""
    try:
        loaded = evaluator()
        return loaded.losses(group[rank], part) if rank < len(group) else None
    except (HatError, OSError, MemoryError, RuntimeError) as error:
        return error
