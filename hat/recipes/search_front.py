"""The best networks at every latency: writing ``pareto.json``, and picking from it under a limit."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hat.artifacts import read_text
from hat.config import shorten
from hat.errors import ConfigError, DataError, InfeasibleError
from hat.search import Candidate, Task
from hat.search.history import PARETO_FILE
from hat.space import Architecture, SearchSpace


def front_as_json(front: Iterable[Candidate], origin: str) -> list[dict[str, Any]]:
    """What ``pareto.json`` says; ``origin`` tells one SuperTransformer from another."""
    return [
        {
            "predicted_ms": candidate.latency_ms,
            "validation_loss": candidate.score,
            "architecture": candidate.architecture.to_dict(),
            "supertransformer": origin,
        }
        for candidate in front
    ]


def read_front(
    path: Path, space: SearchSpace, origin: str, predict_ms: Callable[[Architecture], float]
) -> list[Candidate]:
    """The candidates of a ``pareto.json``, with the latencies that are predicted now.

    Args:
        path: the file.
        space: of the SuperTransformer.
        origin: of the SuperTransformer; a file that names another one is refused.
        predict_ms: predicted latency.

    Raises:
        DataError: if it is no such file.
        ConfigError: if it is another SuperTransformer's.
    """
    what = f"{path}: must be the {PARETO_FILE} of a search"
    try:
        items = json.loads(read_text(path, "the front of a search"))
    except (ValueError, RecursionError):
        raise DataError(f"{what}, is not valid JSON.") from None
    if not isinstance(items, list) or not items:
        raise DataError(f"{what}, a list of networks, is {shorten(items)}.")
    return [
        _candidate(item, f"{path}, item {number}", space, origin, predict_ms) for number, item in enumerate(items, 1)
    ]


def _candidate(
    item: Any, where: str, space: SearchSpace, origin: str, predict_ms: Callable[[Architecture], float]
) -> Candidate:
    loss = item.get("validation_loss") if isinstance(item, dict) else None
    if not isinstance(loss, float | int) or isinstance(loss, bool) or not math.isfinite(loss):
        raise DataError(f"{where}: must have a validation_loss that is a number, has {shorten(loss)}.")
    architecture = Architecture.from_dict(item.get("architecture"), where=where)
    problem = space.why_not(architecture)
    if problem is not None:
        raise ConfigError(f"{where}: must be a SubTransformer of this SuperTransformer, is none: {problem}.")
    if item.get("supertransformer", origin) != origin:
        raise ConfigError(f"{where}: was scored with the weights of another SuperTransformer; search with this one.")
    return Candidate(architecture, float(loss), predict_ms(architecture))


def pick(front: Sequence[Candidate], task: Task) -> list[Candidate]:
    """The candidates within the limits of ``task``, best first, with the latencies it gives.

    Raises:
        InfeasibleError: if there are none.
    """
    latencies_ms = [task.latency_ms(candidate.architecture) for candidate in front]
    within = [
        Candidate(candidate.architecture, candidate.score, latency_ms)
        for candidate, latency_ms in zip(front, latencies_ms, strict=True)
        if latency_ms <= task.limit_ms
        and all(limit.value(candidate.architecture) <= limit.most for limit in task.limits)
    ]
    if within:
        return sorted(within, key=lambda candidate: (candidate.score, candidate.latency_ms))
    fastest_ms = min(latencies_ms)
    if fastest_ms > task.limit_ms:
        fastest = front[latencies_ms.index(fastest_ms)].architecture
        raise InfeasibleError(
            f"none of the {len(front)} networks of the front is predicted to run within {task.limit_ms:.4g} ms: the "
            f"fastest needs {fastest_ms:.4g} ms ({fastest}); raise the limit, or search under it."
        )
    names = ", ".join(f"{limit.name} {limit.show(limit.most)}" for limit in task.all_limits())
    raise InfeasibleError(f"none of the {len(front)} networks of the front keeps {names}; search under these limits.")
